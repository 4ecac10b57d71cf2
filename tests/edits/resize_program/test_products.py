"""Products of widths: what is kept of groups times channels, against a search over all choices of neurons."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits import Edit


def grouped(before: int, after: int, groups: int) -> ng.Graph:
    """A grouped convolution between two others."""
    x = ng.input_node("x", 4)
    first = ng.layer(nn.Conv2d(4, before, 1), x, name="first")
    second = ng.layer(nn.Conv2d(before, after, 1, groups=groups), first, name="second")
    return ng.Graph([x], [ng.layer(nn.Conv2d(after, 3, 1), second, name="third")])


def kept(edit: Edit, name: str) -> list[int]:
    """The neurons of a vertex that stay."""
    return [index for run in edit.sizes[name].kept for index in run]


def most_kept(values: list[float], groups: int, size: int) -> float:
    """The most value that stays when as many channels of every group do, with no new ones."""
    rows = np.array(values).reshape(groups, -1)
    found = []
    for count in range(1, groups + 1):
        if size % count == 0 and size // count <= rows.shape[1]:
            best = np.sort(rows, axis=1)[:, ::-1][:, : size // count].sum(axis=1)
            found += [float(best[list(some)].sum()) for some in itertools.combinations(range(groups), count)]
    return max(found)


def test_useful_neurons_of_a_product_are_not_replaced() -> None:
    graph = grouped(4, 8, 4)
    values = [1.0, 2, 3, 4, 5, 6, -10, -10]
    edit = ng.resize(graph, {"second": -2}, utility={"second": values})
    assert kept(edit, "second") == [0, 1, 2, 3, 4, 5]
    assert graph.sizes["second"] == 6
    assert sum(values[index] for index in kept(edit, "second")) == most_kept(values, 4, 6) == 21
    assert edit.certificate is not None
    assert edit.certificate.bound - edit.certificate.value < 1e-6
    assert edit.certificate.value <= 21  # less what the size terms count


def best_of_all(values: list[float], groups: int, target: int) -> float:
    """The most that a grouped convolution of this size can be worth, of every choice of groups and channels.

    Utility kept, less a tenth of the least for each new channel and what the sizes of both vertices count.
    """
    rows = np.array(values).reshape(groups, -1)
    each = rows.shape[1]
    found = []
    sizes = [(g, target // g) for g in range(1, target + 1) if target % g == 0]
    for (g, c), stay_g, stay_c in itertools.product(sizes, range(groups + 1), range(each + 1)):
        if stay_g > g or stay_c > c or (c > stay_c and stay_g < groups) or (g > stay_g and stay_c < each):
            continue  # no neuron is replaced
        kept = max(
            sum(max(sum(some) for some in itertools.combinations(rows[row], stay_c)) for row in chosen)
            for chosen in itertools.combinations(range(groups), stay_g)
        )
        # Groups have no value of their own: their vertex weighs as much as the other.
        moved = [rows.max() * abs(g - groups) / groups, rows.max() * abs(target - rows.size) / rows.size]
        new = 0.1 * rows.min() * (target - stay_g * stay_c)
        found.append(float(kept - new - 0.1 * sum(moved) - 0.8 * max(moved)))
    return max(found)


def _worth_the_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, each = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    values = (10 * rng.random(groups * each) ** 3 + 0.1).tolist()
    change = int(rng.choice([-each, -groups, each, groups]))
    graph = grouped(groups, groups * each, groups)
    edit = ng.resize(graph, {"second": change}, utility=lambda v: values if v.name == "second" else 0)
    best = best_of_all(values, groups, groups * each + change)
    assert graph.sizes["second"] == groups * each + change
    assert edit.certificate is not None
    assert edit.certificate.value == pytest.approx(best, rel=1e-6)
    assert edit.certificate.bound >= best - 1e-6 * abs(best)


@pytest.mark.parametrize("seed", range(12))
def test_what_stays_of_a_product_is_worth_the_most(seed: int) -> None:
    _worth_the_most(seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 400, 20))
def test_what_stays_of_a_product_is_worth_the_most_in_many_cases(start: int) -> None:
    for seed in range(start, start + 20):
        _worth_the_most(seed)


@pytest.mark.parametrize("utility", [None, 0, "l2"])
@pytest.mark.parametrize(("before", "after", "groups", "more"), [(3, 6, 3, 12), (4, 12, 4, 20), (2, 6, 2, 6)])
def test_a_width_nobody_asked_about_stays_where_it_can(
    before: int, after: int, groups: int, more: int, utility: float | str | None
) -> None:
    for seed in (10, 12, 14, 43, 54, 68, 72, 73):
        torch.manual_seed(seed)
        graph = grouped(before, after, groups)
        ng.resize(graph, {"second": more}, utility=utility)
        assert (graph.sizes["first"], graph.sizes["second"]) == (before, after + more), seed


def test_requests_for_both_factors_may_trade_one_for_the_other() -> None:
    graph = grouped(4, 8, 4)
    ng.resize(graph, {"first": -1, "second": ng.size(9)})
    assert (graph.sizes["first"], graph.sizes["second"]) == (3, 9)


class Attention(nn.Module):
    """Self-attention of four heads."""

    def __init__(self, heads: int = 4, each: int = 8) -> None:
        super().__init__()
        self.heads, size = heads, heads * each
        self.q, self.k, self.v = (nn.Linear(16, size) for _ in range(3))
        self.out = nn.Linear(size, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        parts = [
            layer(x).view(batch, tokens, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v)
        ]
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        found: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return found


def test_heads_do_not_go_to_let_others_grow() -> None:
    net = Attention()
    x = torch.randn(2, 5, 16)
    before = net(x)
    graph = ng.capture(net, x)
    with pytest.warns(UserWarning, match="trying the nearest"):
        ng.resize(graph, {"q": +2})
    assert (net.heads, graph.sizes["q"]) == (4, 36)  # 34 is 2 times 17 or 1 times 34
    assert torch.allclose(net(x), before, atol=1e-5)


@pytest.mark.parametrize("change", [-8, -4, -16])
def test_heads_are_not_traded_for_head_sizes(change: int) -> None:
    net = Attention()
    graph = ng.capture(net, torch.randn(2, 5, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edit = ng.resize(graph, {"q": change})
    assert graph.sizes["q"] == 32 + change
    assert len(kept(edit, "q")) == 32 + change  # nothing new came


def test_a_relaxed_request_moves_against_its_sign_where_it_must() -> None:
    x = ng.input_node("x", 6)
    small = ng.layer(nn.Linear(6, 2), x, name="small")
    total = ng.call(torch.add, ng.layer(nn.Linear(6, 6), x), ng.concat(small, small, small), name="total")
    graph = ng.Graph([x], [total])
    assert ng.resize(graph, {"small": ng.relaxed(-1), "total": +3})
    assert (graph.sizes["small"], graph.sizes["total"]) == (3, 9)


def test_an_impossible_size_is_not_told_as_a_size() -> None:
    graph = ng.capture(nn.Sequential(nn.Linear(3, 7), nn.Linear(7, 2)), torch.ones(1, 3))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ng.resize(graph, {"0": -8})
    text = " ".join(str(each.message) for each in told)
    assert "is impossible: a size is at least 1" in text
    assert "instead of -" not in text


@pytest.mark.parametrize("rows", [4, 300])
def test_rows_are_worth_what_is_in_them_where_that_stays_whole(rows: int) -> None:
    graph = grouped(rows, 2 * rows, rows)
    dear = np.random.default_rng(0).choice(rows, rows // 2, replace=False)
    values = np.ones((rows, 2))
    values[dear] = 3.0
    requests = {"second": -2 * (rows - len(dear)), "first": -(rows - len(dear))}
    edit = ng.resize(graph, requests, utility={"second": values.ravel(), "first": 0})
    assert kept(edit, "first") == sorted(dear.tolist())
