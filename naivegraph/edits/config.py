"""A network built from a config object: the numbers of the config follow an edit where they can.

Many networks are built as `Net(config)` and keep the config, so that others can build the same network
from it, as `from_pretrained` of transformers does. Which number of the config sets which size is found by
trying: the network is built again and again on the meta device, which holds no weights, with one number
changed at a time.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from naivegraph.edits.record import AttributeChange, Change
from naivegraph.edits.selection import formula_length
from naivegraph.graph.once import unsaved_buffers
from naivegraph.graph.restore import same_seed
from naivegraph.graph.structure import is_record
from naivegraph.widths.inplace import Demands

__all__ = ["with_config"]

# Where a number lies in the config; where a size or a number of the network lies in it.
_Field = tuple[int | str, ...]
_Place = tuple[Any, ...]
_Numbers = dict[_Place, float]
_INTERNAL = frozenset(vars(nn.Module()))
_DEPTH = 3


def with_config(change: Change, demands: Demands) -> tuple[Change, tuple[str, ...]]:
    """The change with that of the config the network was built from, or a sentence why that cannot follow.

    The config is what the class takes as its first argument and keeps under the same name. It follows if
    one choice of its numbers builds a network of the very sizes and attributes the change leaves behind; it
    cannot where layers built from the same number differ.

    Args:
        change: A change of a network's sizes.
        demands: What the network's code demands, with the attributes it reads.
    """
    module = demands.widths.graph.module
    name = _config_name(module)
    if name is None or not change.widths:
        return change, ()
    with _quiet():
        return _followed(change, demands, module, name)


def _followed(
    change: Change, demands: Demands, module: nn.Module, name: str
) -> tuple[Change, tuple[str, ...]]:
    built = _Rebuilt(module, name)
    before, start = _numbers_of(module, name), built.numbers({})
    if start is None or any(start.get(place) != before[place] for place in before if place[0] == "size"):
        return change, ()  # It was changed by hand since; the config described another network already.
    after = _after(change)
    read = {("number", a.path, a.name, a.keys) for a in demands.read}
    target = {
        place: after.get(place, value)
        for place, value in before.items()
        if start.get(place) == value and (place[0] != "number" or place in read or isinstance(value, float))
    }
    given = _given(change, module, built)
    lost = [buffer for buffer in unsaved_buffers(module) if buffer in change.tensors]
    if isinstance(given, str):
        found: dict[_Field, int] | str = given
    elif lost:
        found = f"{lost[0]}, which is worked out from it, changed"
    else:
        found = _solve(built, target, start, given)
    if isinstance(found, str):
        return change, (
            f"the network's {name} cannot describe it any more ({found}): "
            "use ng.save and ng.load rather than save_pretrained or the like",
        )
    known = {(a.path, a.name, a.keys) for a in change.attributes}
    added = [
        AttributeChange(path, name, field, built.fields[field], value)
        for path, owner in module.named_modules()
        if vars(owner).get(name) is built.config
        for field, value in found.items()
        if value != built.fields[field] and (path, name, field) not in known
    ]
    return dataclasses.replace(change, attributes=[*change.attributes, *added]), ()


def _config_name(module: nn.Module) -> str | None:
    """The name of the constructor's first argument, if the module keeps a plain object under it."""
    names = list(inspect.signature(type(module).__init__).parameters)[1:2]
    return names[0] if names and is_record(vars(module).get(names[0])) else None


class _Rebuilt:
    """Networks built as the given one was, from its config with other numbers.

    Attributes:
        config: The config.
        fields: Its whole numbers from 1 up, also inside lists and other objects in it.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.name, self.kind = name, type(module)
        self.config = vars(module)[name]
        self.fields = dict(_fields(self.config, ()))

    def numbers(self, changed: Mapping[_Field, int]) -> _Numbers | None:
        """Sizes and numbers of the network which the config builds with these changes; None if it cannot."""
        config = copy.deepcopy(self.config)
        for field, value in changed.items():
            holder: Any = config
            for key in field[:-1]:
                holder = holder[key] if isinstance(key, int) else vars(holder)[key]
            inside: Any = holder if isinstance(holder, list) else vars(holder)
            inside[field[-1]] = value
        try:
            with torch.device("meta"), _NoValues():
                return _numbers_of(self.kind(config), self.name)
        except Exception:  # Whatever its constructor says of such a config: there is no such network.
            return None


class _NoValues(TorchFunctionMode):
    """Tensors on the meta device have no values, and need none: what would draw or set them is left out."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function's result; the tensor itself if all it would do is fill it."""
        if func in _FILLS:
            tensor = args[0] if args else (kwargs or {}).get("tensor")  # torch.nn.init gives it by name
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs or {})


# Torch's functions which fill a tensor, and the methods they and others do it with.
_FILLS = frozenset(
    function
    for owner, names in ((nn.init, vars(nn.init)), (torch.Tensor, ("uniform_", "normal_", "fill_", "zero_")))
    for name in names
    for function in [getattr(owner, name)]
    if name.endswith("_") and not name.startswith("_") and callable(function)
)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What a constructor says of a config that was only tried, and draws for it, is of no interest."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), same_seed():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _fields(value: Any, at: _Field) -> Iterator[tuple[_Field, int]]:
    if type(value) is int and value > 0:
        yield at, value
    elif len(at) < _DEPTH and type(value) is list:
        for index, item in enumerate(value):
            yield from _fields(item, (*at, index))
    elif len(at) < _DEPTH and is_record(value):
        for key, item in vars(value).items():
            yield from _fields(item, (*at, key))


