"""Residual networks, and the networks that are left by hand when a block is taken out of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.machine.structures import lively


class BasicBlock(nn.Module):
    """Two convolutions around which the identity leads, or a convolution where sizes change."""

    def __init__(self, taken: int, given: int, stride: int = 1, *, inplace: bool = False) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(taken, given, 3, stride, 1, bias=False), nn.BatchNorm2d(given)
        self.conv2, self.norm2 = nn.Conv2d(given, given, 3, 1, 1, bias=False), nn.BatchNorm2d(given)
        self.relu, self.inplace = nn.ReLU(inplace), inplace
        self.down: nn.Module = nn.Identity()
        if stride != 1 or taken != given:
            self.down = nn.Sequential(nn.Conv2d(taken, given, 1, stride, bias=False), nn.BatchNorm2d(given))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        around = self.down(x)
        if self.inplace:
            out += around
        else:
            out = out + around
        result: Tensor = self.relu(out)
        return result


class ResNet(nn.Module):
    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace)
        blocks = [BasicBlock(4, 4, inplace=inplace) for _ in range(2)]
        self.layer1 = nn.Sequential(*blocks)
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2, inplace=inplace), BasicBlock(8, 8, inplace=inplace))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.relu(self.stem(x))))
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


class Gain(nn.Module):
    """A residual branch scaled by a parameter of the block itself, beside one that nothing uses."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(size), nn.Linear(size, size)
        self.gain = nn.Parameter(torch.rand(size))
        self.register_buffer("mask", torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.gain * (self.mix(self.norm(x)) * self.mask)
        return out


def resnet(*, inplace: bool = False) -> ResNet:
    torch.manual_seed(0)
    net = lively(ResNet(inplace=inplace)).eval()
    assert isinstance(net, ResNet)
    return net


def silenced(block: nn.Module) -> None:
    """Let a block's branch give zero."""
    assert isinstance(block, BasicBlock)
    nn.init.zeros_(block.norm2.weight)
    nn.init.zeros_(block.norm2.bias)


def encoder(*, norm_first: bool) -> nn.Sequential:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    stack = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(4, 8), stack, nn.Linear(8, 2)).eval()
