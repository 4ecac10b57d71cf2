"""Comparison of the facts in a record with the operator itself, on samples.

Nothing here reads a table: which elements depend on which, what is zero, what moves and what scales is found
by running the operator on other numbers. Each check gives the differences found, as sentences.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.algebra.axis import Atom
from naivegraph.extend.operator_trial import (
    OperatorCall,
    Related,
    atoms_of,
    differ,
    marks_of,
    operands_text,
    relate_call,
    subsets,
)
from naivegraph.operators.registry import SHAPES
from naivegraph.operators.shapes import FakeResult, FakeResults

__all__ = [
    "axes_wrong",
    "shapes_wrong",
    "zeros_missing",
    "zeros_wrong",
]

Places = npt.NDArray[np.int64]

# What counts as zero in double precision, so that its direction can still be told.
_TINY = 1e-120


# Axes


def axes_wrong(call: OperatorCall) -> Iterator[str]:
    """Ways in which one neuron changes others, though the record says that their axes are free of it.

    A neuron is an index of every dimension whose axis has its atom. Where neurons enter a statistic or a sum,
    they may change others.
    """
    related = relate_call(call)
    relation, taken = related.relation, {number: related.taken[number] for number in call.floating}
    mixed = [axis for axis, _ in relation.coupled] + [each.axis for each in relation.summed]
    free = set().union(*(atoms_of(relation, axes) for axes in taken.values())) - atoms_of(relation, mixed)
    for atom, index in _neurons(free):
        values = {}
        for number, axes in taken.items():
            value = call.operands[number]
            # Between 0 and 1 stays what is.
            values[number] = torch.where(marks_of(relation, axes, atom, index), 0.5 * value + 0.25, value)
        for stub, old, new in zip(call.operation.outputs, call.results, call.run(values), strict=True):
            if stub is None or old is None or new is None:
                continue
            mine = marks_of(relation, relation.of(stub), atom, index)
            if bool((differ(old, new) & ~mine).any()):
                made = ", ".join(str(relation.algebra.resolve(axis)) for axis in relation.of(stub))
                yield (
                    f"{call}: index {index} of {atom.length} of an operand changes elements of the result "
                    f"[{made}] that are not its own: its rule has to tie, fix (`pin`) or `couple` that axis"
                )


def _neurons(atoms: set[Atom]) -> list[tuple[Atom, int]]:
    """The last neuron of each atom."""
    return [(atom, atom.length - 1) for atom in sorted(atoms, key=lambda atom: atom.serial)]


# Zeros


def zeros_wrong(call: OperatorCall) -> Iterator[str]:
    """Results said to vanish which do not, while some operands do, and some dimensions are fixed."""
    for vanishing, pinned in itertools.product(subsets(call.floating), _pins(call)):
        related = relate_call(call, vanishing, pinned)
        for place, stub in enumerate(call.operation.outputs):
            said = stub is not None and related.relation.vanishes(stub) and stub.dtype != torch.bool
            if said and not _vanishes(call, related, vanishing, place):
                name = f"result {place}" if place else "the result"
                yield f"{call}: {name} is not zero where {operands_text(call, vanishing)} is: see zeros="


def zeros_missing(call: OperatorCall) -> Iterator[str]:
    """A result that vanishes with the first operand, or with all, though the record does not say so."""
    out = call.operation.outputs[0]
    if out is None or not call.floating or not (out.dtype.is_floating_point or out.dtype.is_complex):
        return
    numbers = {frozenset(call.floating[:1]), frozenset(call.floating)}
    for vanishing, pinned in itertools.product(numbers, _pins(call)):
        related = relate_call(call, vanishing, pinned)
        relation = related.relation
        if relation.vanishes(out) or not atoms_of(relation, relation.of(out)):
            continue
        if _vanishes(call, related, vanishing, 0):
            yield f"{call}: the result is zero where {operands_text(call, vanishing)} is: state its zeros="


def _pins(call: OperatorCall) -> list[tuple[bool, ...] | None]:
    """Nothing fixed, all but the second dimension of the first operand, or all but the last."""
    rank = call.operands[0].dim() if call.operands else 0
    return [None, *(tuple(d != free for d in range(rank)) for free in {1, rank - 1} if 0 < free < rank)]


def _vanishes(call: OperatorCall, related: Related, vanishing: frozenset[int], place: int) -> bool:
    """Tell whether one result is zero on each neuron of its axes, once vanishing operands are.

    Where zero itself has no value, as a direction, a tiny number stands for it.
    """
    stub, relation = call.operation.outputs[place], related.relation
    if stub is None:
        return True
    for atom, index in _neurons(atoms_of(relation, relation.of(stub))):
        mine = marks_of(relation, relation.of(stub), atom, index)
        here = {n: marks_of(relation, related.taken[n], atom, index) for n in vanishing}
        for small in (0.0, _TINY):
            result = call.result(place, {n: torch.where(m, small, call.operands[n]) for n, m in here.items()})
            size = result[mine].abs()
            if not bool(size.isnan().any()):
                break
        if not bool((size < 1e-30).all()):
            return False
    return True


# Shapes


def shapes_wrong(call: OperatorCall) -> Iterator[str]:
    """Differences between the results that are inferred from shapes and those there are."""
    rule = SHAPES.get(call.operation.func)
    if rule is None:
        return
    found = call.apply(rule, call.operands)
    if found is None:
        return
    items = found.items if isinstance(found, FakeResults) else [found]
    for item, result in itertools.zip_longest(items, call.results):
        said = _described(item) if isinstance(item, FakeResult) else "nothing"
        made = "nothing" if result is None else _described(result)
        if said != made:
            yield f"{call}: {said} is inferred for {made}"


def _described(of: FakeResult | torch.Tensor) -> str:
    stride = of.stride if isinstance(of, FakeResult) else of.stride()
    return f"{of.dtype}{list(of.shape)} with strides {list(stride)}"
