"""Least sizes and ratios by layer, against sizes found by looking at all choices."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged

X = torch.ones(1, 4)


def chain(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    ends = [4, *sizes, 2]
    return nn.Sequential(*[nn.Linear(n, m) for n, m in itertools.pairwise(ends)])


def sizes(net: nn.Sequential) -> list[int]:
    return [layer.weight.shape[0] for layer in net if isinstance(layer, nn.Linear)][:-1]


# One layer of next to no value, of which the budget alone would leave two.
UNEVEN = {"0": 1e-6, "1": 1.0}


@pytest.mark.parametrize(
    ("at_least", "least"),
    [
        (0.25, 10),
        (7, 7),
        (7.0, 7),
        (0, 2),
        (0.0, 2),
        ({"0": 0.3}, 12),
        ({"*": 3, "0": 9}, 9),
        ({"0": 9, "*": 3}, 3),
        ({"1": 0.5}, 4),
        (None, 4),
    ],
)
def test_at_least_so_many_stay(at_least: Any, least: int) -> None:
    net = chain(40, 40)
    edit = ng.prune(net, X, macs=0.1, utility=UNEVEN, at_least=at_least)
    first, second = sizes(net)
    assert first == least
    # The best of all choices: as many of the second layer as the budget allows.
    budget = math.floor(0.1 * (4 * 40 + 40 * 40 + 40 * 2))
    assert second == max(k for k in range(1, 41) if 4 * first + first * k + 2 * k <= budget)
    assert edit.after.macs <= budget


def test_a_module_names_its_layer() -> None:
    net = chain(40, 40)
    ng.prune(net, X, macs=0.1, utility=UNEVEN, at_least={net[0]: 11})
    assert sizes(net)[0] == 11


def test_the_default_gives_way_to_the_budget_and_says_so() -> None:
    net = chain(40, 40)
    least = 4 * 4 + 4 * 4 + 4 * 2
    edit = ng.prune(net, X, macs=least)
    assert sizes(net) == [4, 4]
    assert not any("at_least" in note for note in edit.notes)
    edit.undo()
    edit = ng.prune(net, X, macs=least - 1)
    assert edit.after.macs < least
    assert any("keep less than 10% of their neurons" in note for note in edit.notes)


def test_what_was_asked_for_does_not_give_way() -> None:
    net = chain(40, 40)
    before = snapshot(net)
    with pytest.raises(
        ng.InfeasibleError, match=r"at least 520 macs remain .*: what at_least= names is to stay"
    ):
        ng.prune(net, X, macs=0.1, at_least=0.5)
    assert unchanged(net, before)


def test_multiples_and_a_floor_together() -> None:
    net = chain(40, 40)
    ng.prune(net, X, macs=0.25, utility=UNEVEN, at_least=0.25, round_to=4)
    assert sizes(net)[0] == 12


def test_ratios_by_layer() -> None:
    net = chain(40, 30, 20)
    edit = ng.prune(net, X, ratio={"0": 0.5, "2": 0.25})
    assert sizes(net) == [20, 30, 5]
    edit.undo()
    ng.prune(net, X, ratio={"*": 0.1, "1": 1.0})
    assert sizes(net) == [4, 30, 2]


def test_a_ratio_may_be_below_the_default_floor_but_not_below_one_that_was_given() -> None:
    net = chain(40)
    edit = ng.prune(net, X, ratio=0.05)
    assert sizes(net) == [2]
    edit.undo()
    ng.prune(net, X, ratio=0.05, at_least=6)
    assert sizes(net) == [6]


def test_what_was_asked_is_told_in_json() -> None:
    net = chain(40, 40)
    text = ng.prune(net, X, macs=0.5, at_least={net[0]: 3, "1": 0.5}).to_json()
    assert isinstance(text, str)


@pytest.mark.parametrize("values", [{"at_least": {"nine": 3}}, {"ratio": {"nine": 0.5}, "macs": None}])
def test_unknown_layers_are_told(values: dict[str, Any]) -> None:
    net = chain(40, 40)
    before = snapshot(net)
    name = next(iter(values))
    with pytest.raises(
        ng.EditError, match=f"{name} names 'nine', and no module of the network has that path"
    ):
        ng.prune(net, X, **{"macs": 0.5, **values})
    assert unchanged(net, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"macs": 0.5, "at_least": -1}, "at_least= takes a fraction from 0 to 1.0 or a whole number"),
        ({"macs": 0.5, "at_least": 1.5}, "at_least= takes a fraction"),
        ({"macs": 0.5, "at_least": "0.5"}, "at_least= takes a fraction"),
        ({"macs": 0.5, "at_least": {"0": float("nan")}}, "at_least= takes a fraction"),
        ({"macs": 0.5, "at_least": {"0": None}}, "at_least= takes a fraction"),
        ({"macs": 0.5, "at_least": {3: 0.5}}, "at_least= has an entry for 3, which is no layer"),
        ({"ratio": {}}, "ratio= is an empty dict"),
        ({"ratio": {"0": 0.0}}, "ratio must be a fraction above 0"),
        ({"ratio": {"0": "half"}}, "ratio must be a fraction above 0"),
    ],
)
def test_nonsense_is_told(values: dict[str, Any], message: str) -> None:
    net = chain(40, 40)
    before = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.prune(net, X, **values)
    assert unchanged(net, before)


@pytest.mark.parametrize("seed", range(5))
def test_with_a_floor_the_choice_is_the_best_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net, values = chain(7, 6), {"0": rng.random(7), "1": rng.random(6)}
    budget = 45
    ng.prune(net, X, macs=budget, utility=values, at_least=0.4, gap=0.0)
    found = [np.sort(v)[::-1][:k].sum() for v, k in zip(values.values(), sizes(net), strict=True)]
    allowed = [
        np.sort(values["0"])[::-1][:a].sum() + np.sort(values["1"])[::-1][:b].sum()
        for a in range(3, 8)
        for b in range(3, 7)
        if 4 * a + a * b + 2 * b <= budget
    ]
    np.testing.assert_allclose(sum(found), max(allowed))
