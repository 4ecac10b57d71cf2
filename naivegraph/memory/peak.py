"""Peak of the memory of a run: the sums of what lives at each moment, as products of sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from naivegraph.algebra.size_product import SizeProduct, sum_of
from naivegraph.graph.record.record_run import state_of
from naivegraph.memory.measured_run import Count, MeasuredRun, measured_run
from naivegraph.memory.scratch import Replays, Scratch, scratch_of
from naivegraph.widths import Widths

__all__ = ["MemoryPeak", "memory_peak"]

_KEY = "memory peak"  # among what was worked out from a graph
_HALF = 0.5  # of the largest estimate: what is below it by estimate is not measured


@dataclasses.dataclass(frozen=True)
class _Moment:
    """A moment of a run.

    Attributes:
        live: The numbers of the memory that lives.
        scratch: The call that runs, if it has scratch. Its results are then part of its scratch.
    """

    live: frozenset[int]
    scratch: Scratch | None = None


class MemoryPeak:
    """The sums of what lives at the moments of one run.

    Args:
        run: The run.
        widths: The widths of its graph.
        device: The device the network is on.
    """

    def __init__(self, run: MeasuredRun, widths: Widths, device: torch.device) -> None:
        self._run = run
        self._moments = _largest(list(_moments(run, widths)))
        self._replays = Replays(widths, device)

    def sums(self) -> list[list[SizeProduct]]:
        """The sums, with the scratch of calls estimated."""
        return [self._sum(moment) for moment in self._moments]

    def _sum(self, moment: _Moment) -> list[SizeProduct]:
        return [self._run.sizes[n] for n in sorted(moment.live)] + list(
            moment.scratch.parts if moment.scratch else ()
        )

    def measured(
        self, count: Count, gone: frozenset[str] = frozenset()
    ) -> dict[int, tuple[float, list[SizeProduct]]]:
        """The values of the largest sums with `count(atom)` neurons of each width, by their places in `sums`.

        The scratch of calls is measured by calling each alone with tensors of these sizes; with each value
        comes its sum, with the estimates scaled by what they are wrong by.

        Args:
            count: The number of neurons of each width.
            gone: The names of vertices that leave the graph.
        """
        sizes = [sum_of([each], count, gone) for each in self._run.sizes]
        live = [sum(sizes[n] for n in moment.live) for moment in self._moments]
        told = [m.scratch.estimate(count, gone) if m.scratch else 0.0 for m in self._moments]
        most = max(map(sum, zip(live, told, strict=True)), default=0.0)
        found = [n for n, both in enumerate(zip(live, told, strict=True)) if sum(both) >= _HALF * most]
        calls = [n for n in found if told[n]]
        scratch = [s for n in calls if (s := self._moments[n].scratch) is not None]
        true = dict(zip(calls, self._replays.sizes(scratch, count), strict=True))
        return {n: (live[n] + true.get(n, 0.0), self._corrected(n, true.get(n, 0.0), told[n])) for n in found}

    def _corrected(self, place: int, true: float, told: float) -> list[SizeProduct]:
        """A sum whose estimate was so much, and is to be so much."""
        moment = self._moments[place]
        held = [self._run.sizes[n] for n in sorted(moment.live)]
        if moment.scratch is None or not told:
            return held
        return held + [
            part._replace(coefficient=part.coefficient * true / told) for part in moment.scratch.parts
        ]


def _moments(run: MeasuredRun, widths: Widths) -> Iterator[_Moment]:
    """The end of each call, and before it the peak within, where that is higher."""
    born: dict[int, list[int]] = {}
    died: dict[int, list[int]] = {}
    for number, memory in enumerate(run.memory):
        born.setdefault(memory.born, []).append(number)
        died.setdefault(memory.died, []).append(number)
    live: set[int] = set()
    for number, call in enumerate(run.calls):
        live.difference_update(died.get(number, ()))
        new = born.get(number, ())
        live.update(n for n in new if run.memory[n].outside)
        scratch = scratch_of(widths, call, run.recorded.get(number))
        if scratch is not None:
            yield _Moment(frozenset(live), scratch)
        live.update(new)
        yield _Moment(frozenset(live))


def _largest(moments: list[_Moment]) -> list[_Moment]:
    """The moments without those that a neighbour has all the memory of."""
    ends = [moment for moment in moments if moment.scratch is None]
    kept = {
        id(moment)
        for before, moment, after in zip([None, *ends], ends, [*ends[1:], None], strict=False)
        if not (after is not None and moment.live <= after.live)
        and not (before is not None and moment.live < before.live)
    }
    return [moment for moment in moments if moment.scratch is not None or id(moment) in kept]


def memory_peak(widths: Widths) -> MemoryPeak:
    """The sums of what lives at the moments of one run of a graph's network, measured once.

    They are kept with the graph for as long as its axes are the same and the network has the same types of
    tensors on the same devices.

    Raises:
        EditError: See `measured_run`.
    """
    tensors = list(state_of(widths.graph.module).values())
    types = tuple([(tensor.dtype, tensor.device) for tensor in tensors])
    found = widths.graph.found
    known = found.get(_KEY)
    if known is None or known[0] is not widths.relation or known[1] != types:
        device = tensors[0].device if tensors else torch.device("cpu")
        known = widths.relation, types, MemoryPeak(measured_run(widths), widths, device)
        found[_KEY] = known
    peak: MemoryPeak = known[2]
    return peak
