"""The axes of a reshaped tensor."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence

from naivegraph.algebra.algebra import Algebra
from naivegraph.algebra.axis import Atom, Axis, matching, product, single, total

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
    before = [algebra.resolve(axis) for axis in axes]
    if [axis.length for axis in before] == list(shape):
        return before
    placed: dict[int, Axis] = {}
    if any(_is_unit(factor) for axis in before for factor in axis.atoms()):
        before, placed = _units_placed(algebra, before, shape)
    longer = _regrouped(algebra, [a for a in before if a.length > 1], [size for size in shape if size > 1])
    for axis in before if not longer else ():
        algebra.pin(axis, f"a dimension of one index is dropped, at {algebra.where}")
    others = iter(longer)
    made = [placed.get(d, single(1)) if size == 1 else next(others) for d, size in enumerate(shape)]
    return [algebra.resolve(axis) for axis in made]


def _regrouped(algebra: Algebra, axes: list[Axis], shape: list[int]) -> list[Axis]:
    """The axes of a reshaped tensor whose dimensions all have several indices."""
    out: list[Axis] = []
    while axes or shape:
        group, sizes = matching(axes, shape)
        joined = algebra.join(group)
        rows: list[Axis] = []
        for size in reversed(sizes[1:]):
            joined, row = algebra.split(joined, size)
            rows.append(row)
        out += [joined, *reversed(rows)]
    return out


def _is_unit(factor: object) -> bool:
    return isinstance(factor, Atom) and factor.length == 1


def _units_placed(
    algebra: Algebra, axes: list[Axis], shape: Sequence[int]
) -> tuple[list[Axis], dict[int, Axis]]:
    """Place widths of one neuron, whose dimension a shape does not show as it shows that of several.

    With as many dimensions of one index here as there, each is itself. Without one there, the width becomes
    part of the dimension at its own number if that is the one before it (channels that join the batch; and
    back again), else of the one after it. Where the numbers differ, the outermost are the same at the start,
    as in `flatten(1)` of one sample, where what is left becomes part of a dimension that is regrouped anyway,
    and the innermost at the end, as in a linear layer that flattens the rest. Where there are other ways, it
    is fixed.

    Returns:
        The axes with widths that become part of others in these, and the axes of new dimensions of one index.
    """
    ends = list(itertools.accumulate([axis.length for axis in axes], operator.mul, initial=1))
    new_ends = list(itertools.accumulate(shape, operator.mul, initial=1))
    out, placed = list(axes), dict[int, Axis]()
    for end in dict.fromkeys(ends):
        mine = [d for d, axis in enumerate(axes) if axis.length == 1 and ends[d] == end]
        theirs = [d for d, size in enumerate(shape) if size == 1 and new_ends[d] == end]
        if not mine and len(theirs) == 1 and len(axes) == len(shape):
            placed.update((theirs[0], unit) for unit in _taken_off(out, ends.index(end)))
        elif not theirs:
            _merge(algebra, out, mine, shape)
        elif paired := _paired(axes, mine, shape, theirs, end == 1):
            placed.update((new, axes[d]) for d, new in paired.items())
            _merge(algebra, out, [d for d in mine if d not in paired], shape)
        else:
            for axis in [axes[d] for d in mine] or _beside(axes, ends.index(end)):
                _pin_units(algebra, axis)
    return [axis for axis in out if axis.length > 1] or out, placed


def _paired(
    axes: list[Axis], mine: list[int], shape: Sequence[int], theirs: list[int], start: bool
) -> dict[int, int]:
    """The dimensions of one index there by those here, at one place; none where there are several ways."""
    count = min(len(mine), len(theirs))
    free = [d for d in mine if not axes[d].fixed]
    if not start and len(free) == len(theirs) < len(mine):  # what pooling left beside them is one for good
        paired = dict(zip(free, theirs, strict=True))
    elif len(mine) == len(theirs) or (start and len(mine) > len(theirs)):
        paired = dict(zip(mine, theirs, strict=False))
    elif not start and count and mine[-1] == len(axes) - 1:
        paired = dict(zip(mine[-count:], theirs[-count:], strict=True))
    else:
        return {}
    if start and any(not axes[d].fixed for d in mine if d not in paired):
        here, there = ([n for n in sizes if n > 1] for sizes in ([axis.length for axis in axes], shape))
        if not here or here[0] == there[0]:
            return {}
    return paired


def _beside(axes: list[Axis], after: int) -> list[Axis]:
    """The axes before and after a place."""
    return [axes[d] for d in (after - 1, after) if 0 <= d < len(axes)]


def _pin_units(algebra: Algebra, axis: Axis) -> None:
    for atom in algebra.resolve(axis).atoms():
        if atom.length == 1:
            algebra.pin(single(atom), "one neuron, seen as a dimension of its own or none")


def _taken_off(axes: list[Axis], after: int) -> list[Axis]:
    """Take a factor of one neuron off the end of the axis before a place, or the start of the one there."""
    for d, last in ((after - 1, -1), (after, 0)):
        if 0 <= d < len(axes) and len(axes[d].terms) == 1 and len(axes[d].terms[0]) > 1:
            term = list(axes[d].terms[0])
            if _is_unit(term[last]):
                unit = single(term.pop(last))
                axes[d] = total(product(term))
                return [unit]
    return []


def _merge(algebra: Algebra, axes: list[Axis], units: list[int], shape: Sequence[int]) -> None:
    """Make dimensions of one neuron, which follow each other, part of the one before or after them."""
    if not units or all(axis.length == 1 for axis in axes):
        return
    first, last = units[0], units[-1]
    joined = algebra.join([axes[d] for d in units])
    before = [d for d in range(first) if axes[d].length > 1]
    after = [d for d in range(last + 1, len(axes)) if axes[d].length > 1]
    own = len(axes) == len(shape) and math.prod(shape[:first]) != math.prod(a.length for a in axes[:first])
    if before and (own or not after):
        axes[before[-1]] = algebra.join([axes[before[-1]], joined])
    else:
        axes[after[0]] = algebra.join([joined, axes[after[0]]])
