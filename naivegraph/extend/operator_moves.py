"""Comparison of movement and linear sources in a record with the operator itself, on samples.

Each check gives the differences found, as sentences.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.extend.operator_trial import OperatorCall, differ, operands_text, subsets, tensor_at
from naivegraph.ir.values import Stub
from naivegraph.operators.lookup import movement_of, record_of
from naivegraph.operators.move_masks import moved_back, moved_on
from naivegraph.operators.movement import Dims, Mask, Movement
from naivegraph.operators.relation import arguments
from naivegraph.operators.sources import Choice, LinearPart

__all__ = ["movement_missing", "movement_wrong", "sources_missing", "sources_wrong"]

Places = npt.NDArray[np.int64]


# Movement


def movement_missing(call: OperatorCall) -> Iterator[str]:
    """Operators that only move elements though their record does not say so."""
    if movement_of(call.operation) is None and _origins(call) is not None:
        yield f"{call} only moves elements: state its movement="


def movement_wrong(call: OperatorCall) -> Iterator[str]:
    """Differences between the movement that a record states and where numbers go."""
    movement = movement_of(call.operation)
    if movement is None:
        return
    origins = _origins(call)
    if origins is None:
        yield f"{call} does not only move elements to places that depend on no value: see movement="
        return
    if movement.copies and _shares(call):
        yield f"{call}: a result lies in the memory of an operand: its movement has copies=False"
    for place, out in enumerate(call.operation.outputs):
        if out is not None:
            yield from _dimsdiffer(call, movement, out, origins[place])
            yield from _masksdiffer(call, movement, out, origins[place])


def _origins(call: OperatorCall) -> list[Places] | None:
    """For every element of each result, the number of the element it is, over all operands; 0 for a zero.

    None where that differs from numbers to numbers, or an element is neither.
    """
    if not call.floating or any(result is None for result in call.results):
        return None
    if len(call.floating) < len(call.operands):
        return None  # indices or truth values say where, which no recording knows
    found: list[Places] | None = None
    for seed in range(3):
        values, numbers = _distinct(call, torch.Generator().manual_seed(seed))
        try:
            results = call.run(values)
        except RuntimeError:
            return None  # some numbers are none for it, as for a probability
        this = [_looked_up(result, numbers) for result in results if result is not None]
        if any((places < 0).any() for places in this):
            return None
        if found is not None and not all(map(np.array_equal, found, this)):
            return None
        found = this
    return found if found and all(places.any() for places in found if places.size) else None


def _distinct(
    call: OperatorCall, generator: torch.Generator
) -> tuple[dict[int, torch.Tensor], dict[complex, int]]:
    """Operands of numbers that all differ in size, with which element each is."""
    values, numbers = {}, {0j: 0}
    for key, old in call.operands.items():
        order = torch.randperm(old.numel(), generator=generator)
        signs = torch.where(torch.rand(old.numel(), generator=generator) < 0.5, -1.0, 1.0)
        first = len(numbers)
        new = ((order + first - 0.75) * signs).to(old.dtype)
        numbers.update({complex(value): first + place for place, value in enumerate(new.tolist())})
        values[key] = new.reshape(old.shape)
    return values, numbers


def _looked_up(result: torch.Tensor, numbers: dict[complex, int]) -> Places:
    found = [numbers.get(complex(value), -1) for value in result.reshape(-1).tolist()]
    return np.array(found, np.int64).reshape(tuple(result.shape))


def _shares(call: OperatorCall) -> bool:
    """Tell whether a result has the memory of an operand."""
    given = {key: value.clone() for key, value in call.operands.items()}
    memory = {value.untyped_storage().data_ptr() for value in given.values()}
    results = call.run_on(given)
    return any(result is not None and result.untyped_storage().data_ptr() in memory for result in results)


def _sources(call: OperatorCall, origins: Places) -> Iterator[tuple[Stub, Places]]:
    """Each operand that numbers come from, with 1 + the place in it of every element of a result, or 0."""
    start = 1
    for key in call.floating:
        count = call.operands[key].numel()
        mine = np.where((origins >= start) & (origins < start + count), origins - start + 1, 0)
        yield call.stubs[key], mine
        start += count


def _dimsdiffer(call: OperatorCall, movement: Movement, out: Stub, origins: Places) -> Iterator[str]:
    """Steps along a dimension of a result are steps along those of the source that are said to make it up."""
    named = arguments(call.operation)
    for source, places in _sources(call, origins):
        if not places.any():
            continue
        at = np.stack(np.unravel_index(np.maximum(places - 1, 0), source.shape or (1,)))
        for d in range(len(out.shape)):
            said, made = movement.dims(named, source, out, frozenset([d])), set[int]()
            for step in range(1, out.shape[d]):
                kept = out.shape[d] - step
                one, two = (np.take(places, range(k, kept + k), d) for k in (0, step))
                before, after = (np.take(at, range(k, kept + k), d + 1) for k in (0, step))
                moved = (before != after) & (one > 0) & (two > 0)
                made.update(np.flatnonzero(moved.reshape(len(at), -1).any(1)).tolist())
            wide = {s for s in said if source.shape[s] > 1}
            if not made <= said or (made and not wide <= made):
                yield f"{call}: dimension {d} is made of {made} of an operand, not of {set(said)}"


def _masksdiffer(call: OperatorCall, movement: Movement, out: Stub, origins: Places) -> Iterator[str]:
    """Elements said to go to some, or to come from some, against where numbers go."""
    rng = np.random.default_rng(0)
    every = frozenset(range(len(out.shape)))
    for source, places in _sources(call, origins):
        for given in _masks(source.shape, rng):
            chosen = np.flatnonzero(np.broadcast_to(given, source.shape)) + 1
            on = dict(moved_on(movement, call.operation, source, given))
            if not np.array_equal(np.broadcast_to(on[out], out.shape), np.isin(places, chosen)):
                yield f"{call}: elements of an operand go elsewhere than its movement says"
        for mask in [None, *_masks(out.shape, rng)]:
            back = moved_back(movement, call.operation, out, every, mask)
            said = [entries for stub, _, entries in back if stub == source]
            got = np.broadcast_to(False if not said else True if said[0] is None else said[0], source.shape)
            reached = places[np.broadcast_to(True if mask is None else mask, out.shape)]
            if not np.array_equal(np.flatnonzero(got) + 1, np.setdiff1d(reached, [0])):
                yield f"{call}: elements of a result come from elsewhere than its movement says"


def _masks(shape: tuple[int, ...], rng: np.random.Generator) -> list[Mask]:
    """Random ones, of length 1 along every other dimension or so."""
    lengths = [tuple(n if rng.random() < 0.6 else min(n, 1) for n in shape) for _ in range(4)]
    return [np.array(rng.random(size) < 0.4) for size in [shape, *lengths]]


# Linear sources


def sources_wrong(call: OperatorCall) -> Iterator[str]:
    """Operands in which an operator is said to be linear and is not, in all elements or some."""
    rng = np.random.default_rng(0)
    for out, old in zip(call.operation.outputs, call.results, strict=True):
        if out is None or old is None:
            continue
        every = frozenset(range(len(out.shape)))
        for mask in [None, *_masks(out.shape, rng)]:
            here = _whole(mask, out)
            for choice in _choices(call, out, every, mask):
                if not _scales(call, choice, out, here):
                    named = operands_text(call, frozenset(part.stub.id for part in choice))
                    yield f"{call} is not linear in {named}, or not in these elements: see sources="
        for d in every:
            for choice in _choices(call, out, frozenset([d]), None):
                yield from _carry(call, choice, out, d)


def sources_missing(call: OperatorCall) -> Iterator[str]:
    """Operands in which an operator is linear though its record does not say so."""
    out, record = call.operation.outputs[0], record_of(call.operation.func)
    if (
        out is None
        or not call.floating
        or movement_of(call.operation) is not None
        or record.sources is not None
    ):
        return
    for numbers in subsets(call.floating):
        whole = [LinearPart(call.stubs[number], frozenset(), None) for number in numbers]
        zero = call.results[0] is None or not bool(call.results[0].any())
        if not zero and _scales(call, whole, out, torch.ones(out.shape, dtype=torch.bool), (2.0, 3.0)):
            yield f"{call} is linear in {operands_text(call, numbers)}: state its sources="


def _choices(call: OperatorCall, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    sources = record_of(call.operation.func).sources
    if sources is None or movement_of(call.operation) is not None:
        return []
    return sources(arguments(call.operation), call.operation, out, dims, mask)


def _scales(
    call: OperatorCall, choice: Choice, out: Stub, here: torch.Tensor, factors: tuple[float, ...] = (2.0,)
) -> bool:
    """Tell whether some elements of a result become so many times as large if those of a choice do."""
    place = call.operation.outputs.index(out)
    old = tensor_at(call.results, place)
    if not old.is_floating_point() and not old.is_complex():
        return False
    for factor in factors:
        try:
            new = call.result(place, {part.stub.id: _times(call, part, factor) for part in choice})
        except RuntimeError:
            return False  # larger numbers are none for it, as for a probability
        if not torch.allclose(new[here], factor * old[here], rtol=1e-5, atol=1e-8):
            return False
    return True


def _whole(mask: Mask | None, stub: Stub) -> torch.Tensor:
    # In rows, as numbers made with it are laid out like it.
    return torch.from_numpy(np.array(np.broadcast_to(True if mask is None else mask, stub.shape), order="C"))


def _times(call: OperatorCall, part: LinearPart, factor: float) -> torch.Tensor:
    value = call.operands[part.stub.id]
    if part.mask is None:
        return value * factor
    return torch.where(_whole(part.mask, part.stub), value * factor, value)


def _carry(call: OperatorCall, choice: Choice, out: Stub, dim: int) -> Iterator[str]:
    """An index along the one dimension that carries another must change that index of the other alone."""
    place = call.operation.outputs.index(out)
    old = call.results[place]
    for part in choice:
        if len(part.dims) != 1 or old is None:
            continue
        (carrier,) = part.dims
        value = call.operands[part.stub.id]
        for index in {0, out.shape[dim] - 1} if value.shape[carrier] == out.shape[dim] else ():
            other = value.clone()
            other.select(carrier, index).mul_(1.5)
            new = call.result(place, {part.stub.id: other})
            changed = differ(old, new)
            elsewhere = [d for d in range(out.shape[dim]) if d != index]
            if bool(changed[(slice(None),) * dim + (elsewhere,)].any()):
                yield f"{call}: dimension {carrier} of an operand does not carry {dim} of the result"
