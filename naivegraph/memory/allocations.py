"""Blocks that torch's allocator hands out and takes back during calls, as its profiler tells them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any

from torch._C import _profiler
from torch.autograd import profiler

__all__ = ["Allocation", "AllocationLog", "Peak", "peak_of"]

_MARK = "naivegraph call "


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """A block that was handed out, or (of less than no bytes) taken back.

    Attributes:
        call: The number of the marked call it was in; None if in none.
        address: The address of the block.
        size: Its bytes, negative where it was taken back.
    """

    call: int | None
    address: int
    size: int


class AllocationLog:
    """Log of all blocks handed out and taken back during a block of code, by the marked calls in it.

    What compiled code allocates on other threads is not told, nor what it allocates past torch's allocator.

    Attributes:
        events: The allocations in the order of time, once the block of code has ended.

    Example:
        >>> import torch
        >>> with AllocationLog() as log:
        ...     with log.mark(7):
        ...         tensor = torch.zeros(3) + 1
        ...     del tensor
        >>> [(event.call, event.size) for event in log.events if abs(event.size) == 12]
        [(7, 12), (7, 12), (7, -12), (None, -12)]
    """

    def __init__(self) -> None:
        self.events: list[Allocation] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> AllocationLog:
        profile: Any = profiler.profile
        with _quiet():
            self._profile = self._stack.enter_context(profile(profile_memory=True))
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        with _quiet():
            self._stack.close()
        found: list[tuple[int, Allocation]] = []
        _gather(self._profile.kineto_results.experimental_event_tree(), None, found)
        self.events = [event for _, event in sorted(found, key=lambda pair: pair[0])]

    @contextlib.contextmanager
    def mark(self, number: int) -> Iterator[None]:
        """Mark what is allocated in a block of code as that of the call of this number."""
        with profiler.record_function(f"{_MARK}{number}"):
            yield

    def by_call(self) -> dict[int | None, list[Allocation]]:
        """The allocations of each call."""
        found: dict[int | None, list[Allocation]] = {}
        for event in self.events:
            found.setdefault(event.call, []).append(event)
        return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Close the standard error of compiled code for a moment, as the profiler of torch 2.13 writes there."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none, as in a service
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _gather(nodes: Iterable[Any], call: int | None, found: list[tuple[int, Allocation]]) -> None:
    waiting = [(node, call) for node in reversed(list(nodes))]
    while waiting:
        node, call = waiting.pop()
        if node.name.startswith(_MARK):
            call = int(node.name.removeprefix(_MARK))
        kind, fields = node.typed
        if kind == _profiler._EventType.Allocation:
            event = Allocation(call, int(fields.ptr or 0), int(fields.alloc_size))
            found.append((node.start_time_ns, event))
        waiting.extend((child, call) for child in reversed(node.children))


@dataclasses.dataclass(frozen=True, slots=True)
class Peak:
    """The moment of a call at which most was allocated since its start.

    Attributes:
        blocks: The bytes of each block handed out by the call and not taken back by then, by its address.
        left: The same at the end of the call.
    """

    blocks: dict[int, int]
    left: dict[int, int]

    @property
    def size(self) -> int:
        """The bytes of all blocks at that moment."""
        return sum(self.blocks.values())


def peak_of(events: Iterable[Allocation]) -> Peak:
    """The peak of a call; blocks from before it that are taken back in it are left aside.

    Example:
        >>> sizes = [(1, 8), (2, 4), (1, -8), (3, 6)]
        >>> peak = peak_of([Allocation(0, address, size) for address, size in sizes])
        >>> peak.blocks, peak.left
        ({1: 8, 2: 4}, {2: 4, 3: 6})
    """
    now: dict[int, int] = {}
    best: dict[int, int] = {}
    total = most = 0
    for event in events:
        if event.size > 0:
            now[event.address] = event.size
            total += event.size
        else:
            total -= now.pop(event.address, 0)
        if total > most:
            most, best = total, dict(now)
    return Peak(best, now)
