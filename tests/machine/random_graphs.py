"""Random small graphs, written by hand or captured: sums, concatenations, groups, attention."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

from naivegraph.graph import call, concat, input_node
from naivegraph.graph.build.nodes import Node
from naivegraph.network import Graph, capture

__all__ = ["Case", "norm_sizes", "random_case"]

SIDE = 4


@dataclasses.dataclass
class Case:
    """A graph, an input for it, what its tensors look like ("flat", "image", "words") and a fresh copy."""

    graph: Graph
    x: Tensor
    look: str
    about: str


class Attention(nn.Module):
    """Self-attention with fused or separate projections, written with live shapes."""

    def __init__(self, size: int, heads: int, head: int, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        inner = heads * head
        if fused:
            self.qkv = nn.Linear(size, 3 * inner)
        else:
            self.q, self.k, self.v = (nn.Linear(size, inner) for _ in range(3))
        self.out = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        if self.fused:
            parts = self.qkv(x).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = parts[0], parts[1], parts[2]
        else:
            q, k, v = (
                p(x).view(batch, length, self.heads, -1).transpose(1, 2) for p in (self.q, self.k, self.v)
            )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        out: Tensor = self.out(mixed.reshape(batch, length, -1))
        return out


class Residual(nn.Module):
    """A layer or block and a skip around it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Dense(nn.Module):
    """What comes in, concatenated with what blocks make of it."""

    def __init__(self, *bodies: nn.Module, dim: int) -> None:
        super().__init__()
        self.bodies, self.dim = nn.ModuleList(bodies), dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(body(x) for body in self.bodies)], self.dim)


class Halves(nn.Module):
    """A gated unit: one half times the sigmoid of the other."""

    def __init__(self, body: nn.Module, dim: int) -> None:
        super().__init__()
        self.body, self.dim = body, dim

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.body(x).chunk(2, self.dim)
        out: Tensor = left * right.sigmoid()
        return out


