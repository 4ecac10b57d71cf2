"""Small networks on sequences: attention in its many forms, gated units, embeddings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NETWORKS"]


class FusedAttention(nn.Module):
    """One projection for query, key and value, taken apart by a view, as in timm."""

    def __init__(self, size: int = 24, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, size // heads
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.scale = self.head_dim**-0.5

    def forward(self, x: Tensor) -> Tensor:
        batch, length, size = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)
        x = (weights @ v).transpose(1, 2).reshape(batch, length, size)
        return self.proj(x)  # type: ignore[no-any-return]


@dataclasses.dataclass
class Config:
    heads: int = 3
    size: int = 24


class SeparateAttention(nn.Module):
    """Three projections, sizes from a config, as in transformers; the fused operator with its own scale."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config()
        self.query, self.key, self.value = (nn.Linear(24, 24) for _ in range(3))
        self.out = nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], -1, self.config.size // self.config.heads)
        q, k, v = (f(x).view(shape).transpose(1, 2) for f in (self.query, self.key, self.value))
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out(x.transpose(1, 2).reshape(*shape[:2], -1).contiguous())  # type: ignore[no-any-return]


class RotaryGrouped(nn.Module):
    """Grouped-query attention with repeated keys, and rotary positions on halves, as in Llama."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.groups, self.head_dim = 6, 2, 8
        self.q = nn.Linear(20, 48, bias=False)
        self.k, self.v = nn.Linear(20, 16, bias=False), nn.Linear(20, 16, bias=False)
        self.o = nn.Linear(48, 20, bias=False)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return x * cos + torch.cat([-second, first], -1) * sin

    def repeat(self, x: Tensor) -> Tensor:
        batch, groups, length, size = x.shape
        repeats = self.heads // self.groups
        x = x[:, :, None].expand(batch, groups, repeats, length, size)
        return x.reshape(batch, groups * repeats, length, size)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        angles = torch.arange(length, dtype=x.dtype)[:, None] * torch.ones(4, dtype=x.dtype)
        angles = torch.cat([angles, angles], -1)
        q = self.q(x).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        k = self.k(x).view(batch, length, self.groups, self.head_dim).transpose(1, 2)
        v = self.v(x).view(batch, length, self.groups, self.head_dim).transpose(1, 2)
        q, k = self.rotate(q, angles.cos(), angles.sin()), self.rotate(k, angles.cos(), angles.sin())
        k, v = self.repeat(k), self.repeat(v)
        weights = (q @ k.transpose(2, 3) * self.head_dim**-0.5).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm transformer block with a head on the first token and a table of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 24)
        self.position = nn.Parameter(torch.randn(1, 6, 24))
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(24), FusedAttention(), nn.LayerNorm(24)
        self.up, self.down = nn.Linear(24, 32), nn.Linear(32, 24)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1) + self.position
        x = x + self.attention(self.norm1(x))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm(x)[:, 0])  # type: ignore[no-any-return]


class Gated(nn.Module):
    """A gated unit whose halves come from one projection."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.head = nn.Linear(8, 36), nn.Linear(18, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.head(x + self.down(F.silu(gate) * value))  # type: ignore[no-any-return]


class TiedEmbeddings(nn.Module):
    """The table of words is the weight of the last layer too; positions come from a second table."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 16), nn.Embedding(8, 16)
        self.up, self.down = nn.Linear(16, 28), nn.Linear(28, 16)
        self.decode = nn.Linear(16, 11, bias=False)
        self.decode.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        x = x + self.down(F.relu(self.up(x)))
        return self.decode(x * math.sqrt(2))  # type: ignore[no-any-return]


def tokens() -> tuple[Tensor, ...]:
    return (torch.randn(2, 5, 24),)


Entry = tuple[str, Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]
NETWORKS: list[Entry] = [
    ("FusedAttention", FusedAttention, tokens),
    ("SeparateAttention", SeparateAttention, tokens),
    ("RotaryGrouped", RotaryGrouped, lambda: (torch.randn(2, 5, 20),)),
    ("Block", Block, lambda: (torch.randn(2, 5, 6),)),
    ("Gated", Gated, lambda: (torch.randn(3, 8),)),
    ("TiedEmbeddings", TiedEmbeddings, lambda: (torch.randint(0, 11, (2, 6)),)),
]
