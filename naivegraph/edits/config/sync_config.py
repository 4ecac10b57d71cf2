"""Config objects of networks, whose numbers follow an edit where they can.

Many networks are built as `Net(config)` and keep the config, so that others can build the same network from
it, as `from_pretrained` of transformers does. The number of the config behind each size is found by trying:
the network is rebuilt on the meta device, which has no weights, first with several numbers changed at once,
by factors that can be told apart, and where that is ambiguous with one at a time. The result is verified: the
network rebuilt with it must have the sizes.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from naivegraph.edits.config.adapter_ranks import with_adapter_ranks
from naivegraph.edits.config.rebuild import ConfigPlace, Field, Numbers, Rebuilt, numbers_of, quiet
from naivegraph.edits.plan.change import AttributeChange, Change
from naivegraph.edits.plan.closing import Closing
from naivegraph.edits.plan.index_formula import formula_length
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.torch_utils.module_paths import INTERNAL, buffers_of, modules_of
from naivegraph.ir.pytree import is_record
from naivegraph.widths.code.size_constraints import SizeConstraints

__all__ = ["FewerLayers", "config_name", "with_config"]


@dataclasses.dataclass(frozen=True)
class FewerLayers:
    """A network of which whole layers leave their lists.

    Attributes:
        closing: What closes the gaps.
        config: The config with the numbers and lists from after that.
    """

    closing: Closing
    config: Any


def with_config(
    change: Change, constraints: SizeConstraints, layers: FewerLayers | None = None
) -> tuple[Change, tuple[str, ...]]:
    """Add the change of the config that the network was built from, or a sentence why it cannot follow.

    The config is the first argument of the class, kept under the same name. It follows if one choice of its
    numbers builds a network of the very sizes and attributes after the change; it cannot where layers built
    from the same number differ.

    Args:
        change: A change of a network's sizes.
        constraints: The constraints of the network's code, with the attributes it reads.
        layers: The layers that leave the network with the change, if some do.

    Returns:
        The change, and notes for the reader.
    """
    module = constraints.widths.graph.module
    change, notes = with_adapter_ranks(change, module)
    name = config_name(module)
    if name is None or not change.widths:
        return change, notes
    with quiet():
        change, unsaid = _followed(change, constraints, module, name, layers)
    return change, (*notes, *unsaid)


def _followed(
    change: Change, constraints: SizeConstraints, module: nn.Module, name: str, layers: FewerLayers | None
) -> tuple[Change, tuple[str, ...]]:
    built = Rebuilt(module, name, config=None if layers is None else layers.config)
    before, after = numbers_of(module, name), _after(change)
    read = {("number", a.path, a.name, a.keys) for a in constraints.read}
    if layers is not None:
        before, after = _placed(before, layers.closing), _placed(after, layers.closing)
        read = set(_placed(dict.fromkeys(read, 0), layers.closing))
    target = {
        place: after.get(place, value)
        for place, value in before.items()
        if place[0] != "number" or place in read or isinstance(value, float)
    }
    if change.labels:
        labelled = _labelled(change, module, name, before, target) if layers is None else None
        if labelled is not None:
            return labelled, ()
    given = _given(change, module, built)
    lost = [buffer for buffer in unsaved_buffers(module) if buffer in change.tensors]
    if lost and not isinstance(given, str):
        given = f"{lost[0]}, which is worked out from it, changed"
    found = _search(built, target, before, given)
    if isinstance(found, dict):
        found = built.refusal(found) or _other_buffer(built, module, found, layers) or found
    if found is None:
        return change, ()
    if isinstance(found, str):
        return change, (
            f"the network's {name} cannot describe it any more ({found}): "
            "use ng.save and ng.load rather than save_pretrained or the like",
        )
    known = {(a.path, a.name, a.keys) for a in change.attributes}
    added = [
        AttributeChange(path, name, field, built.fields[field], value)
        for path, owner in modules_of(module)
        if vars(owner).get(name) is vars(module)[name]
        for field, value in found.items()
        if (path, name, field) not in known and value != built.fields[field]
    ]
    return dataclasses.replace(change, attributes=[*change.attributes, *added]), ()


def _labelled(
    change: Change, module: nn.Module, name: str, before: Numbers, target: Numbers
) -> Change | None:
    """The change with the numbers that the network takes from its labels; None if the sizes do not."""
    start, now = Rebuilt(module, name).numbers({}), Rebuilt(module, name, change).numbers({})
    if start is None or now is None or any(now.get(place) != value for place, value in target.items()):
        return None
    known = {(a.path, a.name, a.keys) for a in change.attributes}
    added = [
        AttributeChange(place[1], place[2], place[3], int(value), int(now[place]))
        for place, value in before.items()
        if place[0] == "number" and place[1:] not in known and place in now
        if type(value) is int and start.get(place) == value != now[place]
    ]
    return dataclasses.replace(change, attributes=[*change.attributes, *added])


def _other_buffer(
    built: Rebuilt, module: nn.Module, found: Mapping[Field, int], layers: FewerLayers | None
) -> str | None:
    """The reason why the config's numbers do not fit, if a buffer that is not saved would have other values.

    Those which the present config does not give either are left aside.
    """
    unsaved = unsaved_buffers(module)
    present = {name: buffer for name, buffer in buffers_of(module).items() if name in unsaved}
    if not present or all(buffer.is_meta for buffer in present.values()):
        return None
    start, then = built.buffers({}), built.buffers(found)
    for path, buffer in present.items():
        name = path if layers is None else layers.closing.after(path)
        if (
            name in start
            and _equal(buffer, start[name])
            and not (name in then and _equal(buffer, then[name]))
        ):
            return f"{name}, which is worked out from it, would have other values"
    return None


def _equal(buffer: torch.Tensor, other: torch.Tensor) -> bool:
    return not buffer.is_meta and torch.equal(buffer.cpu(), other.to(buffer.dtype))


def _search(
    built: Rebuilt, target: Numbers, before: Numbers, given: dict[Field, int] | str
) -> dict[Field, int] | str | None:
    """The config's numbers, or the reason why none fit; None if it described another network already.

    Args:
        built: The networks that the config builds.
        target: The sizes and numbers that the network should have.
        before: Those it has now.
        given: Numbers of the config that are known, or the reason why none fit.
    """
    found = given if isinstance(given, str) else _at_once(built, target, before, given)
    if isinstance(found, dict):
        return found
    start = built.numbers({})
    if start is None or any(start.get(place) != before[place] for place in before if place[0] == "size"):
        return None  # The network was changed by hand since.
    if isinstance(given, str):
        return given
    target = {place: wanted for place, wanted in target.items() if start.get(place) == before[place]}
    if isinstance(found, _Conflict) and _confirmed(found, built, target):
        return str(found)
    return _solve(built, target, start, given)


def config_name(module: nn.Module) -> str | None:
    """The name of the constructor's first argument, if the module keeps a plain object under it."""
    if not any(is_record(value) for name, value in vars(module).items() if name not in INTERNAL):
        return None
    names = list(inspect.signature(type(module).__init__).parameters)[1:2]
    return names[0] if names and is_record(vars(module).get(names[0])) else None


