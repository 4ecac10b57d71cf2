"""Small networks on which contracts try what they test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Attention", "example_networks"]


class Attention(nn.Module):
    """Self-attention of two heads between two linear layers, with a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 2
        self.into = nn.Linear(4, 6)
        self.qkv = nn.Linear(6, 24)
        self.out = nn.Linear(8, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take sequences [batch, length, 4]; give [batch, length, 3]."""
        x = self.into(x)
        parts = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).flatten(2)
        last: torch.Tensor = self.last(x + self.out(mixed))
        return last


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5),
        nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4 * 4, 3),
    )  # fmt: skip


def _layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, 2))


_MAKERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (_convolutions, (2, 3, 6, 6)),
    "layers": (_layers, (3, 4)),
    "attention": (Attention, (2, 3, 4)),
}


def example_networks() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """Fresh networks by name, each with the arguments of a call; the same numbers every time."""
    out: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, (make, shape) in _MAKERS.items():
            network = make().eval()
            with torch.no_grad():
                for tensor in (*network.parameters(), *network.buffers()):
                    if tensor.is_floating_point():
                        tensor.copy_(torch.rand_like(tensor) + 0.1 if (tensor >= 0).all() else tensor)
            out[name] = network, (torch.randn(shape),)
    return out
