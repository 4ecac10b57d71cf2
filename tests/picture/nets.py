"""Networks that pictures are made of."""

import torch
from torch import nn

import naivegraph as ng

NASTY = "</script><img src=x onerror=alert(1)>&\"'`${1}\\"


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.norm, self.two = (
            nn.Linear(width, 2 * width),
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the layers give."""
        out: torch.Tensor = x + self.two(self.norm(self.one(x)).relu())
        return out


class Stages(nn.Module):
    """A stem, blocks in two stages, and a head."""

    def __init__(self, depth: int = 2, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Linear(4, width)
        self.first = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.second = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the stages."""
        out: torch.Tensor = self.head(self.second(self.first(self.stem(x))))
        return out


def stages(depth: int = 2) -> ng.Graph:
    """The graph of such a network."""
    torch.manual_seed(0)
    return ng.capture(Stages(depth).eval(), torch.randn(5, 4))
