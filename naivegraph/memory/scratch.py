"""Scratch of calls: memory that a call allocates besides its results, and frees before it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.memory.allocations import AllocationLog, Peak, peak_of
from naivegraph.memory.call_log import AtenCall
from naivegraph.memory.matched_calls import Recorded
from naivegraph.memory.measured_run import Bytes, Count, bytes_at, scaled, scaled_by_result
from naivegraph.operators.relation import arguments_of
from naivegraph.widths import Widths

__all__ = ["Replays", "Scratch", "scratch_of"]

_NEAR = 1.5  # blocks padded to whole vectors are at most so many times as large as what they hold
_GROUPS = "groups"


@dataclasses.dataclass(frozen=True)
class Scratch:
    """The most that a call has allocated at one time, where it is more than its results.

    Attributes:
        recorded: The recorded operation.
        size: The bytes now.
        parts: Estimates of its blocks, as products of sizes that are `size` in all now.
    """

    recorded: Recorded
    size: int
    parts: tuple[Bytes, ...]

    def estimate(self, count: Count, gone: frozenset[str] = frozenset()) -> float:
        """The bytes with `count(atom)` neurons of each width, by the estimates alone.

        Args:
            count: The number of neurons of each width.
            gone: The names of vertices that leave the graph.
        """
        return sum(bytes_at(part, count, gone) for part in self.parts)


def scratch_of(widths: Widths, call: AtenCall, recorded: Recorded | None) -> Scratch | None:
    """The scratch of a call; None if it has none.

    Its blocks are estimated. One as large as an operand or result of the call, or somewhat larger
    (convolutions pad channels to whole vectors), is taken for a copy of it, each tensor being copied once if
    there are enough; one that is a multiple of a tensor (the windows that a convolution reads), for so many
    copies. Any other is scaled as the first result of the call.
    """
    peak = call.peak
    if peak is None or recorded is None or peak.size <= sum(peak.left.values()):
        return None
    made = {memory.address: memory for memory in call.made}
    parts = list[Bytes]()
    unused = _tensors(widths, recorded.operation)
    for address, size in peak.blocks.items():
        if address in made and address in peak.left:
            stub = recorded.operation.outputs[made[address].result]
            part = None if stub is None else scaled(widths, stub, size)
        else:
            part = _like(unused, size) or _like(_tensors(widths, recorded.operation), size, multiple=True)
        if part is None:
            results = [stub for stub in recorded.operation.outputs if stub is not None]
            part = scaled(widths, results[0], size) if results else None
        parts.append(part or scaled_by_result(widths, recorded, size))
    where = (recorded.vertex.name,)
    return Scratch(recorded, peak.size, tuple([part._replace(where=where) for part in parts]))


def _tensors(widths: Widths, operation: Operation) -> list[Bytes]:
    """The bytes of the operands of an operation, and of its results."""
    found = list[Bytes]()
    for stub in (*operation.operands, *operation.outputs):
        elements = 0 if stub is None else torch.Size(stub.shape).numel()
        if stub is not None and elements:
            each = scaled(widths, stub, elements * stub.dtype.itemsize)
            if each is not None:
                found.append(each)
    return found


def _like(tensors: list[Bytes], size: int, *, multiple: bool = False) -> Bytes | None:
    """A block of this size as a copy of the tensor nearest to it, which is taken off the list."""
    near = [(size / bytes_at(each, None), place) for place, each in enumerate(tensors)]
    if multiple:
        near = [(ratio, place) for ratio, place in near if ratio == int(ratio) and ratio > 1]
    else:
        near = [(ratio, place) for ratio, place in near if 1 <= ratio <= _NEAR]
    if not near:
        return None
    ratio, place = min(near)
    found = tensors.pop(place)
    return Bytes(found.each * ratio, found.axes)


class Replays:
    """Calls with scratch, each called alone with tensors of other sizes to see what it allocates then.

    Args:
        widths: The widths of the graph with the calls.
        device: The device the tensors are on.
    """

    def __init__(self, widths: Widths, device: torch.device) -> None:
        self._widths, self._device = widths, device
        self._known: dict[Any, int | None] = {}

    def sizes(self, calls: Sequence[Scratch], count: Count) -> list[float]:
        """The most that each call allocates at one time, with `count(atom)` neurons of each width.

        A call that does not allocate now what it did in the network (as that depends on the values in its
        tensors, which are zeros here) is estimated instead.
        """
        now = self._replayed([(scratch.recorded.operation, None) for scratch in calls])
        then = self._replayed([(scratch.recorded.operation, count) for scratch in calls])
        return [
            scratch.estimate(count) if two is None or one != scratch.size else two
            for scratch, one, two in zip(calls, now, then, strict=True)
        ]

    def _replayed(self, calls: Iterable[tuple[Operation, Count]]) -> list[int | None]:
        """The bytes each operation allocates with so many neurons; None where it does not run."""
        keys = []
        waiting: dict[Any, tuple[Any, list[Any], dict[str, Any]]] = {}
        for operation, count in calls:
            args, kwargs = self._arguments(operation, count)
            key = operation.func, repr((args, kwargs))
            keys.append(key)
            if key not in self._known:
                waiting[key] = operation.func, args, kwargs
        if waiting:
            self._replay(waiting)
        return [self._known[key] for key in keys]

    def _replay(self, waiting: dict[Any, tuple[Any, list[Any], dict[str, Any]]]) -> None:
        failed: set[int] = set()
        with torch.no_grad(), AllocationLog() as log:
            for number, (func, args, kwargs) in enumerate(waiting.values()):
                made = [_made(arg, self._device) for arg in args]
                named = {name: _made(arg, self._device) for name, arg in kwargs.items()}
                try:
                    with log.mark(number):
                        result = func(*made, **named)
                    del result
                except Exception:  # it takes other arguments for other sizes, and is estimated
                    failed.add(number)
        events = log.by_call()
        for number, key in enumerate(waiting):
            self._known[key] = None if number in failed else _size(peak_of(events.get(number, ())))

    def _arguments(self, operation: Operation, count: Count) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of an operation with other sizes, tensors as `_Layout`."""
        args = [self._sized(arg, count) for arg in operation.args]
        kwargs = {name: self._sized(arg, count) for name, arg in operation.kwargs.items()}
        groups = next((self._groups(out, count) for out in operation.outputs if out is not None), None)
        if groups is not None:
            names = [argument.name for argument in operation.func._schema.arguments]
            named = arguments_of(operation.func, operation.args, operation.kwargs)
            if _GROUPS in named and names.index(_GROUPS) < len(args):
                args[names.index(_GROUPS)] = groups
        return args, kwargs

    def _groups(self, out: Stub, count: Count) -> int | None:
        found = self._widths.relation.counts.get(out.id)
        if found is None:
            return None
        axis = self._widths.relation.algebra.resolve(found)
        return axis.length if count is None else axis.size(count)

    def _sized(self, value: Any, count: Count) -> Any:
        if isinstance(value, Stub):
            shape = list(value.shape)
            if value.id in self._widths.relation.axes:
                axes = self._widths.of(value)
                if [axis.length for axis in axes] == shape:
                    shape = [axis.length if count is None else axis.size(count) for axis in axes]
            return _Layout(tuple(shape), _strides(shape, value), value.dtype)
        if isinstance(value, (list, tuple)):
            return [self._sized(item, count) for item in value]
        return value


