"""Two layers with something between them that a careless rule would get wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BETWEEN_MAPS", "BETWEEN_VECTORS", "Body", "Maps"]


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


def channel_gram(x: Tensor) -> Tensor:
    y = x.flatten(2)
    return ((y @ y.transpose(1, 2)).softmax(-1) @ y).view_as(x)


def channel_statistics(x: Tensor) -> Tensor:
    """Spatial attention, as in CBAM."""
    return x * torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1).sum(1, keepdim=True)


def sampled(x: Tensor) -> Tensor:
    return F.grid_sample(x, torch.zeros(len(x), 4, 4, 2, dtype=x.dtype), align_corners=False)


def heads_without_parameters(x: Tensor) -> Tensor:
    y = x.view(3, 3, 4)
    return torch.bmm(torch.bmm(y, y.transpose(1, 2)), y).flatten(1)


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
    "hsplit": (lambda x: x.hsplit([5])[1], 17, 12),
    "unsafe split": (lambda x: x.unsafe_split(12, 1)[0] * x.unsafe_split(12, 1)[1].relu(), 24, 12),
    "third chunk": (lambda x: x.chunk(3, 1)[2], 36, 12),
    "second part": (lambda x: torch.split(x, 12, 1)[1], 24, 12),
    "expanded": (lambda x: x[:, :, None].expand(-1, -1, 2).reshape(3, -1), 6, 12),
    "kronecker": (lambda x: torch.kron(x[0], x[1])[None].expand(3, -1), 4, 16),
    "narrowed": (lambda x: x.narrow(1, 2, 12), 17, 12),
    "middle row": (lambda x: x.view(-1, 3, 12)[:, 1], 36, 12),
    "positions": (lambda x: x + torch.linspace(0, 1, 12, dtype=x.dtype), 12, 12),
    "one hot": (lambda x: x * F.one_hot(x.argmax(-1), 12), 12, 12),
    "gathered": (lambda x: x.gather(1, torch.tensor([[1, 2, 3]] * 3)), 12, 3),
    "triangle": (lambda x: x + (x[:, None] * torch.ones(12, 12, dtype=x.dtype).tril()).sum(-1), 12, 12),
    "diagonal": (lambda x: torch.diag_embed(x).sum(-1), 12, 12),
    "strided": (lambda x: x.as_strided((3, 6), (12, 2)), 12, 6),
    "halves": (lambda x: torch.maximum(x[:, :6], x[:, 6:]), 12, 6),
    "pooled": (lambda x: F.max_pool1d(x, 3, 1, 1), 12, 12),
    "scaled by size": (lambda x: x / x.shape[-1] ** 0.5, 12, 12),
    "batched products": (heads_without_parameters, 12, 12),
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
    "channel gram": (channel_gram, 12, 12),
    "pooled like volumes": (lambda x: F.avg_pool3d(x, 3, 1, 1), 12, 12),
    "non-local": (lambda x: x + (x.flatten(2).transpose(1, 2) @ x.flatten(2)).softmax(-1).mean(), 12, 12),
    "channel mean map": (channel_statistics, 12, 12),
    "grid": (sampled, 12, 12),
}  # fmt: skip
