"""The report on a latency budget: what was asked, predicted and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from naivegraph.tables import Block, Column, TextTable, time_text

__all__ = ["LatencyReport", "Unrounded"]

_MOVED = 0.1  # share by which the network's own time may move before a reader should know
_COLUMNS = (
    Column("latency"), Column("before", right=True), Column("asked", right=True),
    Column("predicted", right=True), Column("measured", right=True), Column("left", right=True),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Unrounded:
    """The best network of the same predicted latency whose sizes are no multiples of anything.

    Attributes:
        utility: The utility that it would keep.
        measured: The seconds that it takes.
    """

    utility: float
    measured: float


@dataclasses.dataclass(frozen=True)
class LatencyReport:
    """The latency of a network that was pruned to a latency; all times in seconds.

    Attributes:
        before: The time of the network as it was, measured beside that of the pruned one.
        asked: The time that was asked for.
        predicted: The time that the profile predicted, with what earlier rounds had taught.
        measured: The median time of the pruned network.
        low: The lower end of the interval of 95 % around it.
        high: The upper end.
        rounds: The number of networks that were made and timed.
        step: The number whose multiples the sizes of layers are.
        utility: The utility kept.
        runtime: The name of the runtime.
        clock: The clock.
        machine: The machine, by device, threads and the version of torch.
        moved: The time of the network as it was at the end, relative to that at the beginning, less 1.
        unrounded: What sizes that are not rounded would bring and cost; None if sizes were not rounded, or
            nothing else came out.
    """

    before: float
    asked: float
    predicted: float
    measured: float
    low: float
    high: float
    rounds: int
    step: int
    utility: float
    runtime: str
    clock: str
    machine: Mapping[str, str]
    moved: float
    unrounded: Unrounded | None = None

    @property
    def share(self) -> float:
        """The measured time relative to that of the network as it was."""
        return self.measured / self.before

    def blocks(self) -> Iterator[Block]:
        """The report for people."""
        half = (self.high - self.low) / 2 / self.measured
        times = [time_text(each) for each in (self.before, self.asked, self.predicted, self.measured)]
        yield TextTable(_COLUMNS, [(self.runtime, *times, f"{self.share:.1%}")])
        plural = "s" * (self.rounds != 1)
        yield (
            f"measured to {half:.1%} ({self.clock}, {self.rounds} round{plural}) on "
            f"{self.machine.get('device', 'this machine')}; the certificate is of the profile's model of it"
        )
        if self.unrounded is not None:
            yield self._rounding(self.unrounded)
        if abs(self.moved) > _MOVED:
            yield (
                f"The machine changed while it was measured: the network as it was took {1 + self.moved:.2f} "
                "times as long at the end as at the beginning. Only ratios of times next to each other count."
            )

    def _rounding(self, other: Unrounded) -> str:
        gain = (other.utility - self.utility) / abs(self.utility) if self.utility else 0.0
        return (
            f"Sizes are multiples of {self.step}. Others would keep {gain:.2%} more of the utility, and take "
            f"{time_text(other.measured)}, {other.measured / self.measured:.2f} times as long (round_to=1)."
        )
