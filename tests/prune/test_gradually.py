"""Pruning in rounds keeps each round's budget, and ends where one round does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged

X = torch.ones(1, 4)


def chain() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(n, m) for n, m in itertools.pairwise([4, 40, 40, 2])])


def nothing(model: Any) -> None:
    """Train not at all."""


def macs_of(net: Any) -> int:
    return sum(layer.weight.numel() for layer in net)


@pytest.mark.parametrize(
    ("schedule", "parts"),
    [
        ("cubic", [1 - (2 / 3) ** 3, 1 - (1 / 3) ** 3, 1]),
        ("linear", [1 / 3, 2 / 3, 1]),
        (lambda done: done**2, [1 / 9, 4 / 9, 1]),
    ],
)
@pytest.mark.parametrize("as_graph", [True, False])
def test_each_round_keeps_its_budget(schedule: Any, parts: list[float], as_graph: bool) -> None:
    net = chain()
    subject = (ng.capture(net, X),) if as_graph else (net, X)
    seen: list[tuple[Any, int]] = []
    edits = ng.prune_gradually(
        *subject,
        train=lambda model: seen.append((model, macs_of(net))),
        rounds=3,
        schedule=schedule,
        macs=0.4,
    )
    start = macs_of(chain())
    assert [model is subject[0] for model, _ in seen] == [True] * 3
    for (_, macs), part in zip(seen, parts, strict=True):
        budget = start - 0.6 * start * part
        assert 0.9 * budget <= macs <= budget
    assert [edit.after.macs for edit in edits] == [macs for _, macs in seen]


def test_it_can_be_undone_round_by_round() -> None:
    net = chain()
    before = snapshot(net)
    edits = ng.prune_gradually(net, X, train=nothing, rounds=2, macs=0.4)
    for edit in reversed(edits):
        edit.undo()
    assert unchanged(net, before)


def test_utilities_are_those_of_the_network_as_trained_by_then() -> None:
    net = chain()
    values: list[list[int]] = []

    def utility(widths: Any) -> dict[str, Any]:
        values.append([width.size for width in widths])
        return {width.name: range(width.size) for width in widths}

    ng.prune_gradually(net, X, train=nothing, rounds=2, params=0.5, utility=ng.OfWidths(utility))
    assert len(values) == 2
    assert values[0] == [40, 40]
    assert sum(values[1]) < 80


def test_the_least_sizes_are_those_of_the_network_before() -> None:
    net = chain()
    uneven = {"0": 1e-6, "1": 1.0}
    ng.prune_gradually(net, X, train=nothing, rounds=4, macs=0.1, utility=uneven, at_least=0.2)
    assert net[0].out_features == 8
    net = chain()
    edits = ng.prune_gradually(net, X, train=nothing, rounds=4, macs=15, utility=uneven)
    assert macs_of(net) <= 15
    assert any("keep less than 10% of their neurons" in note for note in edits[-1].notes)


def test_rounds_that_were_done_stay_if_training_fails() -> None:
    net, calls = chain(), []

    def train(model: Any) -> None:
        calls.append(macs_of(net))
        if len(calls) == 2:
            raise OverflowError("too much")

    with pytest.raises(OverflowError, match="too much"):
        ng.prune_gradually(net, X, train=train, rounds=3, macs=0.4)
    assert macs_of(net) == calls[-1] < calls[0]


def test_optimizers_follow_every_round() -> None:
    net = chain()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    def train(model: Any) -> None:
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()

    ng.prune_gradually(net, X, train=train, rounds=3, macs=0.4, optimizer=optimizer)
    state = optimizer.state[net[0].weight]
    assert state["exp_avg"].shape == net[0].weight.shape
    assert float(state["step"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "prune_gradually takes budgets"),
        ({"ratio": 0.5}, "prune_gradually takes budgets"),
        ({"macs": 0.5, "rounds": 0}, "rounds must be a whole number from 1 up"),
        ({"macs": 0.5, "schedule": "square"}, "schedule='square': give"),
        ({"macs": 0.5, "schedule": 3}, "schedule=3: give"),
        ({"macs": 0.5, "schedule": lambda done: 1 - done}, "it must not fall"),
        ({"macs": 0.5, "schedule": lambda done: done / 2}, "end at 1"),
        ({"macs": 0.5, "train": None}, "train=None: give a function of the model"),
        ({"macs": 0.5, "at_least": -1}, "at_least= takes a fraction"),
        ({"macs": -1}, "macs=-1 is no budget"),
    ],
)
def test_nonsense_is_told(options: dict[str, Any], message: str) -> None:
    net = chain()
    before = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.prune_gradually(net, X, **{"train": nothing, **options})
    assert unchanged(net, before)
