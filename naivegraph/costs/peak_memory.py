"""Peak of the memory that one run allocates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from naivegraph.costs.by_name import register_cost
from naivegraph.costs.cost import Cost, SizeProduct, sum_of

if TYPE_CHECKING:
    from naivegraph.algebra.axis import Atom
    from naivegraph.memory.peak import MemoryPeak
    from naivegraph.widths import Widths

__all__ = ["PeakMemory"]


class PeakMemory(Cost):
    """Peak of the memory that one run of the network on the example allocates, in bytes, in eval mode.

    Counted is what torch's allocator has handed out at one time: results that are still referred to, be it by
    a local variable of the forward, and the scratch of the call that runs. Parameters, buffers and inputs are
    there before and not counted. The network runs once for that, without gradients.

    Where vertices leave the graph, what they alone make and take is left out; the rest is taken to live as
    before, which is at least what it is then.

    Results are exact for any sizes. The scratch of calls is estimated in the search for sizes (see
    `naivegraph.memory.scratch`), and measured for the sizes found, by calling each alone; where it is more
    than estimated the search goes on with that.
    """

    name = "memory"
    title = "peak bytes of a run"
    unit = "bytes that one run on the example allocates, at its peak"

    def products(self, widths: Widths) -> list[SizeProduct]:
        """The sum that is the largest now."""
        return max(self.sums(widths), key=sum_of, default=[])

    def sums(self, widths: Widths) -> list[list[SizeProduct]]:
        """One sum per moment at which something was allocated that others had not."""
        return _peak(widths).sums()

    def corrected(
        self, widths: Widths, count: Callable[[Atom], int] | None, gone: frozenset[str] = frozenset()
    ) -> dict[int, list[SizeProduct]]:
        """The largest sums, with the scratch of calls as it is with so many neurons."""
        found = _peak(widths).measured(count, gone)
        return {place: moment for place, (_, moment) in found.items()}

    def value(
        self,
        widths: Widths,
        count: Callable[[Atom], int] | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> int:
        """The bytes with `count(width.atom)` neurons of each width, by default as many as now."""
        return round(max((value for value, _ in _peak(widths).measured(count, gone).values()), default=0))


def _peak(widths: Widths) -> MemoryPeak:
    from naivegraph.memory.peak import memory_peak  # which imports torch

    return memory_peak(widths)


register_cost(PeakMemory())
