"""Log of one run of a network: each ATen call, the memory it makes, and how long that lives."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from naivegraph.ir.pytree import flat
from naivegraph.memory.allocations import AllocationLog, Peak, peak_of

__all__ = ["AtenCall", "CallLog", "Memory"]


class _Reference(Protocol):
    """A weak reference to memory."""

    def expired(self) -> bool:
        """Tell whether the memory is gone."""


@dataclasses.dataclass(eq=False, slots=True)
class Memory:
    """Memory of one or several tensors that share it.

    Attributes:
        size: Its bytes.
        result: The place of the first tensor in it among the results of the call that made it.
        elements: The number of elements of that tensor.
        born: The number of the call that made it; of memory made between calls, the call that first takes it.
        died: The number of the first call before which it was gone; the number of calls if it was gone at the
            end of the run, one more if its result holds it.
        address: Where it is.
        outside: Whether it was made between calls.
        users: The numbers of the calls that take it.
        copied: The memory it is a copy of, if it is one and that was made in the run.
    """

    size: int
    result: int
    elements: int
    born: int
    died: int
    address: int
    outside: bool = False
    users: set[int] = dataclasses.field(default_factory=set)
    copied: Memory | None = None


@dataclasses.dataclass(slots=True)
class AtenCall:
    """A call of an ATen operator.

    Attributes:
        func: The operator.
        shapes: The shapes of the tensors it returned, None for what is no tensor.
        made: The memory it made.
        peak: What it had allocated at most at one time; None if that was not measured.
    """

    func: torch._ops.OpOverload
    shapes: tuple[tuple[int, ...] | None, ...] = ()
    made: list[Memory] = dataclasses.field(default_factory=list)
    peak: Peak | None = None


class CallLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Log of the calls of a run, made as a torch mode around it.

    Memory is followed by weak references, for a local variable of the user's code may keep a tensor long
    after its last use, and only a run of that code can tell.

    Args:
        given: Tensors that are there before the run, whose memory is not counted.
        measure: Whether to measure what calls allocate.

    Attributes:
        calls: The calls, in order.
        memory: All memory that was made in the run.
    """

    def __init__(self, given: Iterable[torch.Tensor], *, measure: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[AtenCall] = []
        self.memory: list[Memory] = []
        self._log = AllocationLog() if measure else None
        self._known: dict[int, tuple[_Reference, Memory | None]] = {}
        for tensor in given:
            self._enter(tensor, lambda storage: None)

    def run(self, function: Callable[[], Any]) -> Any:
        """Run a function and log its calls; its result."""
        with self._log or contextlib.nullcontext():
            with self:
                result = function()
            self._bury()
        if self._log is not None:
            self._measured(self._log)
        return result

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and log it."""
        self._bury()
        number = len(self.calls)
        call = AtenCall(func)
        self.calls.append(call)
        for tensor in flat((args, tuple((kwargs or {}).values()))):
            if isinstance(tensor, torch.Tensor):
                self._enter(tensor, lambda s, t=tensor: self._new(s, t, number, -1, outside=True))  # type: ignore[misc]
                self._use(tensor, number)
        with self._log.mark(number) if self._log is not None else contextlib.nullcontext():
            result = func(*args, **(kwargs or {}))
        results = list(flat((result,)))
        call.shapes = tuple([tuple(r.shape) if isinstance(r, torch.Tensor) else None for r in results])
        for place, tensor in enumerate(results):
            if isinstance(tensor, torch.Tensor):
                made = self._enter(tensor, lambda s, t=tensor, p=place: self._new(s, t, number, p))  # type: ignore[misc]
                if made is not None:
                    made.copied = self._copied(func, args)
                    call.made.append(made)
        return result

    def _enter(
        self, tensor: torch.Tensor, make: Callable[[torch.UntypedStorage], Memory | None]
    ) -> Memory | None:
        """Enter the memory of a tensor; it, if it is new and counts."""
        if tensor.layout is not torch.strided:
            return None
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return None
        made = make(storage)
        reference: _Reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self._known[key] = reference, made
        return made

    def _copied(self, func: torch._ops.OpOverload, args: tuple[Any, ...]) -> Memory | None:
        """The memory that a call copies: autograd copies what is about to be changed in place."""
        if func is not torch.ops.aten.clone.default or args[0].layout is not torch.strided:
            return None
        return self._known[args[0].untyped_storage()._cdata][1]

    def _use(self, tensor: torch.Tensor, call: int) -> None:
        """Note that a call takes a tensor."""
        if tensor.layout is torch.strided:
            memory = self._known[tensor.untyped_storage()._cdata][1]
            if memory is not None:
                memory.users.add(call)

    def _new(
        self,
        storage: torch.UntypedStorage,
        tensor: torch.Tensor,
        call: int,
        result: int,
        *,
        outside: bool = False,
    ) -> Memory:
        address = 0 if tensor.is_meta else storage.data_ptr()
        made = Memory(storage.nbytes(), result, tensor.numel(), call, -1, address, outside)
        self.memory.append(made)
        return made

    def _bury(self) -> None:
        """Note which memory is gone by now."""
        number = len(self.calls)
        for reference, memory in self._known.values():
            if memory is not None and memory.died < 0 and reference.expired():
                memory.died = number

    def _measured(self, log: AllocationLog) -> None:
        """Note what each call allocated, and forget what was there before the run unknown to it."""
        allocated: set[int] = set()
        for event in log.events:
            if event.call is None and event.size > 0:
                allocated.add(event.address)
        self.memory = [m for m in self.memory if not m.outside or m.address in allocated]
        events = log.by_call()
        for number, call in enumerate(self.calls):
            call.peak = peak_of(events.get(number, ()))

    def end(self) -> None:
        """Let memory that is still there have outlived the run."""
        for memory in self.memory:
            if memory.died < 0:
                memory.died = len(self.calls) + 1
        self._known.clear()
