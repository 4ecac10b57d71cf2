"""Known networks as schemas: what is compiled has the name of the network that is captured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph import search
from tests.search.schema.known import decoder_block, resnet18, small_unet


@pytest.mark.usefixtures("torchvision_operators")
def test_resnet18() -> None:
    torchvision = pytest.importorskip("torchvision.models")
    captured = ng.capture(torchvision.resnet18(), torch.zeros(2, 3, 64, 64))
    compiled = resnet18().compile((3, 64, 64))
    assert search.structure_name(compiled) == search.structure_name(captured)
    # A wider network has another name.
    assert search.structure_name(resnet18(first=32).compile((3, 64, 64))) != search.structure_name(captured)


class UNet(nn.Module):
    """A U-Net of two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2, self.enc3 = self.pair(1, 8), self.pair(8, 16), self.pair(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        self.dec2, self.dec1 = self.pair(32, 16), self.pair(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def pair(given: int, made: int) -> nn.Sequential:
        """Two convolutions."""
        return nn.Sequential(
            nn.Conv2d(given, made, 3, padding=1), nn.ReLU(), nn.Conv2d(made, made, 3, padding=1), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 1, height, width) to (batch, 2, height, width)."""
        one = self.enc1(x)
        two = self.enc2(self.pool(one))
        three = self.enc3(self.pool(two))
        y = self.dec2(torch.cat([two, self.up2(three)], 1))
        y = self.dec1(torch.cat([one, self.up1(y)], 1))
        out: Tensor = self.head(y)
        return out


def test_a_unet() -> None:
    captured = ng.capture(UNet(), torch.zeros(2, 1, 32, 32))
    compiled = small_unet().compile((1, 32, 32), nodes=17)
    assert search.structure_name(compiled) == search.structure_name(captured)


class DecoderBlock(nn.Module):
    """Attention to oneself, to a memory, and a perceptron, each with a norm before it and a way around."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.own = nn.MultiheadAttention(32, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(32, 4, kdim=24, vdim=24, batch_first=True)
        self.wide, self.back, self.act = nn.Linear(32, 64), nn.Linear(64, 32), nn.GELU()

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Map (batch, length, 32) and (batch, other length, 24) to (batch, length, 32)."""
        h = self.norms[0](x)
        x = x + self.own(h, h, h, need_weights=False)[0]
        x = x + self.cross(self.norms[1](x), memory, memory, need_weights=False)[0]
        out: Tensor = x + self.back(self.act(self.wide(self.norms[2](x))))
        return out


def test_a_decoder_block_with_cross_attention() -> None:
    captured = ng.capture(DecoderBlock(), (torch.zeros(2, 10, 32), torch.zeros(2, 7, 24)))
    compiled = decoder_block().compile({"x": search.tokens(10, 32), "memory": search.tokens(7, 24)})
    assert search.structure_name(compiled) == search.structure_name(captured)
