"""Networks whose streams pass norms, to be widened: each with the vertex to ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["STREAMS", "Stream"]

Norm = Callable[[int], nn.Module]


@dataclasses.dataclass(frozen=True)
class Stream:
    """A network and the vertex that its stream begins at.

    Attributes:
        name: A name for tests.
        build: Builds the network from the number of neurons of its stream.
        inputs: Makes an example.
        vertex: The vertex.
        steps: The numbers of neurons that may be added are the multiples of this one.
    """

    name: str
    build: Callable[[int], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    vertex: str
    steps: int = 1

    def __str__(self) -> str:
        return self.name


class RootMeanSquare(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.tiny, self.weight = 1e-3, nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.tiny) * self.weight


class ByHand(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.tiny, self.a, self.b = (
            1e-3,
            nn.Parameter(torch.rand(size) + 0.5),
            nn.Parameter(torch.randn(size)),
        )

    def forward(self, x: Tensor) -> Tensor:
        rest = x - x.mean(-1, keepdim=True)
        return rest / (rest.square().mean(-1, keepdim=True) + self.tiny).sqrt() * self.a + self.b


class Deviation(nn.Module):
    """A norm by the deviation that counts one fewer, plus a number outside of the root."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.tiny, self.a, self.b = (
            1e-3,
            nn.Parameter(torch.rand(size) + 0.5),
            nn.Parameter(torch.randn(size)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.a * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.tiny) + self.b


class UnitLength(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale, self.weight = size**0.5, nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * self.scale * self.weight  # type: ignore[no-any-return]


def layer_norm(size: int) -> nn.Module:
    return nn.LayerNorm(size, eps=1e-3)


def plain_layer_norm(size: int) -> nn.Module:
    return nn.LayerNorm(size, eps=1e-3, elementwise_affine=False)


def rms_norm(size: int) -> nn.Module:
    return nn.RMSNorm(size, eps=1e-3)


class Block(nn.Module):
    """Attention and a layer for each token, before each of them a norm, behind each of them a layer scale."""

    def __init__(self, size: int, norm: Norm, scaled: bool) -> None:
        super().__init__()
        self.heads, self.before, self.between = 2, norm(size), norm(size)
        self.qkv, self.out = nn.Linear(size, 3 * 8), nn.Linear(8, size)
        self.up, self.down = nn.Linear(size, 10), nn.Linear(10, size, bias=False)
        self.scale = nn.Parameter(torch.rand(size) + 0.5) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.before(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + (mixed if self.scale is None else self.scale * mixed)
        more = self.down(F.gelu(self.up(self.between(x))))
        return x + (more if self.scale is None else more * self.scale)  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """A transformer on tokens, the table of which may be its head, too."""

    def __init__(self, size: int, norm: Norm, *, tied: bool = False, scaled: bool = False) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(12, size), nn.Embedding(5, size)
        self.blocks = nn.ModuleList(Block(size, norm, scaled) for _ in range(2))
        self.last, self.head = norm(size), nn.Linear(size, 12, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.table(x) + self.places.weight, 0.1, self.training)
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x))  # type: ignore[no-any-return]


