"""Movement of elements, by operators that do nothing else, and of dimensions with them.

Each result of such an operator has elements of its operands at places that depend on no value, and zeros
elsewhere. So it is linear in the operands, and replaying the operator on marks shows where each element goes.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.ir.values import Stub

__all__ = [
    "COMPUTED",
    "CONVERTED",
    "COPIED",
    "CUT",
    "EXPANDED",
    "PICKED",
    "PLACED",
    "REPEATED",
    "REVERSED",
    "SAME",
    "STACKED",
    "SWAPPED",
    "TURNED",
    "UNSQUEEZED",
    "VIEWED",
    "Arguments",
    "Dims",
    "DimsBack",
    "Mask",
    "MoveKind",
    "Movement",
    "keeps_numbers",
    "same_dims",
    "viewed",
]

Dims = frozenset[int]
# Elements of a tensor, as a boolean array of its rank, of length 1 along dimensions whose indices are all
# alike.
Mask = npt.NDArray[np.bool_]
Arguments = dict[str, Any]
# From the arguments by name, a source, a result and dimensions of the result to the source's dimensions
# behind these.
DimsBack = Callable[[Arguments, Stub, Stub, Dims], Dims]


class MoveKind(enum.Enum):
    """Kind of a movement, by which the places of elements are found."""

    RESHAPED = "in the same order, in another shape"
    TURNED = "dimensions in another order"
    CUT = "runs of indices, or single ones, along `dim`"
    REPEATED = "each one to several places"
    PLACED = "anywhere, as a replay on marks of any type shows"
    COMPUTED = "anywhere, as a replay on floating-point numbers shows"


@dataclasses.dataclass(frozen=True, slots=True)
class Movement:
    """The way elements go from the operands of an operator to its results.

    Attributes:
        kind: Its kind.
        dims: The function from dimensions of a result to those of a source that make them up.
        copies: Whether the results have memory of their own; else writing into one may write into the source.
        when: The condition, of the arguments by name, for moving elements; None if the operator always does.
    """

    kind: MoveKind
    dims: DimsBack
    copies: bool = False
    when: Callable[[Arguments], bool] | None = None


def same_dims(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Dimensions stay where they are."""
    return dims


def _aligned(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Dimensions are added in front; the others are aligned from the right."""
    added = len(out.shape) - len(source.shape)
    return frozenset(d - added for d in dims if d >= added)


def _permuted(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    return frozenset(a["dims"][d] % len(source.shape) for d in dims)


def _swapped(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Two dimensions change places; without their numbers these are the only two."""
    rank = len(source.shape)
    if rank < 2:
        return dims
    named: Any = a
    one, two = named.get("dim0", named.get("axis0", 0)), named.get("dim1", named.get("axis1", 1))
    swap = {one % rank: two % rank, two % rank: one % rank}
    return frozenset(swap.get(d, d) for d in dims)


def _reversed(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    return frozenset(len(source.shape) - 1 - d for d in dims)


def _dropped(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """The dimension `dim` of the source is gone."""
    at = a["dim"] % len(source.shape)
    return frozenset(d + (d >= at) for d in dims)


def _added(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """The dimension `dim` of the result is new."""
    at = a["dim"] % len(out.shape)
    return frozenset(d - (d > at) for d in dims if d != at)


def viewed(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """The dimensions of one shape whose indices make up those of dimensions of another, in the same order."""
    found = set()
    before, after = _spans(source.shape), _spans(out.shape)
    for d in dims:
        first, last = after[d]
        found |= {s for s, (low, high) in enumerate(before) if _overlap(low, high, first, last)}
    return frozenset(found)


def _spans(shape: Sequence[int]) -> list[tuple[int, int]]:
    """For each dimension, its stride and the stride of the dimension before it."""
    spans, stride = [], 1
    for n in reversed(shape):
        spans.append((stride, stride * n))
        stride *= n
    return spans[::-1]


def _overlap(a: int, b: int, c: int, d: int) -> bool:
    """Tell whether two ranges of strides overlap; dimensions of one index match at equal strides."""
    return (a < d and c < b) or (a == b == c == d)


def keeps_numbers(a: Arguments) -> bool:
    """Tell whether a change of dtype, if any, keeps real and imaginary parts, and rounds to no integers."""
    other = a.get("other", a.get("dtype"))
    dtype: torch.dtype | None = other.dtype if isinstance(other, Stub) else other
    if dtype is None or dtype.is_complex:
        return True
    return dtype.is_floating_point and not a["self"].dtype.is_complex


SAME = Movement(MoveKind.RESHAPED, same_dims)
COPIED = Movement(MoveKind.RESHAPED, same_dims, copies=True)
CONVERTED = Movement(MoveKind.RESHAPED, same_dims, copies=True, when=keeps_numbers)
VIEWED = Movement(MoveKind.RESHAPED, viewed)
UNSQUEEZED = Movement(MoveKind.RESHAPED, _added)
TURNED = Movement(MoveKind.TURNED, _permuted)
SWAPPED = Movement(MoveKind.TURNED, _swapped)
REVERSED = Movement(MoveKind.TURNED, _reversed)
CUT = Movement(MoveKind.CUT, same_dims)
PICKED = Movement(MoveKind.CUT, _dropped)
EXPANDED = Movement(MoveKind.REPEATED, _aligned)
REPEATED = Movement(MoveKind.REPEATED, _aligned, copies=True)
STACKED = Movement(MoveKind.PLACED, _added, copies=True)
PLACED = Movement(MoveKind.PLACED, same_dims, copies=True)
COMPUTED = Movement(MoveKind.COMPUTED, same_dims, copies=True)
