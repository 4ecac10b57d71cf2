"""A change of a network as plain data, and carrying it out: all of it or nothing."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.edits.selection import Formula, Indices, formula_length, from_runs, indices, to_runs
from naivegraph.errors import EditError

__all__ = ["AttributeChange", "Change", "WidthChange", "apply", "history_of"]

HISTORY = "_naivegraph_edits"


@dataclasses.dataclass(frozen=True)
class WidthChange:
    """What becomes of one width: its size before and the indices (sorted) that stay."""

    name: str
    before: int
    kept: Indices

    @property
    def after(self) -> int:
        """Its size afterwards."""
        return len(self.kept)


@dataclasses.dataclass(frozen=True)
class AttributeChange:
    """An integer attribute of a module (`keys` lead to it inside a tuple or a config) and its two values."""

    path: str
    name: str
    keys: tuple[int | str, ...]
    before: int
    after: int

    def __str__(self) -> str:
        keys = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return f"{self.path + '.' if self.path else ''}{self.name}{keys}: {self.before} -> {self.after}"


@dataclasses.dataclass(frozen=True)
class Change:
    """Everything an edit changes, without the tensors themselves.

    Attributes:
        widths: By a short key which the formulas use.
        tensors: The axes of every parameter and buffer that changes, as formulas over the widths.
        attributes: The attributes that change.
    """

    widths: dict[str, WidthChange]
    tensors: dict[str, list[Formula]]
    attributes: list[AttributeChange]

    def to_json(self) -> str:
        """The change as JSON, from which `from_json` makes it again."""
        return json.dumps(
            {
                "widths": {
                    key: {"name": w.name, "before": w.before, "kept": to_runs(w.kept)}
                    for key, w in self.widths.items()
                },
                "tensors": self.tensors,
                "attributes": [[a.path, a.name, list(a.keys), a.before, a.after] for a in self.attributes],
            },
            separators=(",", ":"),
        )

    @staticmethod
    def from_json(text: str) -> Change:
        """Read a change.

        Raises:
            ValueError: The text is no such JSON; the message says where.
        """
        try:
            data = json.loads(text)
            widths = {
                str(key): WidthChange(str(w["name"]), _natural(w["before"]), _runs(w["kept"], w["before"]))
                for key, w in data["widths"].items()
            }
            tensors = {
                str(name): [_formula(f, widths) for f in axes] for name, axes in data["tensors"].items()
            }
            attributes = [
                AttributeChange(str(path), str(name), tuple(keys), _natural(before), _natural(after))
                for path, name, keys, before, after in data["attributes"]
            ]
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not an edit of this format ({type(error).__name__}: {error})") from error
        return Change(widths, tensors, attributes)


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of neurons")
    return value


def _runs(runs: Any, size: int) -> Indices:
    kept = from_runs([[_natural(a), _natural(b)] for a, b in runs])
    if len(kept) and (int(kept[-1]) >= size or bool(np.any(np.diff(kept) <= 0))):
        raise ValueError(f"the kept neurons {runs} are not sorted runs within {size}")
    return kept


def _formula(value: Any, widths: dict[str, WidthChange]) -> Formula:
    out: Formula = []
    for term in value:
        factors: list[Any] = []
        for factor in term:
            if isinstance(factor, list):
                factors.append(_formula(factor, widths))
            elif isinstance(factor, str):
                if factor not in widths:
                    raise ValueError(f"an axis names the width {factor!r}, which is not there")
                factors.append(factor)
            else:
                factors.append(_natural(factor))
        out.append(factors)
    return out


def history_of(module: nn.Module) -> list[str]:
    """The edits made on a module so far, as JSON, oldest first."""
    return list(vars(module).get(HISTORY, []))


def apply(change: Change, module: nn.Module) -> Callable[[], None]:
    """Carry out a change in place; gives the function that takes it back bit for bit.

    Parameters stay the same objects; their data is replaced. Everything is computed before the
    first tensor is touched, and if anything fails after that, all is put back.

    Raises:
        EditError: The module is not the one the change was made for.
    """
    swaps = _tensor_swaps(change, module)
    settings = _attribute_settings(change, module)
    undone: list[Callable[[], None]] = []

    def undo() -> None:
        while undone:
            undone.pop()()

    try:
        for tensor, data, grad in swaps:
            undone.append(_restoring(tensor))
            tensor.grad = None
            tensor.data = data
            tensor.grad = grad
        for owner, name, value in settings:
            undone.append(_resetting(owner, name))
            owner.__dict__[name] = value
        undone.append(_resetting(module, HISTORY))
        module.__dict__[HISTORY] = [*history_of(module), change.to_json()]
    except BaseException:
        undo()
        raise
    return undo


def _restoring(tensor: torch.Tensor) -> Callable[[], None]:
    data, grad = tensor.data, tensor.grad

    def restore() -> None:
        tensor.grad = None
        tensor.data = data
        tensor.grad = grad

    return restore


_ABSENT = object()


def _resetting(owner: nn.Module, name: str) -> Callable[[], None]:
    before = owner.__dict__.get(name, _ABSENT)

    def reset() -> None:
        if before is _ABSENT:
            owner.__dict__.pop(name, None)
        else:
            owner.__dict__[name] = before

    return reset


def find_tensor(module: nn.Module, name: str) -> torch.Tensor | None:
    """A parameter or buffer by its name, or None."""
    path, _, own = name.rpartition(".")
    try:
        found = getattr(module.get_submodule(path), own)
    except AttributeError:
        return None
    return found if isinstance(found, torch.Tensor) else None


def _tensor_swaps(
    change: Change, module: nn.Module
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """The new data (and gradient) of every tensor that changes, each once however many names it has."""
    sizes = {key: width.before for key, width in change.widths.items()}
    kept = {key: width.kept for key, width in change.widths.items()}
    cache: dict[str, torch.Tensor] = {}
    out: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = {}
    for name, axes in change.tensors.items():
        tensor = find_tensor(module, name)
        if tensor is None:
            raise EditError(f"the network has no parameter or buffer {name!r}, which the edit changes")
        if id(tensor) in out:
            continue
        wanted = tuple(formula_length(axis, sizes) for axis in axes)
        if tuple(tensor.shape) != wanted:
            raise EditError(f"{name} has shape {tuple(tensor.shape)}, and the edit was made for {wanted}")
        data, grad = tensor.data, tensor.grad
        for dim, axis in enumerate(axes):
            key = repr(axis)
            if key not in cache:
                cache[key] = torch.from_numpy(indices(axis, sizes, kept))
            if len(cache[key]) == data.shape[dim]:
                continue
            places = cache[key].to(data.device)
            data = data.index_select(dim, places)
            grad = None if grad is None else grad.index_select(dim, places)
        out[id(tensor)] = (tensor, data, grad)
    return list(out.values())


def _attribute_settings(change: Change, module: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """The new values of the attributes; containers are copied, never changed, for others may share them."""
    new: dict[tuple[str, str], Any] = {}
    for a in change.attributes:
        try:
            owner = module.get_submodule(a.path)
            value = new.get((a.path, a.name), owner.__dict__[a.name])
            new[a.path, a.name] = _replaced(value, a.keys, a)
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise EditError(f"the network has no attribute to change as in {a} ({error!r})") from error
    return [(module.get_submodule(path), name, value) for (path, name), value in new.items()]


def _replaced(value: Any, keys: tuple[int | str, ...], a: AttributeChange) -> Any:
    if not keys:
        if value != a.before:
            raise EditError(f"the edit was made for a network with another value than {value!r}: {a}")
        return a.after
    key, rest = keys[0], keys[1:]
    if isinstance(key, int):
        items = list(value)
        items[key] = _replaced(items[key], rest, a)
        if hasattr(value, "_make"):
            return value._make(items)
        return type(value)(items)
    out = copy.copy(value)
    # Written past any __setattr__, which may be frozen or write through to shared state.
    object.__setattr__(out, key, _replaced(getattr(value, key), rest, a))
    return out
