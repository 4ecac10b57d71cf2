"""Budget problems with the structure of well-known networks, worth made up at random."""

from collections.abc import Callable, Sequence

import numpy as np

from naivegraph.solvers.budget import BudgetProblem, CostFunction, LinearSum, Term
from naivegraph.solvers.budget.problem import Floats

Part = int | float | LinearSum


class Layers:
    """Collects sizes and the cost of layers between them; a float is a size that is fixed."""

    def __init__(self, kind: str, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind = kind
        self.values: list[Floats] = []
        self.macs: list[Term] = []
        self.params: list[Term] = []

    def width(self, n: int, scale: float = 1.0) -> int:
        """Add a size of up to `n` neurons, sorted by worth."""
        if self.kind == "spread":
            worth = np.exp(self.rng.normal(size=n))
        elif self.kind == "flat":
            worth = 1 + 0.3 * self.rng.random(n)
        else:
            worth = np.exp(-3 * np.arange(n) / n) * (1 + 0.1 * self.rng.random(n))
        worth = np.sort(worth)[::-1] * np.exp(0.3 * self.rng.normal()) * scale
        self.values.append(np.concatenate([[0.0], np.cumsum(worth)]))
        return len(self.values) - 1

    def layer(self, places: float, kernel: float, *parts: Part) -> None:
        """Add a contraction of sizes over a kernel at a number of places."""
        forms = tuple(LinearSum.of(p) if isinstance(p, float) else p for p in parts)
        self.macs.append(Term.of(places * kernel, *forms))
        self.params.append(Term.of(kernel, *forms))

    def problem(self, ratio: float, params: float | None = None, step: int = 1) -> BudgetProblem:
        """Return the problem to keep this share of all multiply-accumulates (and of all parameters)."""
        full = np.array([len(v) - 1 for v in self.values])
        macs, weights = CostFunction("macs", tuple(self.macs)), CostFunction("params", tuple(self.params))
        costs: list[tuple[CostFunction, float]] = [(macs, int(macs(full) * ratio))]
        if params is not None:
            costs.append((weights, int(weights(full) * params)))
        return BudgetProblem.of(self.values, costs, steps=step)


def sum_of(parts: Sequence[int]) -> LinearSum:
    """Return the size of a concatenation."""
    return LinearSum.of(0.0, dict.fromkeys(parts, 1.0))


def resnet56(layers: Layers) -> None:
    """Three stages of nine basic blocks."""
    stages = [layers.width(c, scale=9) for c in (16, 32, 64)]
    layers.layer(1024, 9, 3.0, stages[0])
    before = stages[0]
    for stage, c, places in zip(stages, (16, 32, 64), (1024, 256, 64), strict=True):
        for _ in range(9):
            inner = layers.width(c)
            layers.layer(places, 9, before, inner)
            layers.layer(places, 9, inner, stage)
            before = stage
    layers.layer(1, 1, before, 10.0)


def resnet50(layers: Layers) -> None:
    """Four stages of bottleneck blocks."""
    before = layers.width(64)
    layers.layer(112 * 112, 49, 3.0, before)
    for c, blocks, side in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        stage = layers.width(4 * c, scale=blocks)
        for block in range(blocks):
            a, b = layers.width(c), layers.width(c)
            layers.layer(side * side * (4 if block == 0 and c > 64 else 1), 1, before, a)
            layers.layer(side * side, 9, a, b)
            layers.layer(side * side, 1, b, stage)
            if block == 0:
                layers.layer(side * side, 1, before, stage)
            before = stage
    layers.layer(1, 1, before, 1000.0)


def vgg16(layers: Layers) -> None:
    """A chain."""
    before: Part = 3.0
    for n, c, side in ((2, 64, 224), (2, 128, 112), (3, 256, 56), (3, 512, 28), (3, 512, 14)):
        for _ in range(n):
            width = layers.width(c)
            layers.layer(side * side, 9, before, width)
            before = width
    for kernel, c in ((49, 4096), (1, 4096)):
        width = layers.width(c)
        layers.layer(1, kernel, before, width)
        before = width
    layers.layer(1, 1, before, 1000.0)


def densenet121(layers: Layers) -> None:
    """Every layer reads all that came before it in its block."""
    first = layers.width(64)
    layers.layer(112 * 112, 49, 3.0, first)
    parts, n = [first], 64
    for count, side in ((6, 56), (12, 28), (24, 14), (16, 7)):
        for _ in range(count):
            inner, growth = layers.width(128), layers.width(32)
            layers.layer(side * side, 1, sum_of(parts), inner)
            layers.layer(side * side, 9, inner, growth)
            parts, n = [*parts, growth], n + 32
        if side > 7:
            n //= 2
            transition = layers.width(n)
            layers.layer(side * side, 1, sum_of(parts), transition)
            parts = [transition]
    layers.layer(1, 1, sum_of(parts), 1000.0)


def inception(layers: Layers) -> None:
    """Blocks of four branches, each of which reads all branches of the block before."""
    before = [layers.width(c) for c in (64, 96, 96)]
    layers.layer(35 * 35, 27, 3.0, sum_of(before))
    for side, scale in ((35, 1), (35, 1), (17, 2), (17, 2), (8, 3)):
        branches = []
        for depth in range(4):
            last = layers.width(64 * scale)
            layers.layer(side * side, 1, sum_of(before), last)
            for _ in range(depth):
                after = layers.width(96 * scale)
                layers.layer(side * side, 9, last, after)
                last = after
            branches.append(last)
        before = branches
    layers.layer(1, 1, sum_of(before), 1000.0)


def transformer(
    layers: Layers, depth: int, embedding: int, heads: int, head: int, inner: int, tokens: int, gated: bool
) -> None:
    """One embedding size shared by all; heads and head size multiply."""
    e = layers.width(embedding, scale=depth)
    for _ in range(depth):
        h, d, m = layers.width(heads, scale=40), layers.width(head, scale=8), layers.width(inner)
        layers.layer(tokens, 4, e, h, d)
        layers.macs.append(Term.of(2 * tokens * tokens, h, d))
        layers.layer(tokens, 3 if gated else 2, e, m)
    layers.layer(1, 1, e, 1000.0)


def vit(layers: Layers) -> None:
    """ViT-B."""
    transformer(layers, 12, 768, 12, 64, 3072, 197, False)


def llm(layers: Layers) -> None:
    """A language model of 32 layers."""
    transformer(layers, 32, 4096, 32, 128, 11008, 2048, True)


def mobilenet(layers: Layers) -> None:
    """Inverted residuals: the layers inside a block are depthwise, hence linear."""
    stem = layers.width(32)
    layers.layer(112 * 112, 27, stem)
    layers.layer(112 * 112, 9, stem)
    before = layers.width(16)
    layers.layer(112 * 112, 1, stem, before)
    n, side = 16, 112
    for c, blocks, stride in ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)):
        stage = layers.width(c, scale=3 * blocks)
        for block in range(blocks):
            inner = layers.width(6 * n)
            layers.layer(side * side, 1, before, inner)
            side = side // stride if block == 0 else side
            layers.layer(side * side, 9, inner)
            layers.layer(side * side, 1, inner, stage)
            before, n = stage, c
    last = layers.width(1280)
    layers.layer(side * side, 1, before, last)
    layers.layer(1, 1, last, 1000.0)


NETWORKS: dict[str, Callable[[Layers], None]] = {
    "resnet56": resnet56,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "densenet121": densenet121,
    "inception": inception,
    "vit": vit,
    "llm": llm,
    "mobilenet": mobilenet,
}


def network(
    name: str, kind: str, ratio: float, *, params: float | None = None, step: int = 1
) -> BudgetProblem:
    """Return the problem to prune a network; `kind` says how worth is distributed: spread, flat or decay."""
    layers = Layers(kind, seed=0)
    NETWORKS[name](layers)
    return layers.problem(ratio, params, step)
