"""Small random networks for students and teachers."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Bottleneck", "ConvBlock", "LinearBlock", "ResNet", "randomised"]

Model = TypeVar("Model", bound=nn.Module)


class ConvBlock(nn.Module):
    """A basic residual block; of other width or stride with a padded shortcut (option A) or a convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, conv: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2
        self.down = nn.Conv2d(inputs, outputs, 1, stride) if conv and stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.down is not None:
            x = self.down(x)
        elif self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class Bottleneck(nn.Module):
    """A residual block of three convolutions."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.conv2, self.bn2 = nn.Conv2d(hidden, hidden, 3, 1, 1, bias=False), nn.BatchNorm2d(hidden)
        self.conv3, self.bn3 = nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y))))))


class ResNet(nn.Module):
    """Two stages of basic blocks."""

    def __init__(self, blocks: int, width: int = 8, *, conv: bool = False) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(*[ConvBlock(width, width) for _ in range(blocks)])
        first = ConvBlock(width, 2 * width, 2, conv=conv)
        self.layer2 = nn.Sequential(first, *[ConvBlock(2 * width, 2 * width) for _ in range(blocks - 1)])
        self.head = nn.Linear(2 * width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer2(self.layer1(F.relu(self.norm(self.stem(x)))))
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


class LinearBlock(nn.Module):
    """A residual block without activation, so that two of them are one of larger rank."""

    def __init__(self, width: int, hidden: int, rank: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        with torch.no_grad():
            self.down.weight[:, rank:] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.down(self.up(x))
        return out


def randomised(model: Model, seed: int) -> Model:
    """The network in eval mode, its norms with random statistics."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                for tensor in (module.weight, module.running_var):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))  # type: ignore[union-attr]
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))  # type: ignore[union-attr]
    return model.eval()
