"""Small networks, each with one thing that makes pruning hard, for properties run over all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.networks import attention as networks_attention
from tests.networks import sequence as networks_sequence
from tests.networks import traps as networks_traps

__all__ = ["ALL", "TRAPS", "Network", "by_name", "randomised"]

Inputs = tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """How to build a network and an example of its inputs."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]

    def __str__(self) -> str:
        return self.name

    def make(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[nn.Module, Inputs]:
        """The network in eval mode with random norms and biases, and its inputs."""
        torch.manual_seed(seed)
        model = randomised(self.build()).to(dtype)
        return model, tuple(x.to(dtype) if x.is_floating_point() else x for x in self.inputs())


def randomised(model: nn.Module) -> nn.Module:
    """Give every bias, norm and running statistic random values, as training would."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5) if name.endswith("weight") else parameter.normal_(0, 0.3)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point() and name.endswith("running_mean"):
                buffer.normal_(0, 0.2)
            elif buffer.is_floating_point() and name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model.eval()


def conv_bn(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 12)
        self.first, self.second = conv_bn(12, 10), nn.Conv2d(10, 12, 3, padding=1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.second(self.first(x)))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Dense(nn.Module):
    """Every block sees all that came before it, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), nn.Conv2d(8 + 4 * i, 4, 3, padding=1))
            for i in range(3)
        )
        self.transition = nn.Conv2d(20, 10, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for block in self.blocks:
            features.append(block(torch.cat(features, 1)))
        x = F.relu(self.transition(torch.cat(features, 1)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


class Grouped(nn.Module):
    """Grouped and depthwise convolutions, as in ResNeXt and MobileNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 12)
        self.grouped = conv_bn(12, 16, groups=4)
        self.depthwise = conv_bn(16, 16, groups=16)
        self.twice = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.depthwise(self.grouped(self.stem(x))))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.reduce, self.expand = nn.Conv2d(16, 6, 1), nn.Conv2d(6, 16, 1)
        self.out = nn.Conv2d(16, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()
        return self.head(self.out(x * gate).amax((2, 3)))  # type: ignore[no-any-return]


class Flatten(nn.Module):
    """A map of features flattened into a linear layer; sizes read from the tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.linear, self.head = nn.Linear(10 * 16, 14), nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv(x)))
        x = x.view(x.size(0), x.size(1) * x.size(2) * x.size(3))
        return self.head(F.relu(self.linear(x)))  # type: ignore[no-any-return]


class PaddedShortcut(nn.Module):
    """Two strided stages whose shortcuts take every second place and pad with zeros (CIFAR ResNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.one, self.two = conv_bn(8, 16, stride=2), nn.Conv2d(16, 16, 3, padding=1)
        self.three, self.four = conv_bn(16, 32, stride=2), nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)) + self.two(self.one(x)))
        x = F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)) + self.four(self.three(x)))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.expand, self.depth = conv_bn(8, 24, kernel=1), conv_bn(24, 24, groups=24)
        self.project = nn.Sequential(nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.depth(self.expand(x)))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class GroupNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 12, 3), nn.GroupNorm(4, 12)
        self.next, self.head = nn.Conv2d(12, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.next(F.relu(self.norm(self.conv(x))))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class ChannelShuffle(nn.Module):
    """Groups are mixed by a transposed view, as in ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.groups = 2
        self.first, self.second = conv_bn(3, 12), conv_bn(12, 16, kernel=1, groups=2)
        self.third, self.head = conv_bn(16, 16, groups=16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x))
        batch, channels, height, width = x.shape
        x = x.view(batch, self.groups, channels // self.groups, height, width).transpose(1, 2)
        x = self.third(x.reshape(batch, channels, height, width))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class PixelShuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1)
        self.shuffle, self.last = nn.PixelShuffle(2), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.shuffle(self.up(F.relu(self.first(x)))))  # type: ignore[no-any-return]


class Autoencoder(nn.Module):
    """Transposed convolutions, one of them grouped."""

    def __init__(self) -> None:
        super().__init__()
        self.down = conv_bn(3, 12, stride=2)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.grouped = nn.ConvTranspose2d(8, 12, 3, padding=1, groups=4)
        self.last = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.grouped(F.relu(self.up(self.down(x))))))  # type: ignore[no-any-return]


class OneD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(2, 12, 5, padding=2), nn.BatchNorm1d(12)
        self.act, self.second = nn.PReLU(12), nn.Conv1d(12, 10, 3, dilation=2)
        self.one, self.head = nn.PReLU(), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.second(self.act(self.norm(self.first(x)))))
        return self.head(x.mean(-1))  # type: ignore[no-any-return]


class Branches(nn.Module):
    """One tensor split between branches that are put together again, as in GoogLeNet and CSP networks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.left, self.right = conv_bn(6, 9), conv_bn(10, 7)
        self.join, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        left, right = torch.split(x, [6, 10], 1)
        x = x + self.join(torch.cat([self.left(left), self.right(right)], 1))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Attributes(nn.Module):
    """Its forward reads sizes from attributes, shapes and a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.parts = 18, 3
        self.first, self.second = nn.Linear(7, self.hidden), nn.Linear(self.hidden, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x)).reshape(len(x), self.hidden)
        x = x * x.new_ones(self.hidden) + torch.zeros(x.shape[0], self.first.out_features, dtype=x.dtype)
        y = F.relu(self.second(x))
        y = y.view(-1, self.parts, y.shape[-1] // self.parts).flatten(1)
        return self.head(y)  # type: ignore[no-any-return]


def chain() -> nn.Module:
    return nn.Sequential(
        *conv_bn(3, 12), *conv_bn(12, 16, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    )


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 20), nn.GELU(), nn.Linear(20, 4))


def volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 6, 3), nn.Flatten(), nn.Linear(48, 5)
    )


def image() -> Inputs:
    return (torch.randn(2, 3, 8, 8),)


_CONVOLUTIONAL = [
    Network("chain", chain, image),
    Network("mlp", perceptron, lambda: (torch.randn(3, 6),)),
    *[
        Network(kind.__name__, kind, image)
        for kind in (
            Residual, Dense, Grouped, SqueezeExcite, Flatten, PaddedShortcut, InvertedResidual, GroupNorms,
            ChannelShuffle, PixelShuffle, Autoencoder, Branches,
        )
    ],
    Network("OneD", OneD, lambda: (torch.randn(2, 2, 16),)),
    Network("volume", volume, lambda: (torch.randn(2, 1, 6, 6, 6),)),
    Network("Attributes", Attributes, lambda: (torch.randn(3, 7),)),
]  # fmt: skip
_SEQUENCE = [*networks_sequence.NETWORKS, *networks_attention.NETWORKS]
ALL = [*_CONVOLUTIONAL, *[Network(*entry) for entry in _SEQUENCE]]
TRAPS = [Network(*entry) for entry in networks_traps.NETWORKS]


def by_name(name: str) -> Network:
    """The network of this name."""
    return {network.name: network for network in [*ALL, *TRAPS]}[name]
