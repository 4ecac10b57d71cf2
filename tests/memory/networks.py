"""Networks that keep, share and drop memory in different ways, each with an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NETWORKS"]


class Forward(nn.Module):
    """Convolutions of eight-pixel images and a head, with a forward of the user's own in between."""

    def __init__(self, body: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 18, 3, padding=1), nn.Conv2d(18, 18, 3, padding=1)
        self.three, self.four = nn.Conv2d(18, 11, 1), nn.Conv2d(29, 9, 3, padding=1)
        self.head = nn.Linear(9, 4)
        self.body = body

    def forward(self, x: Tensor) -> Any:
        """(batch, 3, size, size) in."""
        return self.body(self, x)


def kept_in_a_local(net: Any, x: Tensor) -> Tensor:
    """The first map outlives its last use, for a variable holds it."""
    first = net.one(x)
    second = net.two(first)
    third = net.three(second)
    out = net.four(torch.cat([second, third], 1))
    return net.head(out.mean((2, 3)))  # type: ignore[no-any-return]


def deleted(net: Any, x: Tensor) -> Tensor:
    """The same, but the first map is dropped at once."""
    first = net.one(x)
    second = net.two(first)
    del first
    third = net.three(second)
    return net.head(net.four(torch.cat([second, third], 1)).mean((2, 3)))  # type: ignore[no-any-return]


def views(net: Any, x: Tensor) -> Tensor:
    """A view holds the whole map that it is a part of."""
    first = net.one(x)
    rows = first.transpose(2, 3).flatten(2)[:, :, :3]
    first = net.two(first).relu()
    third = net.three(first)
    out = net.four(torch.cat([first, third], 1))
    return net.head(out.mean((2, 3)) + rows.mean())  # type: ignore[no-any-return]


def in_place(net: Any, x: Tensor) -> Tensor:
    """Results in place make no memory."""
    first = F.relu(net.one(x), inplace=True)
    second = net.two(first).add_(first).mul_(2).relu_()
    out = net.four(torch.cat([second, net.three(second)], 1))
    return net.head(out.mean((2, 3)))  # type: ignore[no-any-return]


def residual(net: Any, x: Tensor) -> Tensor:
    """The way around keeps the map before."""
    x = net.one(x).relu()
    x = x + net.two(x).sigmoid() * 0.5
    x = x + net.two(x).tanh()
    return net.head(net.four(torch.cat([x, net.three(x)], 1)).mean((2, 3)))  # type: ignore[no-any-return]


def several_outputs(net: Any, x: Tensor) -> dict[str, Any]:
    """Outputs are held by the caller, so they live until the end."""
    first = net.one(x)
    second = net.two(first.relu()).relu()
    out = net.four(torch.cat([second, net.three(second)], 1))
    return {"maps": (out, [out.amax(1)]), "classes": net.head(out.mean((2, 3)))}


def loop(net: Any, x: Tensor) -> Tensor:
    """Tensors are made and dropped in a loop; a list keeps some."""
    first = net.one(x)
    kept = []
    for step in range(4):
        scaled = first * (step + 1)
        if step % 2:
            kept.append(scaled.exp().clamp(max=1.0))
        first = first + scaled.sigmoid()
    second = net.two(sum(kept, first))
    out = net.four(torch.cat([second, net.three(second)], 1))
    return net.head(out.mean((2, 3)))  # type: ignore[no-any-return]


def made_in_the_code(net: Any, x: Tensor) -> Tensor:
    """Constants are made by the code, by functions and by numbers; they are dropped by themselves."""
    mask = torch.ones(x.shape[0], 1, x.shape[2], x.shape[3]).tril()
    first = net.one(x) * mask
    weights = torch.tensor([0.5] * x.shape[3])
    second = net.two(first * weights + torch.arange(x.shape[3]).float())
    out = net.four(torch.cat([second, net.three(second)], 1))
    return net.head(out.mean((2, 3)))  # type: ignore[no-any-return]


def depthwise() -> nn.Module:
    """An inverted residual, a strided convolution, one that is transposed, and norms."""
    return nn.Sequential(
        nn.Conv2d(3, 10, 3, stride=2, padding=1), nn.BatchNorm2d(10), nn.Hardswish(inplace=True),
        nn.Conv2d(10, 22, 1), nn.Conv2d(22, 22, 3, padding=1, groups=22), nn.BatchNorm2d(22), nn.ReLU6(),
        nn.Conv2d(22, 13, 1), nn.GroupNorm(1, 13), nn.ConvTranspose2d(13, 9, 2, stride=2),
        nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 4),
    )  # fmt: skip


class Attention(nn.Module):
    """Tokens of 24 features through attention, a gated block and a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(30, 24), nn.LayerNorm(24)
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.gate, self.up, self.down = nn.Linear(24, 40), nn.Linear(24, 40), nn.Linear(40, 24)
        self.again = nn.MultiheadAttention(24, 4, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) in, (batch, length, 5) out."""
        x = self.words(tokens)
        q, k, v = self.qkv(self.norm(x)).reshape(*x.shape[:2], 3, 4, 6).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        x = x + self.again(x, x, x)[0]
        out: Tensor = self.head(x.softmax(-1))
        return out


def _maps(body: Callable[[Any, Tensor], Any]) -> Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]:
    return lambda: (Forward(body).eval(), (torch.randn(2, 3, 12, 12),))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    **{
        body.__name__: _maps(body)
        for body in (
            kept_in_a_local, deleted, views, in_place, residual, several_outputs, loop, made_in_the_code,
        )
    },
    "depthwise": lambda: (depthwise().eval(), (torch.randn(2, 3, 16, 16),)),
    "attention": lambda: (Attention().eval(), (torch.arange(18).reshape(2, 9),)),
}  # fmt: skip
