"""What the code of a network can demand of the sizes of its axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from naivegraph.algebra.axis import Axis
from naivegraph.graph import Vertex
from naivegraph.ir.values import Expression
from naivegraph.operators.relation import tensors_in
from naivegraph.widths.widths import Widths

__all__ = ["CodeConstraint", "EqualSizes", "FixedValue", "OpaqueAxis", "SizeArgument", "taken_apart"]


@dataclasses.dataclass(frozen=True)
class SizeArgument:
    """The code passes `value` where the size of `axis` must stand."""

    value: Expression
    axis: Axis
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class EqualSizes:
    """The code makes these axes of equal size (the parts of a chunk)."""

    axes: tuple[Axis, ...]
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class FixedValue:
    """The code uses `value` in a way which lets it not change."""

    value: Expression
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class OpaqueAxis:
    """A layer or function works with sizes of its own, so this axis of it may not change."""

    axis: Axis
    vertex: Vertex


CodeConstraint = SizeArgument | EqualSizes | FixedValue | OpaqueAxis


def taken_apart(widths: Widths, vertex: Vertex) -> Iterator[OpaqueAxis]:
    """All axes of a function that is given numbers, if it makes or cuts axes inside.

    Which of its numbers says how is not known (`hsplit`, `repeat_interleave`), so nothing it touches may
    change.
    """
    given: dict[int, list[Axis]] = {}
    made: dict[int, list[Axis]] = {}
    for operation in vertex.operations:
        for stub in tensors_in([operation.args, operation.kwargs]):
            if stub.id not in made:
                given[stub.id] = widths.of(stub)
        made.update({s.id: widths.of(s) for s in operation.outputs if s is not None and s.id not in given})
    whole = [axis for axes in given.values() for axis in axes if not axis.fixed]
    atoms = {axis: set(axis.atoms()) for axis in whole}
    known = set().union(*atoms.values())
    inside = [axis for axes in made.values() for axis in axes if not axis.fixed and axis not in atoms]
    for axis in inside:
        own = set(axis.atoms())
        if own - known or any(
            own & theirs and (theirs - own or axis.length < other.length) for other, theirs in atoms.items()
        ):
            for each in (*whole, *inside):
                yield OpaqueAxis(each, vertex)
            return
