"""Numbers that a network's code reads from its tensors, such as the number of tokens of each expert."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from naivegraph.graph.record.symbolic_int import SymbolicInt
from naivegraph.ir.pytree import flat
from naivegraph.ir.values import DimSize, Stub

__all__ = ["READS", "counts_in", "may_be_sizes", "with_expressions"]

READS = frozenset({torch.Tensor.item, torch.Tensor.tolist})
_MANY = 1024  # more numbers than this are data, not sizes
_LARGEST = 1 << 40  # so is a number that no size can be: a seed, a time, a hash


def may_be_sizes(value: Any) -> bool:
    """Tell whether numbers read from a tensor are integers that may be sizes."""
    numbers = list(flat([value]))
    return 0 < len(numbers) <= _MANY and all(type(n) is int and 0 <= n <= _LARGEST for n in numbers)


def counts_in(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """For each number in a tensor a tensor of that size, which takes no memory.

    The numbers then are sizes of tensors, which a graph computes with.
    """
    return tuple([torch.empty(count, device="meta") for count in tensor.flatten().tolist()])


def with_expressions(value: Any, counts: Iterator[Stub]) -> Any:
    """Numbers read from a tensor as symbolic integers, each the size of the next of `counts`."""
    if isinstance(value, list):
        return [with_expressions(item, counts) for item in value]
    return SymbolicInt(value, DimSize(next(counts).id, 0))
