"""Bytes of the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from naivegraph.costs.by_name import register_cost
from naivegraph.costs.cost import Cost, SizeProduct

if TYPE_CHECKING:
    from torch import nn

    from naivegraph.widths import Widths

__all__ = ["WeightBytes"]


class WeightBytes(Cost):
    """Bytes of the parameters by their types, tied ones counted once; buffers are none.

    A network of which some layers are in half precision has fewer bytes than four times its parameters.
    """

    name = "weight_bytes"
    title = "bytes of weights"
    unit = "bytes of the parameters, tied ones once"

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """One product per parameter, for all vertices that compute with it."""
        for name, axes in widths.parameters().items():
            size = widths.graph.tensor(name).element_size()
            yield SizeProduct(size, tuple(axes), tuple(widths.users[name]))

    def of_module(self, module: nn.Module) -> int:
        """The bytes of all parameters."""
        return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


register_cost(WeightBytes())
