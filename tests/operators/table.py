"""Layers and functions that real code uses, each between two layers, with what pruning makes of it.

`"free"`: the neurons before it may all go. `"norm"`: they may, and enter a statistic. Anything else is a part
of the reason for which some stay.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["Entry", "Fn", "Table", "between", "entries", "fn", "par"]


class Fn(nn.Module):
    """A function with layers `m` and parameters of its own."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module, **parameters: Tensor) -> None:
        super().__init__()
        self.function, self.m = function, nn.ModuleList(layers)
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, x: Tensor) -> Tensor:
        own = len(self.m) > 0 or len(self._parameters) > 0
        return self.function(x, self) if own else self.function(x)


def fn(function: Callable[..., Tensor], *layers: nn.Module, **parameters: Tensor) -> Callable[[], nn.Module]:
    """A fresh `Fn` on every call."""
    return lambda: Fn(function, *copy.deepcopy(layers), **{k: v.clone() for k, v in parameters.items()})


def par(layer: nn.Module, how: nn.Module, name: str = "weight") -> nn.Module:
    """A layer with a parametrized weight."""
    nn.utils.parametrize.register_parametrization(layer, name, how)
    return layer


Table = Mapping[str, tuple[str, Callable[[], nn.Module]]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row: how to build what is between, what is expected, and the first and last layer."""

    name: str
    expected: str
    middle: Callable[[], nn.Module]
    first: Callable[[], nn.Module]
    last: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return self.name


def entries(
    table: Table, first: Callable[[], nn.Module], last: Callable[[], nn.Module], shape: tuple[int, ...]
) -> list[Entry]:
    """The rows of a table between the same two layers."""
    return [Entry(name, expected, middle, first, last, shape) for name, (expected, middle) in table.items()]


def between(entry: Entry, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """The network of a row, in eval mode, and an input."""
    torch.manual_seed(0)
    x = torch.randn(entry.shape)
    net = nn.Sequential(entry.first(), entry.middle(), entry.last()).eval()
    with torch.no_grad():
        net(x)
    return net.to(dtype), x.to(dtype)