def _after(change: Change) -> Numbers:
    """The sizes and numbers that differ after the change."""
    sizes = {key: width.after for key, width in change.widths.items()}
    out: Numbers = {
        ("size", name, dim): formula_length(axis, sizes)
        for name, axes in change.tensors.items()
        for dim, axis in enumerate(axes)
    }
    for a in change.attributes:
        if not isinstance(a.after, str):
            out["number", a.path, a.name, a.keys] = a.after
    return out


def _placed(numbers: Numbers, closing: Closing) -> Numbers:
    """Numbers by the paths from after layers left; an added number of a layer's place is that from then."""
    places = {
        ("number", a.path, a.name, a.keys): float(a.after) for a in closing.attributes if type(a.after) is int
    }
    found = {
        (place[0], closing.after(place[1]), *place[2:]): places.get(place, value)
        for place, value in numbers.items()
    }
    return {place: value for place, value in found.items() if place[1] is not None}


def _given(change: Change, module: nn.Module, built: Rebuilt) -> dict[Field, int] | str:
    """The numbers of the config that the change itself sets, as the forward reads them."""
    out: dict[Field, int] = {}
    for a in change.attributes:
        of_config = a.keys and vars(module.get_submodule(a.path)).get(a.name) is vars(module)[built.name]
        if of_config and isinstance(a.after, int) and out.setdefault(a.keys, a.after) != a.after:
            return f"{_text(a.keys)} would be {out[a.keys]} in one layer and {a.after} in {a.path}"
    return out


def _solve(
    built: Rebuilt, target: Numbers, start: Numbers, given: dict[Field, int]
) -> dict[Field, int] | str:
    """The config's numbers that build a network of the target's sizes, or the reason why none do."""
    found, now = dict(given), built.numbers(given) if given else start
    unknown = _candidates(built, target, start, found)
    while True:
        if now is None:
            return f"no network can be built with {_texts(found)}"
        wrong = [place for place, value in target.items() if now.get(place) != value]
        if not wrong:
            return found
        votes, moving = _votes(built, target, now, found, unknown)
        for field, wanted in votes.items():
            if len(wanted) > 1:
                return _contradiction(field, wanted)
            found[field] = next(iter(wanted))
        # Numbers that moved nothing are not tried again.
        unknown = {field: value for field, value in unknown.items() if field in moving - found.keys()}
        if not votes:
            return f"no choice of its numbers gives {_where(wrong[0])} its size"
        now = built.numbers(found)


def _candidates(
    built: Rebuilt, target: Numbers, start: Numbers, found: Mapping[Field, int]
) -> dict[Field, int]:
    """The numbers of the config on which a size that changes may depend."""
    changed = _changed(target, start)
    return {
        field: value
        for field, value in built.fields.items()
        if field not in found and any(c % value == 0 or value % c == 0 for c in changed)
    }


