"""Small networks which a careless rule gets wrong: each computes something that is not what it looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

__all__ = ["NETWORKS"]


class Body(nn.Module):
    """Two linear layers with something between them; the batch is `[3, 6]`."""

    def __init__(self, between: Callable[[Tensor], Tensor], hidden: int = 12, after: int = 12) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, hidden), nn.Linear(after, 9), nn.Linear(9, 4)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(self.between(self.first(x)))))  # type: ignore[no-any-return]


class Maps(nn.Module):
    """Two convolutions with something between them; the batch is `[2, 3, 8, 8]`."""

    def __init__(self, between: Callable[[Tensor], Tensor], hidden: int = 12, after: int = 12) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, hidden, 3, padding=1), nn.Conv2d(after, 6, 3, padding=1)
        self.head, self.between = nn.Linear(6, 4), between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.between(self.first(x))).mean((2, 3)))  # type: ignore[no-any-return]


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


class Multihead(nn.Module):
    """torch's own attention layer, which is one opaque operator in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attention = nn.Linear(6, 12), nn.MultiheadAttention(12, 3, batch_first=True)
        self.up, self.head = nn.Linear(12, 20), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(F.relu(self.up(x)))  # type: ignore[no-any-return]


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


def reparametrised() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(6, 12)), nn.ReLU(), parametrizations.weight_norm(nn.Linear(12, 4))
    )


def spatial_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm([8, 8, 8]), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(216, 4)
    )  # fmt: skip


def instance_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 4)
    )  # fmt: skip


def plain_batch_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.Sigmoid(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 4)
    )  # fmt: skip


def first_pixel(x: Tensor) -> Tensor:
    return x + x[:, :1]


def assigned(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 3:5] = x[:, 5:7] * 2
    return x


def rolled(x: Tensor) -> Tensor:
    return x + x.roll(1, 1)


def largest(x: Tensor) -> Tensor:
    return x.topk(8, 1).values