def _numbers_of(module: nn.Module, config: str) -> _Numbers:
    """The sizes of all parameters and buffers, and the numbers in the attributes of all modules."""
    out: _Numbers = {}
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, tensor in tensors:
            out.update({("size", name, dim): size for dim, size in enumerate(tensor.shape)})
    for path, owner in module.named_modules():
        for name, value in vars(owner).items():
            if name in _INTERNAL or name == config:
                continue
            for keys, item in enumerate(value) if isinstance(value, (tuple, list)) else [((), value)]:
                if type(item) in (int, float):
                    out["number", path, name, (keys,) if isinstance(keys, int) else keys] = item
    return out


def _after(change: Change) -> _Numbers:
    """The sizes and numbers that differ after the change."""
    sizes = {key: width.after for key, width in change.widths.items()}
    out: _Numbers = {
        ("size", name, dim): formula_length(axis, sizes)
        for name, axes in change.tensors.items()
        for dim, axis in enumerate(axes)
    }
    for a in change.attributes:
        if not isinstance(a.after, str):
            out["number", a.path, a.name, a.keys] = a.after
    return out


def _given(change: Change, module: nn.Module, built: _Rebuilt) -> dict[_Field, int] | str:
    """The numbers of the config which the change itself sets, for the forward reads them."""
    out: dict[_Field, int] = {}
    for a in change.attributes:
        of_config = a.keys and vars(module.get_submodule(a.path)).get(a.name) is built.config
        if of_config and not isinstance(a.after, str) and out.setdefault(a.keys, a.after) != a.after:
            return f"{_text(a.keys)} would be {out[a.keys]} in one layer and {a.after} in {a.path}"
    return out


def _solve(
    built: _Rebuilt, target: _Numbers, start: _Numbers, given: dict[_Field, int]
) -> dict[_Field, int] | str:
    """The config's numbers that build a network of the target's sizes, or why none do."""
    found, now = dict(given), built.numbers(given) if given else start
    changed = {int(start[p]) for p, value in target.items() if value != start[p]}
    unknown = {
        field: value
        for field, value in built.fields.items()
        if field not in found and any(c % value == 0 or value % c == 0 for c in changed)
    }
    while True:
        if now is None:
            return f"no network can be built with {_texts(found)}"
        wrong = [place for place, value in target.items() if now.get(place) != value]
        if not wrong:
            return found
        votes, moving = _votes(built, target, now, found, unknown)
        for field, wanted in votes.items():
            if len(wanted) > 1:
                (one, here), (two, there) = list(wanted.items())[:2]
                return (
                    f"{_text(field)} would have to be {one} for {_where(here)} and {two} for {_where(there)}"
                )
            found[field] = next(iter(wanted))
        # What moved nothing is not tried again.
        unknown = {field: value for field, value in unknown.items() if field in moving - found.keys()}
        if not votes:
            return f"no choice of its numbers gives {_where(wrong[0])} its size"
        now = built.numbers(found)


def _votes(
    built: _Rebuilt, target: _Numbers, now: _Numbers, found: dict[_Field, int], unknown: dict[_Field, int]
) -> tuple[dict[_Field, dict[int, _Place]], set[_Field]]:
    """What every number would have to be for the places that depend on it alone of all unknown ones.

    Also the numbers on which any place depends, or may: with which no network could be built.
    """
    tried: dict[_Field, tuple[Fraction, _Numbers]] = {}
    for field, value in unknown.items():
        for factor in (Fraction(2), Fraction(1, 2), Fraction(3)):
            if (value * factor).denominator == 1:
                numbers = built.numbers({**found, field: int(value * factor)})
                if numbers is not None:
                    tried[field] = (factor, numbers)
                    break
    votes: dict[_Field, dict[int, _Place]] = {}
    moving = unknown.keys() - tried.keys()
    for place, wanted in target.items():
        movers = [f for f, (_, numbers) in tried.items() if numbers.get(place) != now.get(place)]
        moving.update(movers)
        if len(movers) == 1 and place in now and place in tried[movers[0]][1]:
            factor, numbers = tried[movers[0]]
            vote = _value(unknown[movers[0]], factor, now[place], numbers[place], wanted)
            if vote is not None:
                votes.setdefault(movers[0], {}).setdefault(vote, place)
    return votes, moving


def _value(value: int, factor: Fraction, now: float, then: float, wanted: float) -> int | None:
    """The number that gives `wanted`, if `value` gives `now` and `factor * value` gives `then`.

    As the relation may be, in this order: proportional, inverse, a straight line.
    """
    if wanted == now:
        return value
    if not all(float(x).is_integer() and x > 0 for x in (now, then, wanted)):
        return None
    if then == factor * Fraction(now):
        out = value * Fraction(wanted) / Fraction(now)
    elif then * factor == now:
        out = value * Fraction(now) / Fraction(wanted)
    else:
        out = value + (factor - 1) * value * Fraction(wanted - now) / Fraction(then - now)
    return int(out) if out.denominator == 1 and out > 0 else None


def _where(place: _Place) -> str:
    return str(place[1]) if place[0] == "size" else ".".join(filter(None, place[1:3]))


def _text(field: _Field) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in field).lstrip(".")


def _texts(found: Mapping[_Field, int]) -> str:
    return ", ".join(f"{_text(field)} = {value}" for field, value in found.items())
