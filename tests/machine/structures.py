"""Networks whose structure is edited, and what must hold of them afterwards."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from naivegraph.graph import input_node, layer
from naivegraph.network import Graph, capture


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.one = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.two = nn.Conv2d(6, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.two(self.act(self.norm(self.one(x))))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Branches(nn.Module):
    """Three branches, concatenated; one of them is summed with the stem, too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 3)
        self.a = nn.Linear(3, 2)
        self.b = nn.Linear(3, 3)
        self.c = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(9)
        self.out = nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        both = torch.cat([self.a(x), self.b(x) + x, self.c(x)], 1)
        out: Tensor = self.out(torch.relu(self.norm(both)))
        return out


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        batch, length, size = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, length, 3, 2, size // 2).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + self.out(mixed.reshape(batch, length, size))
        out: Tensor = self.head(x.mean(1))
        return out


class InPlace(nn.Module):
    """One ReLU, which works in place, used three times; a sum in place; a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.c = nn.Conv2d(12, 4, 1)
        self.head = nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.act(self.norm(self.b(x)))
        z = x + y
        z += y
        z = self.act(z)
        q = self.act(self.c(torch.cat([z, y], 1)))
        out: Tensor = self.head(q.flatten(1))
        return out


def attention() -> Graph:
    torch.manual_seed(0)
    return capture(Attention().eval(), torch.randn(2, 5, 4))


def in_place() -> Graph:
    torch.manual_seed(0)
    return capture(lively(InPlace().eval()), torch.randn(2, 3, 3, 3))


def residual() -> Graph:
    torch.manual_seed(0)
    return capture(lively(Residual().eval()), torch.randn(2, 3, 5, 5))


def branches() -> Graph:
    torch.manual_seed(0)
    return capture(lively(Branches().eval()), torch.randn(2, 4))


def chain() -> Graph:
    torch.manual_seed(0)
    x = input_node("x", 4)
    first = layer(nn.Linear(4, 8), x, name="first")
    second = layer(nn.Linear(8, 6), first, name="second")
    return Graph([x], [layer(nn.Linear(6, 3), second.then(nn.ReLU(), name="act"), name="last")])


def lively(module: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, so that mixed-up neurons show."""
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) and norm.running_mean is not None:
            norm.running_mean.normal_()
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module


def batch(graph: Graph) -> Tensor:
    (example,) = graph.example.values()
    return torch.randn(3, *example.shape[1:], generator=torch.Generator().manual_seed(1))


def everything(graph: Graph) -> list[Any]:
    """All that an edit can change, in a form which compares bit for bit."""
    module = graph.module
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return [
        {name: (id(t), t.detach().clone().numpy().tobytes(), tuple(t.shape)) for name, t in tensors.items()},
        {name: (id(m), repr(m), m.training) for name, m in module.named_modules()},
        [(v.name, v.kind, id(v.target), repr(v.args), repr(v.kwargs), repr(v.output)) for v in graph],
        [[(o.func, repr(o.args), repr(o.outputs)) for o in v.operations] for v in graph],
        repr(graph.output), dict(graph.state), graph.rewired,
    ]  # fmt: skip


def check(graph: Graph) -> Tensor:
    """The graph is sound, runs, trains, exports and copies alike."""
    graph.lint()
    x = batch(graph)
    out: Tensor = graph(x)
    module = graph.to_module()
    assert torch.equal(module(x), out)
    assert torch.equal(copy.deepcopy(graph)(x), out)
    module(x).sum().backward()
    used = {name for name, p in module.named_parameters() if p.grad is not None}
    assert used
    for vertex in graph:
        target = vertex.target
        if isinstance(target, nn.Linear):
            assert (target.out_features, target.in_features) == tuple(target.weight.shape)
    return out