class Patches(nn.Module):
    """A transformer on patches of an image, with a class token and a table of positions."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, size, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, size)), nn.Parameter(torch.randn(1, 5, size))
        self.blocks = nn.ModuleList(Block(size, layer_norm, scaled) for scaled in (True, False))
        self.last, self.head = layer_norm(size), nn.Linear(size, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cut(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x)[:, 0])  # type: ignore[no-any-return]


class ChannelsLast(nn.Module):
    """Layers for each pixel with permutes around them, as in a ConvNeXt, and a convolution among the many."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.widen, self.norm = nn.Conv2d(6, size, 2, 2), layer_norm(size)
        self.up, self.mix, self.down = (
            nn.Linear(size, 9),
            nn.Conv2d(9, 9, 3, padding=1, groups=9),
            nn.Linear(9, size),
        )
        self.gamma = nn.Parameter(torch.rand(size) + 0.5)
        self.last, self.head = layer_norm(size), nn.Linear(size, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.widen(self.stem(x))
        inner = self.up(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        inner = self.down(F.gelu(self.mix(inner)).permute(0, 2, 3, 1)) * self.gamma
        x = x + inner.permute(0, 3, 1, 2)
        return self.head(self.last(x.mean([-2, -1])))  # type: ignore[no-any-return]


class Gated(nn.Module):
    """Two paths of a product, and a gate for each neuron of what is added that all neurons share."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, size), rms_norm(size)
        self.up, self.gate, self.down = nn.Linear(size, 9), nn.Linear(size, 9), nn.Linear(9, size)
        self.share, self.head = nn.Linear(size, 1), nn.Linear(size, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.norm(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y)) * self.share(y).sigmoid()
        return self.head(torch.relu(self.norm(x)))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.cells, self.back = nn.Linear(4, size), nn.LSTM(size, 6), nn.Linear(6, size)
        self.norm, self.head = rms_norm(size), nn.Linear(size, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.back(self.cells(self.norm(x))[0])
        return self.head(self.norm(x))  # type: ignore[no-any-return]


class NormedHeads(nn.Module):
    """Attention whose queries and keys are normed along the size of heads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.heads, self.q, self.k = 2, nn.Linear(6, 2 * size), nn.Linear(6, 2 * size)
        self.v, self.out, self.one, self.two = (
            nn.Linear(6, 6),
            nn.Linear(6, 6),
            rms_norm(size),
            rms_norm(size),
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        weights = (self.one(q) @ self.two(k).transpose(-2, -1) * 0.3).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def torch_layers(size: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(size, 2, 10, 0.1, norm_first=True, batch_first=True)
    return nn.Sequential(
        nn.Linear(4, size),
        nn.TransformerEncoder(layer, 2, layer_norm(size), enable_nested_tensor=False),
        nn.Linear(size, 3),
    )


def groups(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3 * size), nn.GroupNorm(3, 3 * size), nn.ReLU(), nn.Linear(3 * size, 3))


def image_groups(size: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4 * size, 3), nn.GroupNorm(size, 4 * size), nn.SiLU(), nn.Conv2d(4 * size, 3, 3)
    )


def mixed(size: int) -> nn.Module:
    """Batch norms, then a stream with norms."""
    stem = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*stem, nn.Linear(24, size), layer_norm(size), nn.Tanh(), nn.Linear(size, 3))


def some_tokens() -> tuple[Tensor, ...]:
    return (torch.randint(0, 12, (3, 5)),)


def vectors() -> tuple[Tensor, ...]:
    return (torch.randn(3, 5, 4),)


def picture() -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, 8, 8),)


def _tokens(norm: Norm, **options: Any) -> Callable[[int], nn.Module]:
    return lambda size: Tokens(size, norm, **options)


STREAMS: Sequence[Stream] = [
    Stream("layer norm", _tokens(layer_norm), some_tokens, "table"),
    Stream("layer norm, tied, scaled", _tokens(layer_norm, tied=True, scaled=True), some_tokens, "table"),
    Stream("layer norm without weights", _tokens(plain_layer_norm), some_tokens, "table"),
    Stream("RMS norm", _tokens(rms_norm), some_tokens, "table"),
    Stream("RMS norm, tied, scaled", _tokens(rms_norm, tied=True, scaled=True), some_tokens, "table"),
    Stream("RMS norm by hand", _tokens(RootMeanSquare), some_tokens, "table"),
    Stream("layer norm by hand", _tokens(ByHand, scaled=True), some_tokens, "table"),
    Stream("deviation by hand", _tokens(Deviation), some_tokens, "table"),
    Stream("unit length", _tokens(UnitLength), some_tokens, "table"),
    Stream("patches", Patches, picture, "cut"),
    Stream("channels last", ChannelsLast, picture, "widen"),
    Stream("gated", Gated, vectors, "first"),
    Stream("recurrent", Recurrent, vectors, "first"),
    Stream("normed heads", NormedHeads, lambda: (torch.randn(3, 5, 6),), "q", 2),
    Stream("torch's own layers", torch_layers, vectors, "0", 2),
    Stream("groups of vectors", groups, lambda: (torch.randn(3, 4),), "0", 3),
    Stream("groups of images", image_groups, picture, "0", 4),
    Stream("batch norms and a layer norm", mixed, picture, "5"),
]
