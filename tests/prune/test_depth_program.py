"""The choice of branches and sizes in one program, against all choices there are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.costs import cost_named
from naivegraph.prune.branches import find_branches
from naivegraph.prune.budget_program import pose
from naivegraph.prune.choose_sizes import SolveOptions, choose_sizes
from naivegraph.widths import constraints_of, relate

SEEDS = range(6)
Choice = tuple[float, float]  # the cost and the utility lost


class Blocks(nn.Module):
    """Residual blocks `x + down(relu(up(x)))` on `outer` features."""

    def __init__(self, outer: int, inner: list[int]) -> None:
        super().__init__()
        self.stem = nn.Linear(3, outer, bias=False)
        self.up = nn.ModuleList([nn.Linear(outer, size, bias=False) for size in inner])
        self.down = nn.ModuleList([nn.Linear(size, outer, bias=False) for size in inner])
        self.head = nn.Linear(outer, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(up(x).relu())
        out: Tensor = self.head(x)
        return out


class Nested(nn.Module):
    """A block inside of the branch of a block."""

    def __init__(self, outer: int, middle: int, inner: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(3, outer, bias=False), nn.Linear(outer, 2, bias=False)
        self.first, self.last = nn.Linear(outer, middle, bias=False), nn.Linear(middle, outer, bias=False)
        self.up, self.down = nn.Linear(middle, inner, bias=False), nn.Linear(inner, middle, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        h = self.first(x).relu()
        h = h + self.down(self.up(h).relu())
        out: Tensor = self.head(x + self.last(h))
        return out


class Sides(nn.Module):
    """A block with a layer on either side."""

    def __init__(self, outer: int, inner: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(3, 4, bias=False), nn.Linear(outer, 2, bias=False)
        self.side = nn.Linear(4, outer, bias=False)
        self.up, self.down = nn.Linear(4, inner, bias=False), nn.Linear(inner, outer, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out: Tensor = self.head(self.side(x) + self.down(self.up(x).relu()))
        return out


def blocks_choices(outer: list[float], inner: list[list[float]], worth: list[float]) -> Iterator[Choice]:
    """The cost and loss of every choice for `Blocks`, by its arithmetic alone."""
    for width in range(1, len(outer) + 1):
        for keeps in itertools.product((False, True), repeat=len(inner)):
            spans = [range(1, len(v) + 1) if keep else [0] for keep, v in zip(keeps, inner, strict=True)]
            for sizes in itertools.product(*spans):
                cost = 5 * width + 2 * width * sum(sizes)
                lost = _lost(outer, width)
                for size, values, each in zip(sizes, inner, worth, strict=True):
                    lost += _lost(values, size) if size else each
                yield cost, lost


def nested_choices(outer: list[float], inner: list[list[float]], worth: list[float]) -> Iterator[Choice]:
    """The same for `Nested`: `worth` of the block inside, then of the one around it."""
    (middle, deep), (inside, around) = inner, worth
    for width in range(1, len(outer) + 1):
        yield 5 * width, _lost(outer, width) + around
        for half in range(1, len(middle) + 1):
            cost, lost = 5 * width + 2 * width * half, _lost(outer, width) + _lost(middle, half)
            yield cost, lost + inside
            for size in range(1, len(deep) + 1):
                yield cost + 2 * half * size, lost + _lost(deep, size)


def sides_choices(outer: list[float], inner: list[list[float]], worth: list[float]) -> Iterator[Choice]:
    """The same for `Sides`, whose stem is fixed: `worth` of the side, then of the other branch."""
    (middle,), (side, branch) = inner, worth
    for width in range(1, len(outer) + 1):
        lost = _lost(outer, width)
        yield 12 + 6 * width, lost + branch
        for size in range(1, len(middle) + 1):
            cost = 12 + 2 * width + size * (4 + width)
            yield cost, lost + _lost(middle, size) + side
            yield cost + 4 * width, lost + _lost(middle, size)


def _lost(values: list[float], size: int) -> float:
    return sum(sorted(values)[: len(values) - size])


CASES: dict[str, tuple[Callable[[], nn.Module], str, list[str], Callable[..., Iterator[Choice]]]] = {
    "blocks": (lambda: Blocks(4, [3, 4, 2]), "stem", ["up.0", "up.1", "up.2"], blocks_choices),
    "nested": (lambda: Nested(4, 3, 4), "stem", ["first", "up"], nested_choices),
    "sides": (lambda: Sides(5, 6), "side", ["up"], sides_choices),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CASES)
def test_program_equals_all_choices(name: str, seed: int) -> None:
    make, trunk, inside, choices = CASES[name]
    rng = np.random.default_rng(seed)
    graph = ng.capture(make(), torch.ones(1, 3))
    widths = relate(graph)
    constraints = constraints_of(widths)
    held = {w.atom: "the stem" for w in widths if w.name == "stem" and name == "sides"}
    program = pose(widths, constraints, held)
    branches = find_branches(widths)
    worth = rng.exponential(2.0, len(branches)).tolist()
    by_name = {width.name: width for width in widths}
    values = {width: rng.exponential(1.0, width.size) for width in widths}
    costs, lost = zip(
        *choices(values[by_name[trunk]].tolist(), [values[by_name[each]].tolist() for each in inside], worth),
        strict=True,
    )
    program.let_go(branches, worth)
    total = sum(float(v.sum()) for w, v in values.items() if w.atom not in held) + sum(worth)
    now = cost_named("macs").value(widths)
    assert now == max(costs)
    for share in (0.3, 0.5, 0.75):
        budget = int(share * now)
        options = SolveOptions(None, 1, 0.0, 20.0, "highs", lambda sentence: None, False)
        found = choose_sizes(program, values, {cost_named("macs"): budget}, options).solution
        best = min(loss for cost, loss in zip(costs, lost, strict=True) if cost <= budget)
        gone = program.choices.gone(found.k)
        around = [branch.inside for branch in program.choices.dropped(found.k)]
        inner = sum(
            w for b, w in zip(branches, worth, strict=True) if any(b.inside < each for each in around)
        )
        inner += sum(
            float(values[width].sum())
            for width in widths
            if width.lives and all(name.removesuffix(".weight") in gone for name, _ in width.lives)
        )
        assert found.certificate.gap < 1e-6
        # What is kept: all there is, but what was lost; and of branches that go not the neurons either.
        assert found.certificate.value == pytest.approx(total - best - inner)
        sizes = {w.atom: int(k) for w, k in zip(program.free, found.k, strict=False)}
        count = cost_named("macs").value(widths, lambda a, k=sizes: k.get(a, a.length), gone)  # type: ignore[misc]
        assert count <= budget