def windows(x: Tensor) -> Tensor:
    """Swin's windows: space is regrouped, channels pass through."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, 16, c).view(b, 2, 2, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


def space_to_depth(x: Tensor) -> Tensor:
    """Focus, as in YOLOv5: four shifted copies concatenated."""
    return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


def shifted(x: Tensor) -> Tensor:
    """A temporal shift: parts of the channels are moved along another dimension."""
    left, right, rest = x[:, :3], x[:, 3:6], x[:, 6:]
    return torch.cat([F.pad(left, (1, 0))[..., :-1], F.pad(right, (0, 1))[..., 1:], rest], 1)


def lowered(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, *args, **kwargs)


def vector() -> tuple[Tensor, ...]:
    return (torch.randn(3, 6),)


def image() -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, 8, 8),)


BETWEEN_VECTORS: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "softmax": (lowered(torch.softmax, -1), 12, 12),
    "normalize": (lowered(F.normalize, dim=-1), 12, 12),
    "glu": (lowered(F.glu), 24, 12),
    "maxout": (lambda x: x.view(len(x), -1, 3).amax(-1), 36, 12),
    "maxout outer": (lambda x: x.view(len(x), 3, -1).amax(1), 36, 12),
    "mean": (lambda x: x * x.mean(-1, keepdim=True), 12, 12),
    "exponential": (torch.exp, 12, 12),
    "flip": (lambda x: x + x.flip(-1), 12, 12),
    "cumsum": (lambda x: x.cumsum(-1), 12, 12),
    "every second": (lambda x: x[:, ::2], 24, 12),
    "every second, offset": (lambda x: x[:, 1::2] * x[:, ::2], 24, 12),
    "last few": (lambda x: x[:, -12:] + x[:, :12], 20, 12),
    "selected": (lambda x: x + x[:, 0:1] * x[:, 5].unsqueeze(-1), 12, 12),
    "listed": (lambda x: x[:, [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]], 12, 12),
    "repeated": (lambda x: x.repeat(1, 2), 6, 12),
    "interleaved": (lambda x: x.repeat_interleave(2, -1), 6, 12),
    "stacked": (lambda x: torch.stack([x, -x], -1).flatten(1), 6, 12),
    "stacked outside": (lambda x: torch.stack([x, -x], 1).flatten(1), 6, 12),
    "self concatenated": (lambda x: torch.cat([x, x.relu(), x[:, :4]], -1), 4, 12),
    "first again": (first_pixel, 12, 12),
    "assigned": (assigned, 12, 12),
    "rolled": (rolled, 12, 12),
    "topk": (largest, 12, 8),
    "regrouped": (lambda x: x.view(len(x), 3, 4).transpose(1, 2).reshape(len(x), -1) * x, 12, 12),
    "coprime": (lambda x: x.view(len(x), 3, 4).transpose(1, 2).reshape(len(x), 3, 4).amax(1), 12, 4),
    "where": (lambda x: torch.where(x > 0, x, torch.ones_like(x)), 12, 12),
    "outer product": (lambda x: (x[:, :3, None] * x[:, None, 3:]).flatten(1), 7, 12),
    "batch as features": (lambda x: (x.t() @ x)[:3] + 0 * x, 12, 12),
    "padded": (lambda x: F.pad(x, (2, 1), value=1.0), 9, 12),
    "cropped": (lambda x: F.pad(x, (-2, -1)), 15, 12),
    "unfolded": (lambda x: x.unfold(1, 4, 2).flatten(1), 8, 12),
    "distance": (lambda x: x / (1 + torch.cdist(x, x).sum(-1, keepdim=True)), 12, 12),
    "variance": (lambda x: x / x.std(-1, keepdim=True), 12, 12),
    "sorted": (lambda x: x.sort(-1).values, 12, 12),
    "masked": (lambda x: x.masked_fill(x > x.mean(), 0.5), 12, 12),
    "moved": (lambda x: x.t().contiguous().view(4, 3, -1).permute(2, 0, 1).flatten(1), 12, 12),
}
BETWEEN_MAPS: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "channel softmax": (lowered(torch.softmax, 1), 12, 12),
    "space softmax": (lambda x: x.flatten(2).softmax(-1).view_as(x) * x, 12, 12),
    "windows": (windows, 12, 12),
    "space to depth": (space_to_depth, 3, 12),
    "shifted": (shifted, 12, 12),
    "unshuffled": (lowered(F.pixel_unshuffle, 2), 3, 12),
    "native shuffle": (lowered(torch.native_channel_shuffle, 3), 12, 12),
    "resized": (lowered(F.interpolate, scale_factor=2.0, mode="bilinear"), 12, 12),
    "response norm": (lowered(F.local_response_norm, 3), 12, 12),
    "unfold": (lambda x: F.unfold(x, 2, stride=2).view(len(x), 12, 4, 4), 3, 12),
    "dropped path": (lambda x: F.dropout2d(x, 0.5, training=False) + x.mean(1, keepdim=True), 12, 12),
    "fourier": (lambda x: torch.fft.rfft2(x).real, 12, 12),
    "non-local": (lambda x: x + (x.flatten(2).transpose(1, 2) @ x.flatten(2)).softmax(-1).mean(), 12, 12),
    "channel gram": (lambda x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).softmax(-1) @ x.flatten(2), 12, 12),
    "channel mean map": (lambda x: x * torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1).sum(1, keepdim=True), 12, 12),
    "grid": (lambda x: F.grid_sample(x, torch.zeros(len(x), 4, 4, 2, dtype=x.dtype), align_corners=False), 12, 12),
}  # fmt: skip
BETWEEN_MAPS["channel gram"] = (
    lambda x: ((x.flatten(2) @ x.flatten(2).transpose(1, 2)).softmax(-1) @ x.flatten(2)).view_as(x), 12, 12,
)  # fmt: skip

Entry = tuple[str, Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]


def _body(kind: type[nn.Module], how: tuple[Callable[[Tensor], Tensor], int, int]) -> Callable[[], nn.Module]:
    return lambda: kind(*how)


NETWORKS: list[Entry] = [
    *[(name, _body(Body, how), vector) for name, how in BETWEEN_VECTORS.items()],
    *[(name, _body(Maps, how), image) for name, how in BETWEEN_MAPS.items()],
    ("WeightStandardised", WeightStandardised, image),
    ("OneBroadcast", OneBroadcast, image),
    ("GroupedQuery", GroupedQuery, lambda: (torch.randn(2, 5, 16),)),
    ("Multihead", Multihead, lambda: (torch.randn(2, 5, 6),)),
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
    ("bilinear", lambda: Bilinear(), vector),
]


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(6, 7)
        self.both, self.head = nn.Bilinear(8, 7, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.both(self.one(x), self.two(x)))  # type: ignore[no-any-return]
