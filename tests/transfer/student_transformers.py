"""Small transformers for students and teachers, of torch alone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Decoder", "Encoder"]


class _Layer(nn.Module):
    """Attention and a feed-forward layer, each on a residual stream, normed before (or after) each."""

    def __init__(self, width: int, heads: int, groups: int, size: int, hidden: int, *, post: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, heads * size)
        self.key, self.value = nn.Linear(width, groups * size), nn.Linear(width, groups * size)
        self.out = nn.Linear(heads * size, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.size, self.post = size, post

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Mix tokens; several heads may share keys and values."""
        query, key, value = (
            layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, enable_gqa=query.shape[1] != key.shape[1])
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.post:
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.down(F.gelu(self.up(x))))  # type: ignore[no-any-return]
        x = x + self.attention(self.norm1(x))
        out: torch.Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return out


class Encoder(nn.Module):
    """Patches of an image, or (post-norm) any vectors, in a stream with a class token."""

    def __init__(
        self, depth: int, *, width: int = 12, heads: int = 3, hidden: int = 16, post: bool = False
    ) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(6, width), nn.Parameter(torch.randn(1, 1, width))
        layers = [_Layer(width, heads, heads, 4, hidden, post=post) for _ in range(depth)]
        self.layers, self.norm, self.head = nn.ModuleList(layers), nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Tokens, with two groups of keys and values for four heads, and a head over the vocabulary."""

    def __init__(self, depth: int, *, width: int = 16, hidden: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.layers = nn.ModuleList([_Layer(width, 4, 2, 4, hidden, post=False) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 20)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]
