"""Vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.utils import parametrizations as P
from torch.nn.utils.prune import l1_unstructured

from tests.operators.table import Entry, Table, entries, fn, par

__all__ = ["ROWS"]


def setslice(x: Tensor) -> Any:
    y = x.new_zeros(len(x), x.shape[1])
    y[:, :5] = x[:, 7:]
    y[:, 5:] = x[:, :7] * 2
    return y


def cells(x: Tensor, s: Any) -> Any:
    h = torch.zeros(len(x), s.m[0].hidden_size, dtype=x.dtype)
    c = torch.zeros(len(x), s.m[0].hidden_size, dtype=x.dtype)
    for _ in range(3):
        h, c = s.m[0](x, (h, c))
    return h


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Any:
        return w.triu() + w.triu(1).transpose(-1, -2)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.randn(()))

    def forward(self, w: Tensor) -> Any:
        return w * self.g


class Lora(nn.Module):
    def __init__(self, o: int, i: int, r: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(r, i))
        self.b = nn.Parameter(torch.randn(o, r))

    def forward(self, w: Tensor) -> Any:
        return w + self.b @ self.a


class Positive(nn.Module):
    def forward(self, w: Tensor) -> Any:
        return w.square()


class Masked(nn.Module):
    def __init__(self, o: int, i: int) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.rand(o, i) > 0.3).float())

    def forward(self, w: Tensor) -> Any:
        return w * self.get_buffer("mask")


class LoraLinear(nn.Linear):
    def __init__(self, i: int, o: int) -> None:
        super().__init__(i, o)
        self.a = nn.Linear(i, 4, bias=False)
        self.b = nn.Linear(4, o, bias=False)

    def forward(self, x: Tensor) -> Any:
        return F.linear(x, self.weight, self.bias) + self.b(self.a(x))


class MoE(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d, 3)
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, d)) for _ in range(3)]
        )

    def forward(self, x: Tensor) -> Any:
        w, chosen = self.gate(x).softmax(-1).topk(2)
        out = torch.zeros_like(x)
        mask = F.one_hot(chosen, 3).permute(2, 1, 0)
        for e, expert in enumerate(self.experts):
            k, t = torch.where(mask[e])
            out.index_add_(0, t, expert(x[t]) * w[t, k, None])
        return out


class MoEDense(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d, 3)
        self.up = nn.Parameter(torch.randn(3, d, 16))
        self.down = nn.Parameter(torch.randn(3, 16, d))

    def forward(self, x: Tensor) -> Any:
        y = torch.einsum("bd,edh->beh", x, self.up).relu()
        y = torch.einsum("beh,ehd->bed", y, self.down)
        return (y * self.gate(x).softmax(-1)[..., None]).sum(1)


def setrow(x: Tensor) -> Any:
    x = x.clone()
    x[0] = x[1] * 2
    return x


def rope(x: Tensor) -> Any:
    z = torch.view_as_complex(x.reshape(3, -1, 2))
    f = torch.polar(torch.ones(6).to(x), torch.arange(6).to(x))
    return torch.view_as_real(z * f).flatten(1)


class Ensemble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 10, 12))

    def forward(self, x: Tensor) -> Any:
        return torch.vmap(F.linear, (None, 0))(x, self.w).mean(0)


_VECTORS: Table = {
    "chunk uneven": (
        "works with sizes of its own",
        fn(lambda x: torch.cat([y.relu() for y in F.pad(x, (0, 1)).chunk(4, 1)], 1)),
    ),
    "chunk fewer": ("works with sizes of its own", fn(lambda x: x.chunk(5, 1)[3])),
    "parts of a state": (
        "free",
        fn(lambda x, s: s.m[0](x[:, None])[0][:, 0], nn.GRU(12, 8, batch_first=True)),
    ),
    "bucketized": ("free", fn(lambda x: x * torch.bucketize(x, torch.zeros(2).to(x)))),
    "setitem slice": ("its size is written as 5", fn(lambda x: setslice(x))),
    "Bilinear": ("free", fn(lambda x, s: s.m[0](x, x), nn.Bilinear(12, 12, 9))),
    "Bilinear two": (
        "its size is written as 5",
        fn(lambda x, s: s.m[0](x[:, :5], x[:, 5:]), nn.Bilinear(5, 7, 9)),
    ),
    "RMSNorm": ("norm", lambda: nn.RMSNorm(12)),
    "GLU": ("free", lambda: nn.GLU()),
    "CosineSimilarity": ("norm", fn(lambda x: x * F.cosine_similarity(x, x + 1, -1)[:, None])),
    "PairwiseDistance": ("norm", fn(lambda x: x * F.pairwise_distance(x, x.relu())[:, None])),
    "cdist": ("free", fn(lambda x: torch.cdist(x, x))),
    "cdist prototypes": ("free", fn(lambda x, s: torch.cdist(x, s.w), w=torch.randn(7, 12))),
    "pdist": ("norm", fn(lambda x: F.pdist(x)[None].expand(3, -1))),
    "cosine head": (
        "norm",
        fn(lambda x, s: F.linear(F.normalize(x), F.normalize(s.w)), w=torch.randn(7, 12)),
    ),
    "LSTMCell": ("free", fn(lambda x, s: s.m[0](x)[0], nn.LSTMCell(12, 8))),
    "GRUCell": ("free", fn(lambda x, s: s.m[0](x), nn.GRUCell(12, 8))),
    "RNNCell": ("free", fn(lambda x, s: s.m[0](x), nn.RNNCell(12, 8))),
    "LSTMCell loop": ("free", fn(lambda x, s: cells(x, s), nn.LSTMCell(12, 8))),
    "weight_norm": ("norm", lambda: P.weight_norm(nn.Linear(12, 10))),
    "weight_norm old": ("norm", lambda: nn.utils.weight_norm(nn.Linear(12, 10))),
    "spectral_norm": ("free", lambda: P.spectral_norm(nn.Linear(12, 10))),
    "orthogonal": ("factors of a matrix", lambda: P.orthogonal(nn.Linear(12, 12))),
    "parametrize symmetric": ("free", lambda: par(nn.Linear(12, 12), Symmetric())),
    "parametrize scaled": ("free", lambda: par(nn.Linear(12, 10), Scaled())),
    "parametrize lora": ("free", lambda: par(nn.Linear(12, 10), Lora(10, 12, 4))),
    "parametrize positive": ("free", lambda: par(nn.Linear(12, 10), Positive())),
    "parametrize masked": ("free", lambda: par(nn.Linear(12, 10), Masked(10, 12))),
    "parametrize bias": ("free", lambda: par(nn.Linear(12, 10), Positive(), "bias")),
    "torch.nn.utils.prune": (
        "free",
        lambda: l1_unstructured(nn.Linear(12, 10), "weight", 0.3),  # type: ignore[no-untyped-call]
    ),
    "lora": ("free", lambda: LoraLinear(12, 10)),
    "moe": ("free", lambda: MoE(12)),
    "moe dense": ("free", lambda: MoEDense(12)),
    "vq": ("free", fn(lambda x, s: s.w[torch.cdist(x, s.w).argmin(-1)], w=torch.randn(7, 12))),
    "highway": (
        "free",
        fn(
            lambda x, s: s.m[0](x).relu() * s.m[1](x).sigmoid() + x * (1 - s.m[1](x).sigmoid()),
            nn.Linear(12, 12),
            nn.Linear(12, 12),
        ),
    ),
    "scatter_add rows": (
        "free",
        fn(
            lambda x: torch.zeros(2, x.shape[1], dtype=x.dtype).index_add(0, torch.tensor([0, 1, 0]), x)[
                [0, 1, 1]
            ]
        ),
    ),
    "scatter_add expand": (
        "free",
        fn(
            lambda x: torch.zeros(2, x.shape[1], dtype=x.dtype).scatter_add(
                0, torch.tensor([0, 1, 0])[:, None].expand(-1, x.shape[1]), x
            )[[0, 1, 1]]
        ),
    ),
    "scatter_reduce": (
        "free",
        fn(
            lambda x: torch.zeros(2, x.shape[1], dtype=x.dtype).scatter_reduce(
                0, torch.tensor([0, 1, 0])[:, None].expand_as(x), x, "amax"
            )[[0, 1, 1]]
        ),
    ),
    "index_copy": ("free", fn(lambda x: torch.zeros_like(x).index_copy(0, torch.tensor([2, 0, 1]), x))),
    "index_put": ("free", fn(lambda x: torch.zeros_like(x).index_put((torch.tensor([2, 0, 1]),), x))),
    "index_fill": ("free", fn(lambda x: x.index_fill(0, torch.tensor([1]), 0.0))),
    "setitem row": ("free", fn(lambda x: setrow(x))),
    "masked_scatter": (
        "indexed across dimensions",
        fn(lambda x: torch.zeros_like(x).masked_scatter(torch.ones_like(x, dtype=torch.bool), x)),
    ),
    "boolean rows": ("free", fn(lambda x: torch.cat([x[torch.tensor([True, False, True])], x[:1]]))),
    "masked_select": (
        "its values decide what is computed",
        fn(lambda x: x.masked_select(x > 0)[:3].expand(3, 3)),
    ),
    "graph conv": (
        "free",
        fn(
            lambda x, s: torch.zeros_like(s.m[0](x)).index_add(
                0, torch.tensor([0, 1, 2, 2]), s.m[0](x)[torch.tensor([1, 2, 0, 1])]
            ),
            nn.Linear(12, 10),
        ),
    ),
    "topk": ("the order of its indices matters (topk)", fn(lambda x: x * (x >= x.topk(3).values[:, -1:]))),
    "kthvalue": (
        "the order of its indices matters (kthvalue)",
        fn(lambda x: x - x.kthvalue(3, keepdim=True).values),
    ),
    "median": ("norm", fn(lambda x: x - x.median(-1, keepdim=True).values)),
    "fake quant": (
        "free",
        fn(lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 0, -128, 127).to(x.dtype)),
    ),
    "inv": ("free", fn(lambda x: torch.linalg.inv(torch.eye(3).to(x) * 5 + x @ x.t()) @ x)),
    "det": ("free", fn(lambda x: x * torch.linalg.det(x @ x.t() / 50))),
    "cholesky": ("free", fn(lambda x: torch.linalg.cholesky(x @ x.t() + torch.eye(3).to(x)) @ x)),
    "complex": ("free", fn(lambda x: torch.complex(x, x.relu()).abs())),
    "view_as_complex": (
        "free",
        fn(lambda x: torch.view_as_real(torch.view_as_complex(x.view(3, -1, 2)) * 1j).flatten(1)),
    ),
    "polar": ("free", fn(lambda x: torch.polar(x.abs(), x).real)),
    "rope complex": ("positions counted", fn(lambda x: rope(x))),
    "vmap": ("free", fn(lambda x: torch.vmap(lambda r: r * r.sum())(x))),
    "vmap linear": ("its size is written as 1", fn(lambda x, s: torch.vmap(s.m[0])(x), nn.Linear(12, 10))),
    "func ensemble": ("its size is written as 12", lambda: Ensemble()),
    "einsum diag": ("free", fn(lambda x: torch.einsum("bi,bi->b", x, x)[:, None] * x)),
    "einsum bilinear": (
        "free",
        fn(lambda x, s: torch.einsum("bi,oij,bj->bo", x, s.w, x), w=torch.randn(7, 12, 12)),
    ),
    "tensordot": ("free", fn(lambda x, s: torch.tensordot(x, s.w, ([1], [0])), w=torch.randn(12, 7))),
    "chain_matmul": (
        "free",
        fn(lambda x, s: torch.linalg.multi_dot([x, s.w, s.v]), w=torch.randn(12, 7), v=torch.randn(7, 5)),
    ),
    "kron": ("free", fn(lambda x, s: x @ torch.kron(s.w, s.v), w=torch.randn(3, 4), v=torch.randn(4, 3))),
    "cross": ("free", fn(lambda x: torch.linalg.cross(x.view(3, -1, 3), x.view(3, -1, 3) + 1).flatten(1))),
    "cumprod": ("the order of its indices matters (cumprod)", fn(lambda x: x.cumprod(-1))),
    "repeat_interleave": ("free", fn(lambda x: x.repeat_interleave(2, -1))),
    "unbind": ("single indices are taken", fn(lambda x: sum(x.unbind(-1))[:, None] * x)),
    "take": ("indexed across dimensions", fn(lambda x: x.take(torch.tensor([[0, 1], [2, 3], [4, 5]])))),
    "select_scatter": ("free", fn(lambda x: x.select_scatter(x[0] * 2, 0, 1))),
    "slice_scatter": ("written to by index", fn(lambda x: x.slice_scatter(x[:, :3] * 2, 1, 0, 3))),
    "diagonal_scatter": ("indexed across dimensions", fn(lambda x: x.diagonal_scatter(torch.zeros(3).to(x)))),
    "as_strided": ("operator aten.as_strided has no rule", fn(lambda x: x.as_strided((3, 6), (12, 2)))),
    "as_strided to its size": (
        "works with sizes of its own",
        fn(lambda x: x.as_strided((3, 12), (12, 1))),
    ),
    "renorm": ("free", fn(lambda x: x.renorm(2, 0, 1.0))),
    "nll": (
        "classes are looked up by index",
        fn(lambda x: x * F.nll_loss(x.log_softmax(-1), torch.tensor([0, 1, 2]))),
    ),
    "mse": ("norm", fn(lambda x: x * F.mse_loss(x, x * 2))),
    "bce": ("norm", fn(lambda x: x * F.binary_cross_entropy_with_logits(x, (x > 0).to(x)))),
    "AdaptiveLogSoftmax": (
        "free",
        fn(lambda x, s: s.m[0].log_prob(x), nn.AdaptiveLogSoftmaxWithLoss(12, 10, [4, 7], 2.0)),
    ),
    "embedding_bag offsets": (
        "free",
        fn(lambda x, s: x + s.m[0](torch.tensor([[0, 1], [2, 3], [4, 4]])), nn.EmbeddingBag(5, 12)),
    ),
    "embedding_bag sum": (
        "free",
        fn(
            lambda x, s: x + s.m[0](torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2, 3])),
            nn.EmbeddingBag(5, 12, mode="sum"),
        ),
    ),
    "embedding_bag max": (
        "free",
        fn(
            lambda x, s: x + s.m[0](torch.tensor([[0, 1], [2, 3], [4, 4]])),
            nn.EmbeddingBag(5, 12, mode="max"),
        ),
    ),
    "embedding max_norm": (
        "free",
        fn(lambda x, s: x + s.m[0](torch.tensor([0, 1, 2])), nn.Embedding(5, 12, max_norm=1.0)),
    ),
    "bucketize embedding": (
        "free",
        fn(
            lambda x, s: s.m[0](torch.bucketize(x, torch.linspace(-1, 1, 4).to(x))).flatten(1),
            nn.Embedding(5, 3),
        ),
    ),
    "kan": (
        "free",
        fn(
            lambda x, s: torch.einsum("bik,oik->bo", torch.stack([x, x.square(), x.sin()], -1), s.w),
            w=torch.randn(7, 12, 3),
        ),
    ),
    "rbf": ("norm", fn(lambda x, s: (-(x[:, None] - s.w).square().sum(-1)).exp(), w=torch.randn(7, 12))),
    "floor_divide": ("free", fn(lambda x: x // 2)),
    "tolist": ("a constant of the network's code", fn(lambda x: x * torch.tensor([1.0] * x.shape[1]).to(x))),
    "one_hot": (
        "the place of a maximum is used",
        fn(lambda x: F.one_hot(x.argmax(-1), x.shape[1]).to(x.dtype)),
    ),
    "histc": ("its values decide what is computed", fn(lambda x: x + torch.histc(x, 5)[0])),
}

ROWS: list[Entry] = [
    *entries(_VECTORS, lambda: nn.Linear(6, 12), lambda: nn.LazyLinear(4), (3, 6)),
]
