"""The kinds of constraints that the code of a network imposes on the sizes of its axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from naivegraph.algebra.axis import Axis
from naivegraph.graph import Vertex
from naivegraph.ir.values import Expression
from naivegraph.widths.widths import Widths

__all__ = [
    "CodeConstraint",
    "EqualSizes",
    "FixedValue",
    "LongestAxis",
    "OpaqueAxis",
    "SizeArgument",
    "SmallerAxis",
    "opaque_axes",
]


@dataclasses.dataclass(frozen=True)
class SizeArgument:
    """The code passes `value` as the size of `axis`."""

    value: Expression
    axis: Axis
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class EqualSizes:
    """The code makes axes of equal size (the parts of a chunk)."""

    axes: tuple[Axis, ...]
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class FixedValue:
    """The code uses `value` in a way that does not let it change."""

    value: Expression
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class LongestAxis:
    """The code takes `most` indices of `axis`, or as many as there are: all, as long as these are no more."""

    most: int
    axis: Axis
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class SmallerAxis:
    """A layer needs `smaller` to stay below `larger`."""

    smaller: Axis
    larger: Axis
    vertex: Vertex


@dataclasses.dataclass(frozen=True)
class OpaqueAxis:
    """A layer or function works with sizes of its own, so that this axis may not change."""

    axis: Axis
    vertex: Vertex


CodeConstraint = SizeArgument | EqualSizes | FixedValue | LongestAxis | OpaqueAxis | SmallerAxis


def opaque_axes(widths: Widths, vertex: Vertex) -> Iterator[OpaqueAxis]:
    """All axes of a function that takes numbers, if it makes or cuts axes inside.

    Nothing tells which of its numbers says how (`hsplit`, `repeat_interleave`), so no axis of it may change.
    """
    taken: dict[int, list[Axis]] = {}
    made: dict[int, list[Axis]] = {}
    for operation in vertex.operations:
        for stub in operation.operands:
            if stub.id not in made:
                taken[stub.id] = widths.of(stub)
        made.update({s.id: widths.of(s) for s in operation.outputs if s is not None and s.id not in taken})
    whole = [axis for axes in taken.values() for axis in axes if not axis.fixed]
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
