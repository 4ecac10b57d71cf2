"""The axes of a reshaped tensor."""

from __future__ import annotations

from collections.abc import Sequence

from naivegraph.algebra.algebra import Algebra
from naivegraph.algebra.axis import Axis, matching, single

__all__ = ["reshaped"]


def reshaped(algebra: Algebra, axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis]:
    """The axes of a tensor with these axes after a reshape to another shape of as many elements.

    Groups of dimensions with equally many elements on both sides are flattened into one axis, which is split
    into the new dimensions from the innermost on.

    Args:
        algebra: The algebra of the axes.
        axes: The axes before.
        shape: The shape after, without a -1.

    Example:
        >>> algebra = Algebra()
        >>> heads, size = reshaped(algebra, [algebra.new(12)], [3, 4])
        >>> heads.length, size.length
        (3, 4)
    """
    out: list[Axis] = []
    sources, targets = list(axes), list(shape)
    while sources or targets:
        group, sizes = matching(sources, targets)
        joined = algebra.join(group)
        if len(sizes) > 1 and 1 in sizes:
            _pin_single(algebra, joined)
        for size in reversed(sizes[1:]):
            joined, row = algebra.split(joined, size)
            out.append(row)
        if sizes:
            out.append(joined)
        elif group:
            algebra.pin(joined, f"a dimension of one index is dropped, at {algebra.where}")
        out[len(out) - len(sizes) :] = reversed(out[len(out) - len(sizes) :])
    return [algebra.resolve(axis) for axis in out]


def _pin_single(algebra: Algebra, axis: Axis) -> None:
    """Fix the widths of one neuron in an axis of which a dimension of one index is split off.

    That dimension may be the width or a constant 1; which of them shows only once there are several neurons.
    """
    for atom in algebra.resolve(axis).atoms():
        if atom.length == 1:
            algebra.pin(single(atom), "one neuron, seen as a dimension of its own or none")
