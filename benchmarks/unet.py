"""A U-Net, whose ways are concatenated."""

from __future__ import annotations

import torch
from torch import nn


class UNet(nn.Module):
    """A U-Net of three levels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = (width, 2 * width, 4 * width)
        self.down = nn.ModuleList(_double(a, b) for a, b in zip((3, *sizes[:-1]), sizes, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in ((sizes[1], sizes[2]), sizes[:2]))
        self.join = nn.ModuleList(_double(2 * a, a) for a in (sizes[1], sizes[0]))
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.down[0](x)
        two = self.down[1](nn.functional.max_pool2d(one, 2))
        x = self.down[2](nn.functional.max_pool2d(two, 2))
        for up, join, skip in zip(self.up, self.join, (two, one), strict=True):
            x = join(torch.cat([up(x), skip], 1))
        return self.out(x)  # type: ignore[no-any-return]


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip
