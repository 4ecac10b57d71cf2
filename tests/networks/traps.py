"""Small networks which a careless rule gets wrong: each computes something that is not what it looks like."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.networks.between import BETWEEN_MAPS, BETWEEN_VECTORS, Body, Maps

__all__ = ["NETWORKS"]


class Standardised(nn.Conv2d):
    """Weight standardisation by a batch norm on the reshaped weight, as in timm."""

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None, training=True, momentum=0.0
        ).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class WeightStandardised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 3), Standardised(12, 10, 3)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(F.relu(self.first(x))).mean((2, 3)))  # type: ignore[no-any-return]


class OneBroadcast(nn.Module):
    """A map of one channel multiplies all channels of another, and is a neuron that must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.body = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 10, 3, padding=1)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.gate(x).sigmoid() * self.body(x)).mean((2, 3)))  # type: ignore[no-any-return]


class GroupedQuery(nn.Module):
    """Fewer key heads than query heads, repeated inside the operator."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(16, 24), nn.Linear(16, 8), nn.Linear(16, 8)
        self.o = nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (-1, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, scale=0.5)
        return self.o(x.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Linear(6, 10), nn.GRU(10, 8, batch_first=True), nn.Linear(8, 4)
        self.hidden = nn.Linear(4, 14)
        self.last = nn.Linear(14, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.hidden(self.head(self.cell(self.embed(x))[0]))))  # type: ignore[no-any-return]


class Gram(nn.Module):
    """Features times features: a sum over a width of what is not zero where its parameters are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 10), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).sigmoid()
        y = y / (1 + y.sum(-1, keepdim=True))
        return self.head((y @ y.t()).flatten().expand(2, 9))  # type: ignore[no-any-return]


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(6, 7)
        self.both, self.head = nn.Bilinear(8, 7, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.both(self.one(x), self.two(x)))  # type: ignore[no-any-return]


class TiedTranspose(nn.Module):
    """An autoencoder whose decoder is the encoder's weight, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.bias = nn.Linear(6, 10), nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(self.encode(x)), self.encode.weight.t(), self.bias)


class Reused(nn.Module):
    """One layer called twice, so its input and output are one width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(6, 10), nn.Linear(10, 10), nn.Linear(10, 4)
        self.norm = nn.BatchNorm1d(10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        x = F.relu(self.norm(self.again(x)))
        return self.head(self.again(x))  # type: ignore[no-any-return]


class Einsum(nn.Module):
    """Attention by einsum with parameters that are no layers."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Parameter(torch.randn(3, 6, 5)), nn.Parameter(torch.randn(3, 6, 5))
        self.v, self.o = nn.Parameter(torch.randn(3, 6, 7)), nn.Parameter(torch.randn(3, 7, 4))

    def forward(self, x: Tensor) -> Tensor:
        q, k = torch.einsum("bnc,hcd->bhnd", x, self.q), torch.einsum("bnc,hcd->bhnd", x, self.k)
        v = torch.einsum("bnc,hcd->bhnd", x, self.v)
        weights = torch.einsum("bhnd,bhmd->bhnm", q, k).softmax(-1)
        return torch.einsum("bhnm,bhmd,hdc->bnc", weights, v, self.o)


class LayerScale(nn.Module):
    """A parameter scales a residual branch; another one is a constant that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 16), nn.Linear(16, 10)
        self.gamma, self.shift = nn.Parameter(torch.ones(10)), nn.Parameter(torch.ones(1, 10))
        self.register_buffer("mask", torch.rand(16))
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.gamma * self.down(F.relu(self.up(x)) * self.get_buffer("mask"))
        return self.head(x + self.shift)  # type: ignore[no-any-return]


class HeadsInFunction(nn.Module):
    """torch's own attention as a function: its numbers say how the projection is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out, self.head = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 4)
        self.weight, self.bias = nn.Parameter(torch.randn(36, 12)), nn.Parameter(torch.randn(36))
        self.up, self.down = nn.Linear(4, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = F.multi_head_attention_forward(
            x, x, x, 12, 3, self.weight, self.bias, None, None, False, 0.0, self.out.weight, self.out.bias,
            training=False, need_weights=False,
        )[0]  # fmt: skip
        return self.down(F.relu(self.up(self.head(x))))  # type: ignore[no-any-return]


class ShapedLike(nn.Module):
    """One branch takes its shape from another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.gate = nn.Linear(6, 10), nn.Linear(6, 10), nn.Linear(6, 1)
        self.c, self.head = nn.Linear(10, 5), nn.Linear(25, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        seen = self.c(a.flatten().view_as(b))
        return self.head(torch.cat([seen, self.gate(x).expand_as(a) * b.relu(), a.reshape_as(a)], 1))  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """Linear layers over tokens and over channels, some by their weights alone."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.back = nn.Linear(5, 8), nn.Linear(8, 5)
        self.channels, self.out = nn.Linear(6, 10), nn.Linear(10, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.back(F.gelu(self.tokens(x.transpose(1, 2)))).transpose(1, 2)
        y = F.relu(self.channels(x)).transpose(1, 2)
        y = F.linear(F.linear(y, self.tokens.weight, self.tokens.bias), self.back.weight)
        return self.out(y.transpose(1, 2)) + x  # type: ignore[no-any-return]


class Constants(nn.Module):
    """A tensor of the code meets one width, a buffer another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 10), nn.Linear(10, 8), nn.Linear(8, 4)
        self.held = torch.randn(10)
        self.register_buffer("positions", torch.randn(8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x)) * self.held.to(x.dtype)
        return self.head(F.relu(self.second(x) + self.get_buffer("positions")))  # type: ignore[no-any-return]