def _size(peak: Peak) -> int:
    return peak.size


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Shape, strides and type of a tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


def _made(value: Any, device: torch.device) -> Any:
    """An argument with a tensor of zeros for each layout in it."""
    if isinstance(value, _Layout):
        return torch.empty_strided(value.shape, value.strides, dtype=value.dtype, device=device).zero_()
    if isinstance(value, list):
        return [_made(item, device) for item in value]
    return value


def _strides(shape: Sequence[int], stub: Stub) -> tuple[int, ...]:
    """Strides for a tensor of another shape that lies in memory as one does.

    Dimensions keep their order, those repeated are repeated, and gaps between rows grow with the rows.

    Example:
        >>> rows = Stub(0, (2, 4, 3), torch.float32, (36, 3, 1))  # a third of rows of 12
        >>> _strides((2, 8, 3), rows)
        (72, 3, 1)
    """
    strides = stub.strides
    if strides is None:
        return torch.empty(shape, device="meta").stride()
    found = [0] * len(shape)
    dense = now = 1
    for dim in sorted(range(len(shape)), key=lambda dim: (strides[dim], stub.shape[dim])):
        if stub.shape[dim] == 1:
            found[dim] = now
        elif strides[dim]:
            if strides[dim] > dense:
                dense, now = strides[dim], now * strides[dim] // dense
            found[dim] = now
        if strides[dim]:
            dense, now = dense * max(stub.shape[dim], 1), now * max(shape[dim], 1)
    return tuple(found)
