"""Replaying operators that only move elements, on indices, to see which element comes from where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.registry import operators
from naivegraph.operators.relation import arguments, tensors_in

__all__ = ["MOVES", "Mask", "moved_back", "moved_on"]

# Which elements of a tensor: of its rank, but of length 1 along dimensions whose indices are all alike.
Mask = npt.NDArray[np.bool_]

_VIEWS = operators("view _unsafe_view reshape _reshape_alias flatten unflatten squeeze")
_SAME = operators(
    "slice split split_with_sizes chunk unsafe_split unsafe_split_with_sizes cat constant_pad_nd roll flip"
)
_ALIGNED = operators("expand broadcast_to repeat")
_TURNED = operators("permute transpose t")
_CUTS = operators("slice split split_with_sizes chunk unsafe_split unsafe_split_with_sizes select unbind")
_RESHAPED = _VIEWS | operators("unsqueeze")
_OTHER = _TURNED | operators("select unbind unsqueeze stack")
_WHOLE = _RESHAPED | _TURNED
MOVES = _VIEWS | _SAME | _ALIGNED | _OTHER


def moved_back(
    operation: Operation, out: Stub, dims: frozenset[int], mask: Mask | None
) -> Iterator[tuple[Stub, frozenset[int], Mask | None]]:
    """For each source of a movement: the dimensions that carry `dims`, and the elements that go to `mask`."""
    sources = tensors_in(list(operation.args)) + tensors_in(operation.kwargs)
    for source in dict.fromkeys(sources):
        carried = _dims_back(operation, source, out, dims)
        if mask is None and operation.func.overloadpacket in _WHOLE:
            yield source, carried, None
            continue
        found = _written_back(operation, source, out, mask)
        if found.any():
            yield source, carried, found


def _written_back(operation: Operation, source: Stub, out: Stub, mask: Mask | None) -> Mask:
    """The elements of a source which go to these elements of a result (to any, where mask is None)."""
    if mask is not None and operation.func.overloadpacket in _RESHAPED:
        return _reshaped(mask, out.shape, source.shape)
    if mask is not None and operation.func.overloadpacket in _TURNED:
        order = [min(_dims_back(operation, source, out, frozenset([d]))) for d in range(mask.ndim)]
        return mask.transpose(np.argsort(order))
    which = [o.id if o else None for o in operation.outputs].index(out.id)
    found = torch.zeros(_enough(operation, source, out, mask), dtype=torch.bool)
    view = _run(operation, source, found)[which]
    if operation.func.overloadpacket not in _ALIGNED and _shares(view, found):
        # What is written to a view of all the source's elements is written to those elements.
        written = view.numpy()
        written |= True if mask is None else mask
        return found.numpy()
    places = _replay(operation, source)[which].numpy()
    flat = np.zeros(math.prod(source.shape) + 1, np.bool_)
    flat[places if mask is None else places[np.broadcast_to(mask, places.shape)]] = True
    return flat[1:].reshape(source.shape)


def _enough(operation: Operation, source: Stub, given: Stub, mask: Mask | None) -> Sequence[int]:
    """The lengths to replay a movement with: what cuts along one dimension leaves the others as they are.

    Args:
        operation: The movement.
        source: The tensor that is moved.
        given: The source or result that the mask is of.
        mask: The elements of it; None for all.
    """
    if operation.func.overloadpacket not in _CUTS:
        return source.shape
    dim = arguments(operation)["dim"] % len(source.shape)
    lengths = list(mask.shape) if mask is not None else [1] * len(given.shape)
    lengths[dim : dim + 1 + len(given.shape) - len(source.shape)] = [source.shape[dim]]
    return lengths


def _reshaped(mask: Mask, before: Sequence[int], after: Sequence[int]) -> Mask:
    """A mask of a tensor of one shape as that of the same elements, in the same order, in another shape."""
    full: list[int] = []
    lengths: list[int] = []
    for old, new in _blocks(before, after):
        alike = all(n == 1 for n in mask.shape[old])
        full += [1] * len(before[old]) if alike else before[old]
        lengths += [1] * len(after[new]) if alike else after[new]
    return np.broadcast_to(mask, full).reshape(lengths)


def _blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Runs of dimensions of two shapes, as short as can be, which hold equally many indices."""
    if 0 in before:
        yield slice(0, len(before)), slice(0, len(after))
        return
    i = j = 0
    while i < len(before) or j < len(after):
        first, second = i, j
        rows, columns = 1, 1
        while (i == first and j == second) or rows != columns:
            if j == len(after) or (i < len(before) and rows <= columns):
                rows *= before[i]
                i += 1
            else:
                columns *= after[j]
                j += 1
        yield slice(first, i), slice(second, j)


