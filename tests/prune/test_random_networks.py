"""Random networks of convolutions, sums, concatenations, splits and groups, pruned to random budgets."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from typing import Any

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate
from tests.networks.plain import randomised
from tests.oracle import choose, counted_macs, counted_params, snapshot, unchanged, zeroed

KINDS = [
    "conv",
    "conv",
    "norm",
    "grouped",
    "depthwise",
    "add",
    "concat",
    "halves",
    "slice",
    "gate",
    "shuffle",
]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step: what it does, on which of the tensors so far (modulo their number), and a size."""

    kind: str
    first: int
    second: int
    size: int


class Random(nn.Module):
    """Carries out steps on a growing list of tensors; every tensor that is not used ends in the output.

    What a step does is settled when it is built: a branch taken by a size would be the code's own affair.
    """

    def __init__(self, steps: tuple[Step, ...], end: str) -> None:
        super().__init__()
        self.steps, self.end, self.used = steps, end, set[int]()
        self.layers = nn.ModuleDict()
        self.channels = [3]
        for index, step in enumerate(steps):
            self.channels += self.build(
                index, step, step.first % len(self.channels), step.second % len(self.channels)
            )
        self.built = " ".join(map(str, self.channels)).split()  # words: no sizes that an edit could follow
        self.open = [i for i in range(len(self.channels)) if i not in self.used]
        size = sum(self.channels[i] for i in self.open) * (16 if end == "flatten" else 1)
        self.hidden, self.head = nn.Linear(size, 7), nn.Linear(7, 3)

    def build(self, index: int, step: Step, a: int, b: int) -> list[int]:
        n, size, kind = self.channels[a], step.size, step.kind
        self.used |= {a, b} if kind in ("add", "concat") else {a}
        layer: nn.Module | None = None
        result = [n]
        if kind == "conv":
            layer, result = nn.Conv2d(n, size, 3, padding=1), [size]
        elif kind == "grouped":
            groups = math.gcd(n, size)
            layer, result = nn.Conv2d(n, size, 1, groups=groups, bias=size % 2 == 0), [size]
        elif kind == "depthwise":
            layer, result = nn.Conv2d(n, n * (1 + size % 2), 3, padding=1, groups=n), [n * (1 + size % 2)]
        elif kind == "norm":
            layer = nn.Sequential(nn.BatchNorm2d(n), nn.ReLU())
        elif kind == "add" and self.channels[b] != n:
            layer = nn.Conv2d(self.channels[b], n, 1)
        elif kind == "gate":
            layer = nn.Sequential(nn.Linear(n, size), nn.ReLU(), nn.Linear(size, n), nn.Sigmoid())
        elif kind == "concat":
            result = [n + self.channels[b]]
        elif kind == "halves":
            result = [n // 2] if n % 2 == 0 else [n]
        elif kind == "slice":
            result = [max(n // 3, 1), n - max(n // 3, 1)] if n > 1 else [n]
        if layer is not None:
            self.layers[str(index)] = layer
        return result

    def step(self, index: int, kind: str, n: int, x: Tensor, y: Tensor) -> list[Tensor]:
        """Do step `index` on tensors, the first of which had `n` channels when the network was built."""
        layer = self.layers[str(index)] if str(index) in self.layers else nn.Identity()
        if kind == "add":
            return [F.relu(x + layer(y))]
        if kind == "concat":
            return [torch.cat([x, y], 1)]
        if kind == "halves" and n % 2 == 0:
            left, right = x.chunk(2, 1)
            return [left * right.sigmoid()]
        if kind == "slice" and n > 1:
            return [x[:, : max(n // 3, 1)], x[:, max(n // 3, 1) :]]
        if kind == "gate":
            return [x * layer(x.mean((2, 3)))[:, :, None, None]]
        if kind == "shuffle" and n % 2 == 0:
            return [x.view(x.shape[0], 2, -1, 4, 4).transpose(1, 2).flatten(1, 2)]
        return [layer(x)]

    def forward(self, x: Tensor) -> Tensor:
        tensors = [x]
        for index, step in enumerate(self.steps):
            a, b = step.first % len(tensors), step.second % len(tensors)
            tensors += self.step(index, step.kind, int(self.built[a]), tensors[a], tensors[b])
        found = [tensors[i] for i in self.open]
        y = torch.cat([t.flatten(1) if self.end == "flatten" else t.mean((2, 3)) for t in found], 1)
        return self.head(F.relu(self.hidden(y)))  # type: ignore[no-any-return]


steps = st.builds(
    Step, st.sampled_from(KINDS), st.integers(0, 11), st.integers(0, 11), st.sampled_from([2, 3, 4, 6, 8, 12])
)
networks = st.builds(
    Random, st.lists(steps, min_size=1, max_size=9).map(tuple), st.sampled_from(["flatten", "mean"])
)


def asked(cost: str, limit: float) -> dict[str, Any]:
    return {cost: limit}


def inputs() -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64),)


@settings(max_examples=100, deadline=None)
@given(networks, st.integers(0, 2**16))
def test_function_is_kept(built: Random, seed: int) -> None:
    torch.manual_seed(seed)
    model, x = randomised(built).double(), inputs()
    graph = capture(model, x, verify="recorded")
    widths = relate(graph)
    constraints = constraints_of(widths)
    kept = choose(widths, constraints, seed)
    zero = zeroed(model, widths, kept)
    original = copy.deepcopy(model)
    edit = apply(plan(widths, constraints, kept), model)
    with torch.no_grad():
        torch.testing.assert_close(model(*x), zero(*x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(graph(*x), zero(*x), rtol=1e-9, atol=1e-9)
        edit.undo()
        torch.testing.assert_close(model(*x), original(*x), rtol=0, atol=0)


@settings(max_examples=60, deadline=None)
@given(networks, st.sampled_from(["macs", "params"]), st.floats(0.1, 0.95), st.sampled_from([1, 1, 2]))
def test_budgets_are_met(built: Random, cost: str, fraction: float, round_to: int) -> None:
    model, x = randomised(built).double(), inputs()
    before = snapshot(model)
    shape = model(*x).shape
    now = {"macs": counted_macs(model, x), "params": counted_params(model)}
    limit: float = fraction
    try:
        edit = ng.prune(model, x, **asked(cost, limit), round_to=round_to)
    except ng.InfeasibleError as error:
        assert unchanged(model, before)
        (number,) = re.findall(rf"at least ([\d,]+) {cost} remain", str(error))
        limit = int(number.replace(",", ""))
        assert limit > fraction * now[cost]
        edit = ng.prune(model, x, **asked(cost, limit), round_to=round_to)
    after = {"macs": counted_macs(model, x), "params": counted_params(model)}
    assert after[cost] <= (limit if isinstance(limit, int) else limit * now[cost])
    assert after == {"macs": edit.after.macs, "params": edit.after.params}
    assert now == {"macs": edit.before.macs, "params": edit.before.params}
    assert edit.certificate is not None
    assert edit.certificate.bound >= edit.certificate.value
    assert model(*x).shape == shape
    edit.undo()
    assert unchanged(model, before)