class Experts(nn.Module):
    """A batch of weight matrices, mixed by a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(3, 6, 10)), nn.Parameter(torch.randn(3, 10, 4))
        self.gate = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.bmm(F.relu(torch.bmm(x.expand(3, *x.shape), self.up)), self.down)
        return (y * self.gate(x).softmax(-1).t()[..., None]).sum(0)  # type: ignore[no-any-return]


class HeadLoop(nn.Module):
    """Heads cut out one by one in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.first, self.head = 4, nn.Linear(6, 12), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        size = y.shape[-1] // self.count
        total = sum(
            (y[:, i * size : (i + 1) * size] for i in range(self.count)), torch.zeros((), dtype=x.dtype)
        )
        return self.head(total)  # type: ignore[no-any-return]


class Blur(nn.Module):
    """One fixed kernel for every channel, repeated as often as there are channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.register_buffer("kernel", torch.ones(1, 1, 3, 3) / 9)
        self.weight = nn.Parameter(torch.randn(8, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        kernel = self.get_buffer("kernel").expand(x.shape[1], 1, 3, 3)
        x = F.conv2d(F.conv2d(x, kernel, groups=x.shape[1]), self.weight, groups=x.shape[1])
        return self.last(x).mean((2, 3))  # type: ignore[no-any-return]


class ChannelConvolution(nn.Module):
    """A convolution slides over the channels, as in efficient channel attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slide = nn.Conv2d(3, 8, 3, padding=1), nn.Conv1d(1, 1, 3, padding=1)
        self.last, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        gate = self.slide(x.mean((2, 3))[:, None]).sigmoid()[:, 0]
        return self.head(self.last(x * gate[..., None, None]).mean((2, 3)))  # type: ignore[no-any-return]


class SplitProjection(nn.Module):
    """A fused projection cut by `split`, its heads by a view that reads sizes off tensors, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.heads = 12, 3
        self.embed, self.fused, self.out = nn.Linear(6, 12), nn.Linear(12, 36), nn.Linear(12, 4)

    def cut(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, x.size(-1) // self.heads).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = map(self.cut, self.fused(self.embed(x)).split(self.size, dim=2))
        x = (q @ k.transpose(-1, -2) / (v.size(-1) ** 0.5)).softmax(-1) @ v
        x = x.permute(0, 2, 1, 3).contiguous()
        return self.out(x.view(*x.shape[:-2], x.shape[-2] * x.shape[-1]))  # type: ignore[no-any-return]


def reparametrised() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(6, 12)),
        nn.ReLU(),
        parametrizations.weight_norm(nn.Linear(12, 4)),
    )


def normalised(norm: nn.Module, after: nn.Module) -> nn.Module:
    """A convolution to 8 maps of 6 by 6 places, a norm, something element-wise and a second convolution."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, after, nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 4))


def spatial_norm() -> nn.Module:
    return normalised(nn.LayerNorm([8, 6, 6]), nn.ReLU())


def instance_norm() -> nn.Module:
    return normalised(nn.InstanceNorm2d(8, affine=True), nn.ReLU())


def plain_batch_norm() -> nn.Module:
    return normalised(nn.BatchNorm2d(8, affine=False), nn.Sigmoid())


def vector() -> tuple[Tensor, ...]:
    return (torch.randn(3, 6),)


def image() -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, 8, 8),)


Entry = tuple[str, Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]


def _body(kind: type[nn.Module], how: tuple[Callable[[Tensor], Tensor], int, int]) -> Callable[[], nn.Module]:
    return lambda: kind(*how)


NETWORKS: list[Entry] = [
    *[(name, _body(Body, how), vector) for name, how in BETWEEN_VECTORS.items()],
    *[(name, _body(Maps, how), image) for name, how in BETWEEN_MAPS.items()],
    ("WeightStandardised", WeightStandardised, image),
    ("OneBroadcast", OneBroadcast, image),
    ("GroupedQuery", GroupedQuery, lambda: (torch.randn(2, 5, 16),)),
    ("Recurrent", Recurrent, lambda: (torch.randn(2, 5, 6),)),
    ("Gram", Gram, vector),
    ("TiedTranspose", TiedTranspose, vector),
    ("Reused", Reused, vector),
    ("Einsum", Einsum, lambda: (torch.randn(2, 5, 6),)),
    ("LayerScale", LayerScale, vector),
    ("reparametrised", reparametrised, vector),
    ("spatial norm", spatial_norm, image),
    ("instance norm", instance_norm, image),
    ("batch norm without affine", plain_batch_norm, image),
    ("Bilinear", Bilinear, vector),
    ("HeadsInFunction", HeadsInFunction, lambda: (torch.randn(5, 2, 6),)),
    ("ShapedLike", ShapedLike, vector),
    ("Mixer", Mixer, lambda: (torch.randn(2, 5, 6),)),
    ("Constants", Constants, vector),
    ("Experts", Experts, vector),
    ("HeadLoop", HeadLoop, vector),
    ("Blur", Blur, image),
    ("ChannelConvolution", ChannelConvolution, image),
    ("SplitProjection", SplitProjection, lambda: (torch.randn(2, 5, 6),)),
]
