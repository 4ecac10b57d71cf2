"""Masks moved through operators that only move elements, by replaying these on indices or marks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import Dims, Mask, MoveKind, Movement
from naivegraph.operators.relation import arguments, tensors_in

__all__ = ["moved_back", "moved_on"]

# Of these, all elements of a source make up the result, each once.
_WHOLE = (MoveKind.RESHAPED, MoveKind.TURNED)


def moved_back(
    movement: Movement, operation: Operation, out: Stub, dims: Dims, mask: Mask | None
) -> Iterator[tuple[Stub, Dims, Mask | None]]:
    """Follow elements of a result back, and yield sources with their dimensions and elements behind them.

    Args:
        movement: The way the operator moves elements.
        operation: The call.
        out: One of its results.
        dims: Dimensions of that result.
        mask: Elements of it; None for all.
    """
    sources = tensors_in(list(operation.args)) + tensors_in(operation.kwargs)
    named = arguments(operation)
    for source in dict.fromkeys(sources):
        carried = movement.dims(named, source, out, dims)
        if mask is None and movement.kind in _WHOLE:
            yield source, carried, None
            continue
        found = _written_back(movement, operation, source, out, mask)
        if found.any():
            yield source, carried, found


def _written_back(
    movement: Movement, operation: Operation, source: Stub, out: Stub, mask: Mask | None
) -> Mask:
    """The elements of a source that go to these elements of a result (to any, where mask is None)."""
    if mask is not None and movement.kind is MoveKind.RESHAPED:
        return _reshaped(mask, out.shape, source.shape)
    if mask is not None and movement.kind is MoveKind.TURNED:
        named = arguments(operation)
        order = [min(movement.dims(named, source, out, frozenset([d]))) for d in range(mask.ndim)]
        return mask.transpose(np.argsort(order))
    which = [o.id if o else None for o in operation.outputs].index(out.id)
    if not movement.copies and movement.kind is not MoveKind.REPEATED:
        found = torch.zeros(_enough(movement, operation, source, out, mask), dtype=torch.bool)
        view = _run(movement, operation, source, found)[which]
        if _shares(view, found):
            # Writing to a view of the source writes to those of its elements that the view shows.
            written = view.numpy()
            written |= True if mask is None else mask
            return found.numpy()
    places = _replay(movement, operation, source)[which].numpy()
    flat = np.zeros(math.prod(source.shape) + 1, np.bool_)
    flat[places if mask is None else places[np.broadcast_to(mask, places.shape)]] = True
    return flat[1:].reshape(source.shape)


def _enough(
    movement: Movement, operation: Operation, source: Stub, masked: Stub, mask: Mask | None
) -> Sequence[int]:
    """The lengths with which a replay suffices: a cut along one dimension leaves the others as they are.

    Args:
        movement: The way elements move.
        operation: The call.
        source: The tensor that is moved.
        masked: The source or result that the mask is of.
        mask: The elements of it; None for all.
    """
    if movement.kind is not MoveKind.CUT:
        return source.shape
    dim = arguments(operation)["dim"] % len(source.shape)
    lengths = list(mask.shape) if mask is not None else [1] * len(masked.shape)
    lengths[dim : dim + 1 + len(masked.shape) - len(source.shape)] = [source.shape[dim]]
    return lengths


def _reshaped(mask: Mask, before: Sequence[int], after: Sequence[int]) -> Mask:
    """A mask of a tensor of one shape as a mask of the same elements, in the same order, in another shape."""
    full: list[int] = []
    lengths: list[int] = []
    for old, new in _blocks(before, after):
        alike = all(n == 1 for n in mask.shape[old])
        full += [1] * len(before[old]) if alike else before[old]
        lengths += [1] * len(after[new]) if alike else after[new]
    return np.broadcast_to(mask, full).reshape(lengths)


def _blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """The shortest runs of dimensions of two shapes that have equally many indices."""
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


def moved_on(
    movement: Movement, operation: Operation, source: Stub, mask: Mask
) -> Iterator[tuple[Stub, Mask]]:
    """Follow elements of a source on: yield results, and the elements that come from them."""
    if movement.kind is MoveKind.RESHAPED:
        yield from ((out, _reshaped(mask, source.shape, out.shape)) for out in operation.outputs if out)
        return
    turned = movement.kind is MoveKind.TURNED
    lengths = mask.shape if turned else _enough(movement, operation, source, source, mask)
    marks = torch.from_numpy(np.array(np.broadcast_to(mask, lengths), order="C"))
    for out, reached in zip(operation.outputs, _run(movement, operation, source, marks), strict=True):
        if out is not None:
            yield out, reached.numpy().astype(np.bool_, copy=False)


def _replay(movement: Movement, operation: Operation, source: Stub) -> list[torch.Tensor]:
    """For every element of the results 1 + the index of the element of `source` it is, or 0."""
    places = torch.arange(1, math.prod(source.shape) + 1).reshape(source.shape)
    return [result.to(torch.int64) for result in _run(movement, operation, source, places)]


def _run(movement: Movement, operation: Operation, source: Stub, marks: torch.Tensor) -> list[torch.Tensor]:
    """The results of a movement of `marks` in place of its source, and of zeros in place of other tensors."""
    if movement.kind is MoveKind.COMPUTED:
        marks = marks.to(torch.float64)

    def stand_in(value: Any) -> Any:
        """Return marks or zeros for tensors in arguments."""
        if isinstance(value, Stub):
            return marks if value.id == source.id else torch.zeros(value.shape, dtype=marks.dtype)
        return [stand_in(item) for item in value] if isinstance(value, (list, tuple)) else value

    kwargs = {name: stand_in(value) for name, value in operation.kwargs.items()}
    result = operation.func(*[stand_in(value) for value in operation.args], **kwargs)
    return [result] if isinstance(result, torch.Tensor) else list(result)
