"""Networks that return as many things as they find: none on some examples, and another number once edited."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Finder(nn.Module):
    """Describes the rows whose score is above a limit; seven on the first example, none above 1."""

    def __init__(self, behind: bool = False) -> None:
        super().__init__()
        self.body, self.score = nn.Linear(6, 16), nn.Linear(16 if behind else 6, 1)
        self.behind = behind
        self.pairs, self.box = nn.Linear(8, 12), nn.Linear(12, 4)
        self.limit = 0.5

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.relu(self.body(x))
        score = self.score(rows if self.behind else x).sigmoid().flatten()
        found = torch.cat([torch.where(score > self.limit)[0], torch.where(score > 2)[0]])
        rows = rows[found]
        halves = rows.view(rows.shape[0], 2, self.body.out_features // 2).sum(1)
        result: Tensor = self.box(torch.relu(self.pairs(halves)))
        return result


@pytest.mark.parametrize("limit", [0.5, 1.0], ids=["some", "none"])
def test_what_is_found_hangs_together_though_nothing_is(limit: float) -> None:
    torch.manual_seed(0)
    net, x = Finder(), torch.randn(20, 6)
    before = copy.deepcopy(net)
    net.limit = limit
    ng.prune(net, x, ratio=0.5)
    assert (net.body.out_features, net.pairs.in_features, net.pairs.out_features) == (8, 4, 6)
    # The same network with the removed neurons zeroed: a half keeps what the other keeps.
    inner = torch.stack([torch.isin(row, net.pairs.weight) for row in before.pairs.weight.detach()])
    body = torch.stack([torch.isin(row, net.body.weight).all() for row in before.body.weight.detach()])
    rows, columns = inner.any(1), inner.any(0)
    assert torch.equal(body, columns.repeat(2))
    with torch.no_grad():
        before.body.weight[~body], before.body.bias[~body] = 0, 0
        before.pairs.weight[~rows], before.pairs.bias[~rows] = 0, 0
    net.limit = 0.5
    torch.testing.assert_close(net(x), before(x))
    assert len(net(x)) > 2


def test_another_number_may_be_found_after_the_edit() -> None:
    others = 0
    for seed in range(6):
        torch.manual_seed(seed)
        net, x = Finder(behind=True), torch.randn(20, 6)
        found = len(net(x))
        assert ng.prune(net, x, ratio=0.5)
        assert (net.body.out_features, net(x).shape[1:]) == (8, (4,))
        others += len(net(x)) != found
    assert others


class Experts(nn.Module):
    """Sends each row to one of three experts: how many go to which is read from a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.choose = nn.Linear(6, 16), nn.Linear(16, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 4)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.body(x))
        chosen = self.choose(y).argmax(1)
        order = chosen.argsort(stable=True)
        counts = chosen.bincount(minlength=3).tolist()
        parts = torch.split(y[order], counts)
        out = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        result: Tensor = torch.zeros_like(out).index_copy(0, order, out) + chosen.max().item()
        return result


def test_counts_read_from_a_tensor_are_read_again() -> None:
    torch.manual_seed(0)
    net, x = Experts().eval(), torch.randn(20, 6)
    before = net.choose(torch.relu(net.body(x))).argmax(1).bincount(minlength=3)
    graph = ng.capture(net, x)
    assert graph.checks["another batch"] == "equal"
    other = torch.randn(33, 6)
    torch.testing.assert_close(graph.to_module()(other), net(other))
    assert ng.prune(net, x, ratio=0.5)
    assert net.body.out_features == 8
    after = net.choose(torch.relu(net.body(x))).argmax(1).bincount(minlength=3)
    assert not torch.equal(before, after)


class Window(nn.Module):
    """Goes on with some of its neurons: a tensor says which, and how many."""

    def __init__(self, start: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(8, 12), nn.Linear(12, 3)
        self.start = start

    def forward(self, x: Tensor) -> Tensor:
        n = (x.sum() > 0).long() * 8
        y = torch.relu(self.a(x))
        y = y.narrow(1, n, 8) if self.start else y.narrow(1, 4, n)  # type: ignore[call-overload]
        result: Tensor = self.c(torch.relu(self.b(y)))
        return result


@pytest.mark.parametrize("start", [True, False], ids=["start", "length"])
def test_what_a_tensor_takes_out_keeps_its_size(start: bool) -> None:
    net, x = Window(start), torch.ones(5, 6)
    ng.prune(net, x, ratio=0.5)
    assert (net.a.out_features, net.b.in_features, net.b.out_features) == (16, 8, 6)
    assert net(-x if start else x).shape == (5, 3)