def _changed(target: Numbers, start: Numbers) -> set[int]:
    return {int(start[place]) for place, value in target.items() if value != start[place]}


@dataclasses.dataclass(frozen=True)
class _Conflict:
    """A number of the config that, as far as is known, would need two values."""

    field: Field
    wanted: dict[int, ConfigPlace]
    found: dict[Field, int]
    now: Numbers
    others: dict[Field, int]

    def __str__(self) -> str:
        return _contradiction(self.field, self.wanted)


def _contradiction(field: Field, wanted: Mapping[int, ConfigPlace]) -> str:
    (one, here), (two, there) = list(wanted.items())[:2]
    return f"{_text(field)} would have to be {one} for {_where(here)} and {two} for {_where(there)}"


def _at_once(
    built: Rebuilt, target: Numbers, before: Numbers, given: dict[Field, int]
) -> dict[Field, int] | _Conflict | None:
    """Solve as `_solve` does, but try numbers equal to a changing size together; None if ambiguous.

    The smaller ones get the smaller factors, each dividing the next, as the larger often have to be multiples
    of the smaller. No factor is a product or a quotient of two others.
    """
    now = built.numbers(given) if given else before
    candidates, changed = _candidates(built, target, before, given), _changed(target, before)
    together = sorted((f for f, v in candidates.items() if v in changed), key=lambda f: candidates[f])
    factors = {field: 3 << place for place, field in enumerate(together)}
    changes = {**given, **{field: candidates[field] * factors[field] for field in together}}
    numbers = built.numbers(changes) if together else None
    if now is None or numbers is None:
        return None
    votes = _votes_at_once(target, now, numbers, candidates, factors)
    for field, wanted in votes.items():
        if len(wanted) > 1:
            others = {f: value for f, value in candidates.items() if f != field}
            return _Conflict(field, wanted, given, now, others)
    found = {field: next(iter(wanted)) for field, wanted in votes.items()}
    solved = _solve(built, target, before, {**given, **found}) if found else None
    return solved if isinstance(solved, dict) else None


def _votes_at_once(
    target: Numbers,
    now: Numbers,
    numbers: Numbers,
    values: Mapping[Field, int],
    factors: Mapping[Field, int],
) -> dict[Field, dict[int, ConfigPlace]]:
    """The values that each number would need for the sizes that changed as it did, or inversely.

    The code's own numbers are left out: they are often quotients of two of the config's, of which one need
    not be among these.
    """
    fields = {factor: field for field, factor in factors.items()}
    votes: dict[Field, dict[int, ConfigPlace]] = {}
    for place, wanted in target.items():
        here, there = now.get(place), numbers.get(place)
        if place[0] == "number" or not here or not there or here == there:
            continue
        factor = there / here if there > here else here / there
        if factor in fields:
            field = fields[int(factor)]
            vote = _value(values[field], Fraction(int(factor)), here, there, wanted)
            if vote is not None:
                votes.setdefault(field, {}).setdefault(vote, place)
    return votes


def _confirmed(conflict: _Conflict, built: Rebuilt, target: Numbers) -> bool:
    """Check whether both places change as the number does where all others change by another factor."""
    value, factor, two = built.fields[conflict.field], 6, dict([*conflict.wanted.items()][:2])
    changed = {field: 2 * other for field, other in conflict.others.items()}
    numbers = built.numbers({**conflict.found, **changed, conflict.field: factor * value})
    votes = _votes_at_once(
        {place: target[place] for place in two.values() if place in target},
        conflict.now,
        numbers or {},
        {conflict.field: value},
        {conflict.field: factor},
    )
    return votes.get(conflict.field) == two


def _votes(
    built: Rebuilt, target: Numbers, now: Numbers, found: dict[Field, int], unknown: dict[Field, int]
) -> tuple[dict[Field, dict[int, ConfigPlace]], set[Field]]:
    """The values that every number would need for the places that depend on it alone of all unknown ones.

    Also the numbers on which any place depends, or may, as no network could be built with another value.
    """
    tried: dict[Field, tuple[Fraction, Numbers]] = {}
    for field, value in unknown.items():
        for factor in (Fraction(2), Fraction(1, 2), Fraction(3)):
            if (value * factor).denominator == 1:
                numbers = built.numbers({**found, field: int(value * factor)})
                if numbers is not None:
                    tried[field] = (factor, numbers)
                    break
    votes: dict[Field, dict[int, ConfigPlace]] = {}
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

    Relations are tried in this order: proportional, inverse, a straight line.
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


def _where(place: ConfigPlace) -> str:
    return str(place[1]) if place[0] == "size" else ".".join(filter(None, place[1:3]))


def _text(field: Field) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in field).lstrip(".")


def _texts(found: Mapping[Field, int]) -> str:
    return ", ".join(f"{_text(field)} = {value}" for field, value in found.items())
