"""Small networks for tests of evolution."""

from __future__ import annotations

import torch
from torch import nn

import naivegraph as ng
from naivegraph.search import Genome


class Residual(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.inner(x).relu()
        x = self.down(x).relu()
        out: torch.Tensor = self.head(x.mean((2, 3)))
        return out


def image() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def residual(width: int = 8, seed: int = 0) -> Genome:
    torch.manual_seed(seed)
    return Genome(ng.capture(Residual(width).eval(), image()))


def vectors(seed: int = 0) -> Genome:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.GELU(), nn.Linear(12, 3))
    return Genome(ng.capture(net.eval(), torch.randn(2, 6, generator=torch.Generator().manual_seed(1))))


def output(genome: Genome) -> torch.Tensor:
    (x,) = genome.graph.example.values()
    out: torch.Tensor = genome.graph(x)
    return out.detach()
