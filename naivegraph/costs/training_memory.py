"""Bytes that a training step keeps between its forward and its backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from naivegraph.costs.by_name import register_cost
from naivegraph.costs.cost import Cost, SizeProduct

if TYPE_CHECKING:
    from naivegraph.algebra.axis import Atom
    from naivegraph.widths import Widths

__all__ = ["TrainingMemory"]


class TrainingMemory(Cost):
    """Bytes that autograd saves in one run of the network on the example in train mode.

    They grow with the batch and are what keeps a network from being trained with a larger one. Parameters,
    their gradients and what an optimizer keeps for them are not counted: these are multiples of
    `weight_bytes`. Inputs and buffers are there before and not counted either. The network runs twice for
    that.
    """

    name = "training_memory"
    title = "bytes saved to train"
    unit = "bytes that autograd saves in one run on the example in train mode"

    def products(self, widths: Widths) -> list[SizeProduct]:
        """One product per tensor, or tensors that share memory."""
        from naivegraph.memory.saved_tensors import saved_tensors  # which imports torch

        return saved_tensors(widths)

    def value(
        self,
        widths: Widths,
        count: Callable[[Atom], int] | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> int:
        """The bytes with `count(width.atom)` neurons of each width, by default as many as now."""
        return round(super().value(widths, count, gone))


register_cost(TrainingMemory())
