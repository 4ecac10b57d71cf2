"""Scratch of calls: memory that a call allocates besides its results, and frees before it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from naivegraph.algebra.size_product import SizeProduct, sum_of
from naivegraph.graph.torch_utils.preserve_state import same_seed
from naivegraph.ir.pytree import flat
from naivegraph.ir.values import Operation, Stub
from naivegraph.memory.allocations import AllocationLog, peak_of
from naivegraph.memory.call_log import AtenCall
from naivegraph.memory.matched_calls import Recorded
from naivegraph.memory.measured_run import Count, scaled, scaled_by_result
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
    parts: tuple[SizeProduct, ...]

    def estimate(self, count: Count, gone: frozenset[str] = frozenset()) -> float:
        """The bytes with `count(atom)` neurons of each width, by the estimates alone.

        Args:
            count: The number of neurons of each width.
            gone: The names of vertices that leave the graph.
        """
        return sum_of(self.parts, count, gone)


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
    parts = list[SizeProduct]()
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


def _tensors(widths: Widths, operation: Operation) -> list[SizeProduct]:
    """The bytes of the operands of an operation, and of its results."""
    found = list[SizeProduct]()
    for stub in (*operation.operands, *operation.outputs):
        elements = 0 if stub is None else torch.Size(stub.shape).numel()
        if stub is not None and elements:
            each = scaled(widths, stub, elements * stub.dtype.itemsize)
            if each is not None:
                found.append(each)
    return found


def _like(tensors: list[SizeProduct], size: int, *, multiple: bool = False) -> SizeProduct | None:
    """A block of this size as a copy of the tensor nearest to it, which is taken off the list."""
    near = [(size / sum_of([each]), place) for place, each in enumerate(tensors)]
    if multiple:
        near = [(ratio, place) for ratio, place in near if ratio == int(ratio) and ratio > 1]
    else:
        near = [(ratio, place) for ratio, place in near if 1 <= ratio <= _NEAR]
    if not near:
        return None
    ratio, place = min(near)
    found = tensors.pop(place)
    return SizeProduct(found.coefficient * ratio, found.axes)


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
        waiting: dict[Any, _Replay] = {}
        for operation, count in calls:
            replay = self._of(operation, count)
            key = operation.func, repr(replay)
            keys.append(key)
            if key not in self._known:
                waiting[key] = replay
        if waiting:
            self._run(waiting)
        return [self._known[key] for key in keys]

    def _run(self, waiting: dict[Any, _Replay]) -> None:
        failed: set[int] = set()
        with torch.no_grad(), same_seed(), AllocationLog() as log:
            for number, replay in enumerate(waiting.values()):
                fitting = next((each for each in (replay, *replay.others) if each.fits()), None)
                if fitting is None:
                    failed.add(number)
                    continue
                args, kwargs = fitting.made(self._device)
                try:
                    with log.mark(number):
                        result = fitting.func(*args, **kwargs)
                    del result
                except Exception:  # it takes other arguments for other sizes, and is estimated
                    failed.add(number)
        events = log.by_call()
        for number, key in enumerate(waiting):
            self._known[key] = None if number in failed else peak_of(events.get(number, ())).size

    def _of(self, operation: Operation, count: Count) -> _Replay:
        """The operation with other sizes."""
        args = [self._sized(arg, count) for arg in operation.args]
        kwargs = {name: self._sized(arg, count) for name, arg in operation.kwargs.items()}
        first = next((stub for stub in operation.outputs if stub is not None), None)
        groups = None if first is None else self._groups(first, count)
        if groups is not None:
            names = [argument.name for argument in operation.func._schema.arguments]
            if _GROUPS in names and names.index(_GROUPS) < len(args):
                args[names.index(_GROUPS)] = groups
        result = None if first is None else self._sized(first, count)
        sizes = self._sizes(operation, count)
        followed = [sizes.get(arg, arg) if type(arg) is int else arg for arg in args]
        others = (_Replay(operation.func, followed, kwargs, result),) if followed != args else ()
        return _Replay(operation.func, args, kwargs, result, others)

    def _sizes(self, operation: Operation, count: Count) -> dict[int, int]:
        """The sizes of an operation's tensors then by their sizes now, where they are told apart by these."""
        found: dict[int, set[int]] = {}
        for stub in (*operation.operands, *operation.outputs):
            if stub is not None and stub.id in self._widths.relation.axes and count is not None:
                for axis in self._widths.of(stub):
                    found.setdefault(axis.length, set()).add(axis.size(count))
        return {now: min(then) for now, then in found.items() if len(then) == 1}

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


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Shape, strides and type of a tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


@dataclasses.dataclass(frozen=True)
class _Replay:
    """A call of an operator.

    Attributes:
        func: The operator.
        args: Its arguments, with layouts in the places of tensors.
        kwargs: Its keyword arguments, likewise.
        result: The layout that its first result has.
        others: The same call with those numbers among its arguments replaced that are sizes of its tensors.
    """

    func: torch._ops.OpOverload
    args: list[Any]
    kwargs: dict[str, Any]
    result: _Layout | None
    others: tuple[_Replay, ...] = ()

    def made(self, device: torch.device) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, with tensors."""
        return _made(self.args, device), {name: _made(arg, device) for name, arg in self.kwargs.items()}

    def fits(self) -> bool:
        """Tell whether the call gives a result of this layout.

        It does not where an argument is a size that has changed (as the hidden size of a recurrent layer is),
        and compiled code would then read and write where it must not.
        """
        if self.result is None:
            return False
        args, kwargs = self.made(torch.device("meta"))
        try:
            found = list(flat((self.func(*args, **kwargs),)))
        except Exception:  # there is no way to tell
            return False
        first = next((each for each in found if isinstance(each, torch.Tensor)), None)
        return first is not None and tuple(first.shape) == self.result.shape


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
