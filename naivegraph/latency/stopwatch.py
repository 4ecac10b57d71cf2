"""Clocks, and the comparison of two networks' times that holds up on a busy machine.

Times of a whole run are compared as ratios: one network and the other run in turns, so that what slows the
machine slows both. The result is the median of the ratios of neighbours, with the interval of order
statistics around it (Conover, "Practical nonparametric statistics", 3rd edition, 1999, section 3.2), and the
turns go on until that is narrow.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["Clock", "Ratio", "clock_of", "compare", "median_interval"]

Run = Callable[[], object]

_LEAST = 0.002  # seconds that one measurement takes at least; shorter runs are repeated
_WARM = 3  # runs before the first measurement
_Z = 1.96  # of the normal distribution, for 95 %


@dataclasses.dataclass(frozen=True)
class Clock:
    """A clock.

    Attributes:
        name: Its name, as reports tell it.
        mark: Takes down a moment.
        between: The seconds between two moments, once `wait` was called.
        wait: Waits until everything that was started is done.
    """

    name: str
    mark: Callable[[], object]
    between: Callable[[object, object], float]
    wait: Callable[[], None] = lambda: None

    def seconds(self, run: Run, times: int = 1) -> float:
        """The seconds that a run takes, on average over some."""
        self.wait()
        start = self.mark()
        for _ in range(times):
            run()
        end = self.mark()
        self.wait()
        return self.between(start, end) / times

    def median_seconds(self, run: Run, turns: int = 7) -> float:
        """The median of the seconds that some runs take, after others that warm it up."""
        for _ in range(_WARM):
            run()
        return statistics.median(self.seconds(run) for _ in range(turns))


def clock_of(device: torch.device, *, on_thread: bool) -> Clock:
    """The clock for networks on a device.

    Args:
        device: The device.
        on_thread: Whether runs do all their work on the thread of the caller if torch has one thread. Then
            its processor time is taken, which other processes leave as it is; else the time of day. Of
            devices with events, those.
    """
    if device.type == "cuda":
        return Clock("events of the device", _event, _between_events, torch.cuda.synchronize)
    if on_thread and torch.get_num_threads() == 1:
        return Clock("processor time of one thread", time.thread_time, _difference)
    return Clock("time of day", time.perf_counter, _difference)


def _difference(start: object, end: object) -> float:
    return float(end) - float(start)  # type: ignore[arg-type]


def _event() -> object:
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _between_events(start: object, end: object) -> float:
    return float(start.elapsed_time(end)) / 1000  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The time of a network relative to that of another.

    Attributes:
        value: The median.
        low: The lower end of its interval of 95 %.
        high: The upper end.
        rounds: The number of turns.
        seconds: The median time of the first network.
        reference: The median time of the other.
    """

    value: float
    low: float
    high: float
    rounds: int
    seconds: float
    reference: float


def compare(
    run: Run,
    reference: Run,
    clock: Clock,
    *,
    precision: float = 0.01,
    least: int = 11,
    most: int = 75,
    patience: float = 30.0,
) -> Ratio:
    """Compare the time of a run to that of a reference, in turns.

    Args:
        run: Runs the one.
        reference: Runs the other.
        clock: The clock.
        precision: Stop when half of the interval around the ratio is below this fraction of it.
        least: The least number of turns.
        most: The greatest.
        patience: Seconds after which no more turns are begun, but for the least number.

    Example:
        >>> clock = Clock("time of day", time.perf_counter, _difference)
        >>> work = lambda count: lambda: sum(range(count))
        >>> bool(1 < compare(work(100_000), work(20_000), clock).value)
        True
    """
    began = time.perf_counter()
    for _ in range(_WARM):
        reference(), run()
    repeats = [max(1, math.ceil(_LEAST / max(clock.seconds(each), 1e-7))) for each in (run, reference)]
    mine: list[float] = []
    other: list[float] = []
    while True:
        turn = len(mine)
        if turn % 2:  # neither always follows the other's traces in caches
            other.append(clock.seconds(reference, repeats[1]))
        mine.append(clock.seconds(run, repeats[0]))
        if not turn % 2:
            other.append(clock.seconds(reference, repeats[1]))
        if turn + 1 < least:
            continue
        ratios = [one / two for one, two in zip(mine, other, strict=True)]
        middle, low, high = median_interval(ratios)
        narrow = (high - low) / 2 <= precision * middle
        if narrow or turn + 1 >= most or time.perf_counter() - began > patience:
            return Ratio(middle, low, high, turn + 1, statistics.median(mine), statistics.median(other))


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median of some values and the ends of its interval of 95 %.

    Example:
        >>> median_interval(range(1, 26))
        (13, 8, 18)
    """
    ordered, count = sorted(values), len(values)
    below = max(math.floor((count - _Z * math.sqrt(count)) / 2), 0)
    return statistics.median(ordered), ordered[below], ordered[count - 1 - below]
