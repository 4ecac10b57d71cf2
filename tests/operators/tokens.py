"""Sequences."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from tests.operators.table import Entry, Table, entries, fn

__all__ = ["ROWS"]


def packed(x: Tensor, s: Any) -> Any:
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    y, _ = s.m[0](pack_padded_sequence(x, [5, 3], batch_first=True))
    return pad_packed_sequence(y, batch_first=True)[0]


def sdpa(x: Tensor, s: Any, **k: Any) -> Any:
    return back(F.scaled_dot_product_attention(*qkv(x, s), **k))


def qkv(x: Tensor, s: Any, h: int = 3) -> Any:
    return s.m[0](x).reshape(len(x), x.shape[1], 3, h, -1).permute(2, 0, 3, 1, 4)


def back(x: Tensor) -> Any:
    return x.transpose(1, 2).flatten(2)


class RelPos(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = nn.ModuleList([nn.Linear(12, 36)])
        self.t = nn.Parameter(torch.randn(9, 3))
        self.register_buffer("i", (torch.arange(5)[:, None] - torch.arange(5)[None]) + 4)

    def forward(self, x: Tensor) -> Any:
        return sdpa(
            x, self, attn_mask=self.t[self.get_buffer("i").view(-1)].view(5, 5, -1).permute(2, 0, 1)[None]
        )


def alibi(x: Tensor) -> Any:
    return (
        -torch.arange(5)[None, :].sub(torch.arange(5)[:, None]).abs()
        * torch.tensor([0.5, 0.25, 0.125])[:, None, None]
    ).to(x)


class T5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = nn.ModuleList([nn.Linear(12, 36)])
        self.t = nn.Embedding(9, 3)

    def forward(self, x: Tensor) -> Any:
        i = (torch.arange(5)[:, None] - torch.arange(5)[None]) + 4
        q, k, v = qkv(x, self)
        return back((q @ k.transpose(-1, -2) + self.t(i).permute(2, 0, 1)[None]).softmax(-1) @ v)


def linatt(x: Tensor, s: Any) -> Any:
    q, k, v = qkv(x, s)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return back(q @ (k.transpose(-1, -2) @ v) / (q @ k.sum(2).unsqueeze(-1)))


def ret(x: Tensor, s: Any) -> Any:
    q, k, v = qkv(x, s)
    d = torch.ones(5, 5).tril().to(x)
    return back((q @ k.transpose(-1, -2) * d) @ v)


class MLA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(12, 18)
        self.down = nn.Linear(12, 5 + 2)
        self.up = nn.Linear(5, 3 * (4 + 4))
        self.o = nn.Linear(12, 12)
        self.norm = nn.RMSNorm(5)

    def forward(self, x: Tensor) -> Any:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, 3, 6).transpose(1, 2)
        c, kr = self.down(x).split([5, 2], -1)
        kv = self.up(self.norm(c)).view(b, n, 3, 8).transpose(1, 2)
        kn, v = kv.split([4, 4], -1)
        k = torch.cat([kn, kr[:, None].expand(-1, 3, -1, -1)], -1)
        return self.o(back((q @ k.transpose(-1, -2) * 6**-0.5).softmax(-1) @ v))


class GMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(12, 16)
        self.norm = nn.LayerNorm(8)
        self.sp = nn.Conv1d(5, 5, 1)
        self.down = nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Any:
        u, v = self.up(x).chunk(2, -1)
        return x + self.down(u * self.sp(self.norm(v)))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 8)
        self.b = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return x + self.b(F.gelu(self.a(x.transpose(1, 2)))).transpose(1, 2)


def rot(x: Tensor) -> Any:
    a, b = x[..., ::2], x[..., 1::2]
    f = torch.arange(5)[:, None].to(x)
    return torch.stack([a * f.cos() - b * f.sin(), a * f.sin() + b * f.cos()], -1).flatten(-2)


def sinus(n: int, d: int) -> Any:
    p = torch.arange(n)[:, None] * torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
    out = torch.zeros(n, d)
    out[:, 0::2] = p.sin()
    out[:, 1::2] = p.cos()
    return out


def cosatt(x: Tensor, s: Any) -> Any:
    q, k, v = qkv(x, s)
    return back((F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)).softmax(-1) @ v)


def talk(x: Tensor, s: Any) -> Any:
    q, k, v = qkv(x, s)
    a = s.m[1]((q @ k.transpose(-1, -2)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
    return back(a @ v)


def qkn(x: Tensor, s: Any) -> Any:
    q, k, v = qkv(x, s)
    return back(F.scaled_dot_product_attention(s.m[1](q), s.m[1](k), v))


def xca(x: Tensor, s: Any) -> Any:
    q, k, v = qkv(x, s)
    q, k, v = (t.transpose(-1, -2) for t in (q, k, v))
    a = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)).softmax(-1)
    return (a @ v).permute(0, 3, 1, 2).flatten(2)


def mqa(x: Tensor, s: Any) -> Any:
    q = s.m[0](x).view(2, 5, 3, 4).transpose(1, 2)
    k, v = s.m[1](x)[:, None], s.m[2](x)[:, None]
    return back((q @ k.transpose(-1, -2)).softmax(-1) @ v)


_TOKENS: Table = {
    "LSTM proj": ("free", fn(lambda x, s: s.m[0](x)[0], nn.LSTM(12, 30, batch_first=True, proj_size=5))),
    "LSTM proj bi": (
        "free",
        fn(
            lambda x, s: s.m[0](x)[0],
            nn.LSTM(12, 30, batch_first=True, proj_size=5, bidirectional=True, num_layers=2),
        ),
    ),
    "LSTM state given": (
        "free",
        fn(
            lambda x, s: s.m[0](x, (torch.zeros(1, 2, 8).to(x), torch.zeros(1, 2, 8).to(x)))[0],
            nn.LSTM(12, 8, batch_first=True),
        ),
    ),
    "LSTM last state": ("free", fn(lambda x, s: s.m[0](x)[1][0][-1], nn.LSTM(12, 8, batch_first=True))),
    "GRU packed": ("free", fn(lambda x, s: packed(x, s), nn.GRU(12, 8, batch_first=True))),
    "RNN relu": ("free", fn(lambda x, s: s.m[0](x)[0], nn.RNN(12, 8, nonlinearity="relu", batch_first=True))),
    "MultiheadAttention": (
        "free",
        fn(lambda x, s: s.m[0](x, x, x)[0], nn.MultiheadAttention(12, 3, batch_first=True)),
    ),
    "TransformerEncoderLayer": ("norm", lambda: nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)),
    "TransformerDecoderLayer": (
        "norm",
        fn(lambda x, s: s.m[0](x, x), nn.TransformerDecoderLayer(12, 3, 20, batch_first=True)),
    ),
    "sdpa mask": (
        "free",
        fn(lambda x, s: sdpa(x, s, attn_mask=torch.ones(5, 5, dtype=torch.bool).tril()), nn.Linear(12, 36)),
    ),
    "sdpa bias": ("free", lambda: RelPos()),
    "alibi": ("free", fn(lambda x, s: sdpa(x, s, attn_mask=alibi(x)), nn.Linear(12, 36))),
    "t5 bias": ("free", lambda: T5()),
    "linear attention": ("free", fn(lambda x, s: linatt(x, s), nn.Linear(12, 36))),
    "retention": ("free", fn(lambda x, s: ret(x, s), nn.Linear(12, 36))),
    "latent attention": ("free", lambda: MLA()),
    "performer": (
        "free",
        fn(
            lambda x, s: F.softplus(x @ s.w) @ (F.softplus(x @ s.w).transpose(1, 2) @ x), w=torch.randn(12, 7)
        ),
    ),
    "fnet": ("a Fourier transform runs over it", fn(lambda x: torch.fft.fft2(x, dim=(-2, -1)).real)),
    "gmlp": ("free", lambda: GMLP()),
    "mixer": ("free", lambda: Mixer()),
    "rwkv": (
        "free",
        fn(
            lambda x, s: s.m[0](x * s.w + F.pad(x, (0, 0, 1, -1)) * (1 - s.w)),
            nn.Linear(12, 10),
            w=torch.rand(12),
        ),
    ),
    "time shift": ("free", fn(lambda x: torch.cat([x.new_zeros(len(x), 1, x.shape[-1]), x[:, :-1]], 1))),
    "last token gather": ("free", fn(lambda x: x[torch.arange(len(x)), torch.tensor([2, 3])])),
    "gather tokens": (
        "free",
        fn(lambda x: x.gather(1, torch.tensor([[0, 1], [2, 3]])[..., None].expand(-1, -1, x.shape[-1]))),
    ),
    "nested loop": (
        "free",
        fn(lambda x, s: torch.stack([s.m[0](x[:, t]) for t in range(x.shape[1])], 1), nn.Linear(12, 10)),
    ),
    "rotary": ("free", fn(lambda x: rot(x))),
    "interp pos": (
        "free",
        fn(
            lambda x, s: x + F.interpolate(s.w, size=5, mode="linear").transpose(1, 2),
            w=torch.randn(1, 12, 8),
        ),
    ),
    "sinusoid": ("positions counted", fn(lambda x: x + sinus(5, 12).to(x))),
    "unfold tokens": ("free", fn(lambda x: x.unfold(1, 3, 1).mean(-1))),
    "hyena": (
        "free",
        fn(
            lambda x, s: torch.fft.irfft(
                torch.fft.rfft(x, n=10, dim=1) * torch.fft.rfft(s.w, n=10, dim=0), n=10, dim=1
            )[:, :5],
            w=torch.randn(5, 12),
        ),
    ),
    "cosine attention": ("free", fn(lambda x, s: cosatt(x, s), nn.Linear(12, 36))),
    "talking heads": ("free", fn(lambda x, s: talk(x, s), nn.Linear(12, 36), nn.Linear(3, 3))),
    "qk norm": ("free", fn(lambda x, s: qkn(x, s), nn.Linear(12, 36), nn.LayerNorm(4))),
    "xca": ("free", fn(lambda x, s: xca(x, s), nn.Linear(12, 36))),
    "mqa": ("free", fn(lambda x, s: mqa(x, s), nn.Linear(12, 12), nn.Linear(12, 4), nn.Linear(12, 4))),
}

ROWS: list[Entry] = [
    *entries(_TOKENS, lambda: nn.Linear(6, 12), lambda: nn.LazyLinear(4), (2, 5, 6)),
]