class Squeeze(nn.Module):
    """Channels weighed by a gate that sees their means."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(size, inner), nn.ReLU(), nn.Linear(inner, size), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.gate(x.mean((2, 3)))[:, :, None, None]
        return out


class Maker:
    """Draws layers and blocks for tensors of one look."""

    def __init__(self, rng: random.Random, look: str) -> None:
        self.rng, self.look = rng, look
        self.dim = 2 if look == "words" else 1

    def size(self) -> int:
        return self.rng.randint(1, 8)

    def mix(self, n: int, m: int) -> nn.Module:
        """A layer that takes n neurons and gives m."""
        if self.look != "image":
            return nn.Linear(n, m, bias=self.rng.random() < 0.8)
        kind = self.rng.choice(["conv", "point", "grouped", "transposed"])
        if kind == "conv":
            return nn.Conv2d(n, m, 3, padding=1)
        if kind == "grouped":
            return nn.Conv2d(n, m, 1, groups=math.gcd(n, m), bias=m % 2 == 0)
        if kind == "transposed":
            return nn.ConvTranspose2d(n, m, 3, padding=1)
        return nn.Conv2d(n, m, 1)

    def norm(self, n: int) -> nn.Module:
        if self.look == "words":
            return nn.LayerNorm(n)
        if self.look == "flat":
            made: nn.Module = self.rng.choice([nn.BatchNorm1d, nn.BatchNorm1d, nn.LayerNorm])(n)
            return made
        if self.rng.random() < 0.25:
            return nn.GroupNorm(math.gcd(n, 2), n)
        return nn.BatchNorm2d(n)

    def act(self) -> nn.Module:
        made: nn.Module = self.rng.choice([nn.ReLU, nn.Tanh, nn.GELU, nn.Identity])()
        return made

    def keep(self, n: int, depth: int = 0) -> nn.Module:
        """A block which gives as many neurons as it takes."""
        kinds = ["two", "two", "residual", "norm", "halves"]
        kinds += {"words": ["attention"] * 3, "image": ["depthwise", "squeeze"], "flat": []}[self.look]
        kind = self.rng.choice(kinds)
        if kind == "residual" and depth < 2:
            return Residual(self.keep(n, depth + 1))
        if kind == "norm":
            return nn.Sequential(self.norm(n), self.act())
        if kind == "halves":
            return Halves(self.mix(n, 2 * n), self.dim)
        if kind == "attention":
            return Attention(n, self.rng.randint(1, 3), self.rng.randint(1, 3), self.rng.random() < 0.5)
        if kind == "depthwise":
            return nn.Sequential(nn.Conv2d(n, n, 3, padding=1, groups=n), nn.Conv2d(n, n, 1))
        if kind == "squeeze":
            return Squeeze(n, self.size())
        inner = self.size()
        return nn.Sequential(self.mix(n, inner), self.act(), self.mix(inner, n))

    def block(self, n: int) -> tuple[nn.Module, int]:
        """A block and how many neurons it gives."""
        kind = self.rng.choice(["mix", "mix", "residual", "residual", "dense", "keep"])
        if kind == "mix":
            m = self.size()
            return nn.Sequential(self.mix(n, m), self.act()), m
        if kind == "dense":
            sizes = [self.size() for _ in range(self.rng.randint(1, 2))]
            return Dense(*(self.mix(n, m) for m in sizes), dim=self.dim), n + sum(sizes)
        if kind == "residual":
            return Residual(self.keep(n)), n
        return self.keep(n), n


def random_case(rng: random.Random) -> Case:
    """A random graph of at most some twenty vertices, in float64 and evaluation mode."""
    torch.manual_seed(rng.randrange(2**31))
    look = rng.choice(["flat", "image", "words"])
    n = rng.randint(1, 5)
    shape = {"flat": (2, n), "image": (2, n, SIDE, SIDE), "words": (2, 3, n)}[look]
    x = torch.randn(shape, dtype=torch.float64)
    maker = Maker(rng, look)
    style = rng.choice(["written", "captured"])
    graph = _written(maker, x, n) if style == "written" else _captured(maker, x, n)
    return Case(graph, x, look, f"{style} {look}")


def _settle(module: nn.Module) -> nn.Module:
    """Float64, evaluation mode, norms with statistics of their own so that mixed-up neurons show."""
    for each in module.modules():
        for name in ("weight", "bias", "running_mean"):
            found = getattr(each, name, None)
            if isinstance(each, _NORMS) and isinstance(found, Tensor):
                nn.init.normal_(found, 1.0 if name == "weight" else 0.0, 0.3)
    return module.double().eval()


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def norm_sizes(graph: Graph) -> dict[int, int]:
    """Of how many neurons the norms whose statistics mix neurons work out one, by layer."""
    found = {id(v.target): v.target for v in graph if isinstance(v.target, (nn.LayerNorm, nn.GroupNorm))}
    return {key: layer.weight.numel() for key, layer in found.items()}


def _end(maker: Maker, n: int) -> list[nn.Module]:
    last = maker.rng.randint(1, 4)
    if maker.look == "flat":
        return [nn.Linear(n, last)]
    if maker.look == "words":
        return [maker.norm(n), nn.Linear(n, last)]
    if maker.rng.random() < 0.5:
        return [nn.Flatten(), nn.Linear(n * SIDE * SIDE, last)]
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, last)]


def _captured(maker: Maker, x: Tensor, n: int) -> Graph:
    blocks: list[nn.Module] = []
    for _ in range(maker.rng.randint(1, 4)):
        made, n = maker.block(n)
        blocks.append(made)
    return capture(_settle(nn.Sequential(*blocks, *_end(maker, n))), x)


def _written(maker: Maker, x: Tensor, n: int) -> Graph:
    rng = maker.rng
    start = input_node("x", example=x)
    nodes: list[tuple[Node, int]] = [(start, n)]
    used: set[int] = set()
    for _ in range(rng.randint(2, 8)):
        a, b = rng.randrange(len(nodes)), rng.randrange(len(nodes))
        nodes.append(_step(maker, nodes[a], nodes[b], used, (a, b)))
    open_ones = [node for i, node in enumerate(nodes) if i not in used and i]
    if not open_ones:
        open_ones = [nodes[-1]]
    node, n = open_ones[0]
    if len(open_ones) > 1:
        node, n = concat(*(o for o, _ in open_ones), dim=maker.dim), sum(m for _, m in open_ones)
    for each in _end(maker, n):
        node = node.then(_settle(each))
    outputs = [node]
    if rng.random() < 0.2:
        outputs.append(nodes[-1][0])
    graph = Graph([start], outputs)
    graph.module.eval()
    return graph


Sized = tuple[Node, int]


def _step(maker: Maker, first: Sized, second: Sized, used: set[int], places: tuple[int, int]) -> Sized:
    (a, n), (b, m) = first, second
    kinds = ["mix", "mix", "mix", "block", "add", "add", "concat", "concat", "norm", "act", "mul", "scale"]
    kind = maker.rng.choice(kinds)
    used.add(places[0])
    if kind in ("add", "mul"):
        used.add(places[1])
        if m != n:
            b = b.then(_settle(maker.mix(m, n)))
        return (a + b if kind == "add" else a * b), n
    if kind == "concat":
        used.add(places[1])
        return concat(a, b, dim=maker.dim), n + m
    if kind == "scale":
        return maker.rng.choice([-a, 2 * a, a / 3, call(torch.tanh, a)]), n
    if kind == "mix":
        size = maker.size()
        return a.then(_settle(maker.mix(n, size))), size
    make: Callable[[int], nn.Module] = maker.norm if kind == "norm" else lambda _: maker.act()
    if kind == "block":
        body, size = maker.block(n)
        return a.then(_settle(body)), size
    return a.then(_settle(make(n))), n
