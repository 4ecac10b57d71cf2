"""Small networks around torch's own attention, and attention whose inner width must follow the outer one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NETWORKS", "HeadsOfWidth", "Multihead"]


class Multihead(nn.Module):
    """torch's own attention layer on its own tokens, in the form that `layer` and `call` say."""

    def __init__(self, call: dict[str, Any] | None = None, **layer: Any) -> None:
        super().__init__()
        self.embed, self.attention = nn.Linear(6, 16), nn.MultiheadAttention(16, 4, **layer)
        self.up, self.head = nn.Linear(16, 20), nn.Linear(20, 4)
        self.call = call or {}

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(x, x, x, **self.call)[0]
        return self.head(F.relu(self.up(x)))  # type: ignore[no-any-return]


class Crossing(nn.Module):
    """torch's attention from one sequence to others, which have sizes of their own."""

    def __init__(self, key: int | None = None, value: int | None = None, **layer: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, kdim=key, vdim=value, **layer)
        self.q, self.k, self.v = nn.Linear(6, 16), nn.Linear(6, key or 16), nn.Linear(6, value or 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        out, _ = self.attention(q, k, v, average_attn_weights=False)
        return self.head(out + q)  # type: ignore[no-any-return]


class HeadsOfWidth(nn.Module):
    """Heads are its input's width divided, and put together to that width again, as in Swin or CaiT."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.embed, self.qkv, self.proj = nn.Linear(6, 16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)

    def attend(self, x: Tensor) -> Tensor:
        batch, length, size = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, size // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(x.transpose(1, 2).reshape(batch, length, size))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(x + self.attend(x))  # type: ignore[no-any-return]


class ClassToken(HeadsOfWidth):
    """One query for all tokens, with its size checked and put together as one row."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.size = 16
        del self.qkv

    def attend(self, x: Tensor) -> Tensor:
        batch, length, size = x.shape
        if size != self.size or size % self.heads:
            raise ValueError("another size than the layer was made for")
        q = self.q(x[:, 0]).unsqueeze(1).reshape(batch, 1, self.heads, size // self.heads).transpose(1, 2)
        k, v = (
            f(x).reshape(batch, length, self.heads, size // self.heads).transpose(1, 2)
            for f in (self.k, self.v)
        )
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, 1, size))  # type: ignore[no-any-return]


def _multihead(call: dict[str, Any] | None = None, **layer: Any) -> Callable[[], nn.Module]:
    return lambda: Multihead(call, **layer)


def _tokens() -> tuple[Tensor, ...]:
    return (torch.randn(2, 5, 6),)


_QUIET = {"need_weights": False}
_CAUSAL = {"attn_mask": torch.ones(5, 5).triu(1) > 0, "is_causal": True, **_QUIET}
Entry = tuple[str, Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]
NETWORKS: list[Entry] = [
    ("Multihead", _multihead(_QUIET, batch_first=True, dropout=0.1), _tokens),
    ("Multihead with weights", _multihead(dropout=0.1), _tokens),
    ("Multihead masked", _multihead(_CAUSAL, batch_first=True), _tokens),
    ("Multihead padded", _multihead({"key_padding_mask": torch.eye(5)[:2] > 0}, batch_first=True), _tokens),
    ("Multihead with more keys", _multihead(_QUIET, add_bias_kv=True, add_zero_attn=True), _tokens),
    ("Multihead without bias", _multihead(_QUIET, bias=False), lambda: (torch.randn(5, 6),)),
    ("Crossing", lambda: Crossing(8, 10, batch_first=True), _tokens),
    ("Crossing same sizes", Crossing, _tokens),
    ("HeadsOfWidth", HeadsOfWidth, _tokens),
    ("ClassToken", ClassToken, _tokens),
]
