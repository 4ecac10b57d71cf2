"""Multiply-accumulates of one run on the example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from naivegraph.costs.by_name import register_cost
from naivegraph.costs.cost import Cost, SizeProduct

if TYPE_CHECKING:
    from naivegraph.widths import Widths

__all__ = ["Macs"]


class Macs(Cost):
    """Multiply-accumulates of matrix products, convolutions and attention, in eval mode.

    They are half of what `torch.utils.flop_counter` counts. It has no formula for a product with a vector
    nor for torch's fused recurrent layers; here these cost what the same products of matrices do.
    """

    name = "macs"
    title = "MACs"
    unit = "multiply-accumulates of one run on the example"
    counted = True

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """One product per operator that has some."""
        return (SizeProduct(c.coefficient, c.axes, (c.where,)) for c in widths.contractions)


register_cost(Macs())
