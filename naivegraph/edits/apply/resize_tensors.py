"""Resized tensors of a network: kept entries cut out, new ones put in their places."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.edits.apply.origins import Axes, Places, like, ordered
from naivegraph.edits.apply.start_values import start_values
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.fill import Fill
from naivegraph.edits.plan.index_formula import Floats
from naivegraph.edits.plan.initialise import fresh_tensors
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import Modules

__all__ = ["NewTensor", "find_tensor", "new_tensors"]


def find_tensor(modules: Modules, name: str) -> torch.Tensor | None:
    """A parameter or buffer by its name, or None."""
    path, _, own = name.rpartition(".")
    try:
        found = getattr(modules[path], own)
    except AttributeError:
        return None
    return found if isinstance(found, torch.Tensor) else None


def shares_of(change: Change) -> dict[str, Floats]:
    """Shares of copied neurons: the part of the original's effect that each copy takes over.

    As in Chen et al., "Net2Net: Accelerating learning via knowledge transfer", ICLR 2016, but in unequal
    parts instead of with noise, so that training tells copies apart and the function is kept exactly.
    """
    out: dict[str, Floats] = {}
    for key, width in change.widths.items():
        name = change.seed_widths.get(key, width.name)
        rng = np.random.default_rng([change.seed, zlib.crc32(name.encode())])
        weights = rng.uniform(1.0, 2.0, width.after)
        groups = np.arange(width.after)
        groups[width.stay :] = np.arange(width.new) % max(width.stay, 1)
        out[key] = ordered(weights / np.bincount(groups, weights, width.after)[groups], width)
    return out


@dataclasses.dataclass(slots=True)
class NewTensor:
    """A parameter or buffer with its new data and gradient, and the origin of each entry."""

    name: str
    tensor: torch.Tensor
    data: torch.Tensor
    grad: torch.Tensor | None
    places: Places
    owner: nn.Module
    before: torch.Tensor
    before_grad: torch.Tensor | None
    factors: list[torch.Tensor] = dataclasses.field(default_factory=list)


@torch.no_grad()
def new_tensors(change: Change, module: nn.Module) -> list[NewTensor]:
    """The new data (and gradient) of every tensor that changes, each once however many names it has.

    Raises:
        EditError: The module is not the one the change was made for.
    """
    found: dict[int, tuple[str, torch.Tensor, Places]] = {}
    known, modules = Axes(change), Modules(module)
    cache: dict[Any, Places] = {}
    names: dict[str, int] = {}
    for name, axes in change.tensors.items():
        tensor = find_tensor(modules, name)
        if tensor is None:
            raise EditError(f"the network has no parameter or buffer {name!r}, which the edit changes")
        key = tuple([known.key(axis) for axis in axes])
        if key not in cache:
            cache[key] = Places(known, axes)
        places = cache[key]
        if tensor.shape != places.shape:
            raise EditError(
                f"{name} has shape {tuple(tensor.shape)}, and the edit was made for {places.shape}"
            )
        names[name] = id(tensor)
        found.setdefault(id(tensor), (name, tensor, places))
    growing = {name: (tensor, places.new_shape) for name, tensor, places in found.values() if places.grows}
    values = fresh_tensors(change, module, growing)
    shares = shares_of(change) if change.initialise == "duplicate" else None
    out = {}
    for key_, (name, tensor, places) in found.items():
        data = tensor.data
        if name in values:
            data = places.resized(data, values[name])
        else:
            data = like(places.taken(data), data)
            data = data.clone() if data.data_ptr() == tensor.data_ptr() else data
        grad = None if tensor.grad is None else places.resized(tensor.grad, 0.0)
        owner = modules[name.rpartition(".")[0]]
        out[key_] = NewTensor(name, tensor, data, grad, places, owner, tensor.data, tensor.grad)
    by_name = {name: out[key_] for name, key_ in names.items()}
    for start in change.starts:
        new = by_name[start.tensor]
        start_values(start, change.widths[start.width], known, new.places.axes, new.before, new.data)
    _multiply(change, by_name, shares)
    _fill(change.fills, by_name)
    return list(out.values())


def _fill(fills: Iterable[Fill], made: dict[str, NewTensor]) -> None:
    """Fill new entries: with ones first, as means may be weighted by them."""
    for fill in sorted(fills, key=lambda each: each.kind == "mean"):
        new = made[fill.tensor]
        come = torch.nonzero(new.places.new_along(fill.dim, fill.width)).reshape(-1).to(new.data.device)
        if fill.kind != "mean":
            new.data.index_fill_(fill.dim, come, 1.0 if fill.kind == "one" else 0.0)
            continue
        gains: torch.Tensor | None = None
        for name, dim in fill.gains:
            gain = made[name].data.double().movedim(dim, 0).reshape(-1)
            gains = gain if gains is None else gains * gain
        means = new.places.means(new.data, fill.dim, fill.width, gains)
        new.data.index_copy_(fill.dim, come, means.to(new.data.dtype))


def _multiply(change: Change, made: dict[str, NewTensor], shares: dict[str, Floats] | None) -> None:
    """Multiply the entries by which new neurons act by zero or by shares, and apply the scalings."""
    done: set[tuple[int, str]] = set()
    for outgoing in change.outgoing:
        new = made[outgoing.tensor]
        key = (id(new), repr((outgoing.dims, outgoing.widths, outgoing.rows)))
        if key not in done:
            done.add(key)
            factors = new.places.factors(outgoing.dims, outgoing.widths, shares)
            _scale(new, torch.where(new.places.within(outgoing.rows), factors, torch.ones_like(factors)))
    for scaling in change.scalings:
        new = made[scaling.tensor]
        factor = torch.tensor(scaling.factor, dtype=torch.float64)
        _scale(new, torch.where(new.places.within(scaling.rows), factor, torch.ones_like(factor)))


def _scale(new: NewTensor, factors: torch.Tensor) -> None:
    if bool((factors == 1).all()):
        return
    new.factors.append(factors)
    on = factors.to(new.data.device)
    # Where the factor is zero so is the result, also of inf and nan.
    new.data.copy_(
        torch.where(on == 0, torch.zeros((), dtype=new.data.dtype, device=on.device), new.data * on)
    )