def _shares(view: torch.Tensor, base: torch.Tensor) -> bool:
    return view.numel() > 0 and view.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()


def moved_on(operation: Operation, source: Stub, mask: Mask) -> Iterator[tuple[Stub, Mask]]:
    """The elements of each result which come from these elements of a source."""
    if operation.func.overloadpacket in _RESHAPED:
        yield from ((out, _reshaped(mask, source.shape, out.shape)) for out in operation.outputs if out)
        return
    turned = operation.func.overloadpacket in _TURNED
    lengths = mask.shape if turned else _enough(operation, source, source, mask)
    marks = np.array(np.broadcast_to(mask, lengths), order="C")
    for out, reached in zip(operation.outputs, _run(operation, source, torch.from_numpy(marks)), strict=True):
        if out is not None:
            yield out, reached.numpy()


def _replay(operation: Operation, source: Stub) -> list[torch.Tensor]:
    """For every element of the results: 1 + the place of the element of `source` it is, or 0."""
    return _run(operation, source, torch.arange(1, math.prod(source.shape) + 1).reshape(source.shape))


def _run(operation: Operation, source: Stub, marks: torch.Tensor) -> list[torch.Tensor]:
    """The results of a movement on `marks` in place of its source, and on zeros in place of all else."""

    def stand_in(value: Any) -> Any:
        if isinstance(value, Stub):
            return marks if value.id == source.id else torch.zeros(value.shape, dtype=marks.dtype)
        return [stand_in(item) for item in value] if isinstance(value, (list, tuple)) else value

    result = operation.func(*[stand_in(v) for v in operation.args], **operation.kwargs)
    return [result] if isinstance(result, torch.Tensor) else list(result)


def _dims_back(operation: Operation, source: Stub, out: Stub, dims: frozenset[int]) -> frozenset[int]:
    packet, a = operation.func.overloadpacket, arguments(operation)
    rank, n = len(source.shape), len(out.shape)
    if packet in _SAME:
        return dims
    if packet in _ALIGNED:
        return frozenset(d - (n - rank) for d in dims if d >= n - rank)
    if packet in _VIEWS:
        return _viewed(source.shape, out.shape, dims)
    name = packet.__name__.rstrip("_")
    if name == "permute":
        return frozenset(a["dims"][d] % rank for d in dims)
    if name in ("transpose", "t"):
        swap = {a.get("dim0", 0) % rank: a.get("dim1", 1) % rank} if rank > 1 else {}
        swap |= {v: k for k, v in swap.items()}
        return frozenset(swap.get(d, d) for d in dims)
    at = a["dim"] % (rank if name in ("select", "unbind") else n)
    if name in ("select", "unbind"):
        return frozenset(d + (d >= at) for d in dims)
    return frozenset(d - (d > at) for d in dims if d != at)


def _viewed(before: Sequence[int], after: Sequence[int], dims: frozenset[int]) -> frozenset[int]:
    """The dimensions of one shape whose indices make up those of dimensions of another, order kept."""
    out = set()
    ends_before, ends_after = _spans(before), _spans(after)
    for d in dims:
        first, last = ends_after[d]
        out |= {s for s, (a, b) in enumerate(ends_before) if _overlap(a, b, first, last)}
    return frozenset(out)


def _spans(shape: Sequence[int]) -> list[tuple[int, int]]:
    """For each dimension, its stride and the stride of the dimension before it."""
    spans, stride = [], 1
    for n in reversed(shape):
        spans.append((stride, stride * n))
        stride *= n
    return spans[::-1]


def _overlap(a: int, b: int, c: int, d: int) -> bool:
    """Whether two ranges of strides share something; dimensions of one index match where they stand."""
    return (a < d and c < b) or (a == b == c == d)
