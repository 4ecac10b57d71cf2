"""Number of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from naivegraph.costs.by_name import register_cost
from naivegraph.costs.cost import Cost, SizeProduct

if TYPE_CHECKING:
    from torch import nn

    from naivegraph.widths import Widths

__all__ = ["Params"]


class Params(Cost):
    """Parameters of a network, tied ones counted once; buffers are none."""

    name = "params"
    title = "parameters"
    unit = "parameters, tied ones once"
    counted = True

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """One product per parameter, for all vertices that compute with it."""
        return (
            SizeProduct(1, tuple(axes), tuple(widths.users[name]))
            for name, axes in widths.parameters().items()
        )

    def of_module(self, module: nn.Module) -> int:
        """The number of elements of all parameters."""
        return sum(parameter.numel() for parameter in module.parameters())


register_cost(Params())
