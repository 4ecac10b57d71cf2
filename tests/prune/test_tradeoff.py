"""The tradeoff between utility and a cost: each point is what `ng.prune` does at its budget."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.errors import EditError
from tests.latency.simulated import linear_macs, perceptron, simulated
from tests.prune.test_depth_program import Blocks

X = torch.randn(1, 16)


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_points_are_what_prune_finds(cost: str) -> None:
    net = perceptron()
    found = ng.tradeoff(net, X, cost=cost, points=5, gap=0.0)
    assert len(found) == 5
    assert net[0].out_features == 64
    for point in found[:-1]:
        other = copy.deepcopy(net)
        edit = ng.prune(other, X, **{cost: point.share}, gap=0.0)
        assert edit.certificate is not None
        assert edit.certificate.value == pytest.approx(point.certificate.value)
        assert edit.after[cost] == point.cost


def test_utility_never_falls_as_the_budget_grows() -> None:
    found = ng.tradeoff(perceptron(), X, points=8)
    values = [point.certificate.value for point in found]
    assert all(one <= two for one, two in itertools.pairwise(values))
    assert values[-1] == pytest.approx(found.utility)
    assert found[-1].cost == found.before
    assert found[-1].sizes == {}
    assert 0.09 * found.before < found[0].cost <= 0.1001 * found.before


def test_a_point_is_applied() -> None:
    net = perceptron()
    found = ng.tradeoff(net, X, points=4, keep="0")
    edit = found[1].prune()
    assert edit.after.macs == found[1].cost
    assert linear_macs(net) == found[1].cost
    assert net[0].out_features == 64
    edit.undo()
    assert net[2].out_features == 64


def test_latency_is_predicted_and_then_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(model: nn.Module) -> float:
        return 1e-3 + 1e-6 * linear_macs(model)

    device = simulated(monkeypatch, seconds)
    net = perceptron()
    found = ng.tradeoff(net, X, cost="latency", points=4, runtime=device, round_to=1)
    assert found.before == pytest.approx(seconds(net) * 1e6)
    edit = found[2].prune()
    assert edit.latency is not None
    assert seconds(net) * 1e6 == pytest.approx(found[2].cost, rel=0.01)
    assert edit.latency.rounds == 1


def test_table_and_picture() -> None:
    found = ng.tradeoff(perceptron(), X, cost="params", points=3, lowest=0.5)
    assert found[0].share == pytest.approx(0.5)
    text = str(found)
    assert "Utility against parameters" in text
    assert "50.0%" in text
    assert str(found.plot()).count("<circle") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 1}, "points must be a whole number from 2 up, not 1"),
        ({"cost": "mac"}, "no cost 'mac'"),
        ({"lowest": 2}, "lowest=2: give a share"),
        ({"profile": "x.json"}, "profile= is for a budget of latency"),
    ],
)
def test_bad_input(options: dict[str, object], message: str) -> None:
    with pytest.raises(ng.EditError, match=message):
        ng.tradeoff(perceptron(), X, **options)  # type: ignore[arg-type]


def test_a_tradeoff_is_data_that_can_be_sent() -> None:
    found = ng.tradeoff(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.ones(1, 4), points=3)
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert str(other) == str(found)
        assert other.points == found.points
        with pytest.raises(ng.EditError, match=r"a copy of a tradeoff.*budgets="):
            other[0].prune()
    assert found[0].prune()


def test_branches_are_left_out_along_the_front() -> None:
    torch.manual_seed(0)
    net, x = Blocks(8, [6, 8, 10]), torch.randn(5, 3)
    found = ng.tradeoff(net, x, points=5, depth=True, gap=0.0)
    assert found[-1].certificate.value == pytest.approx(found.utility)
    assert any(point.dropped for point in found)
    for point in found[:-1]:
        other = copy.deepcopy(net)
        edit = ng.prune(other, x, macs=point.share, depth=True, gap=0.0)
        assert edit.certificate is not None
        assert edit.certificate.value == pytest.approx(point.certificate.value)
        assert edit.dropped == point.dropped
        assert edit.after.macs == point.cost
    edit = found[1].prune()
    assert edit.dropped == found[1].dropped
    edit.undo()


def test_options_that_do_not_go_with_it() -> None:
    with pytest.raises(
        EditError, match=r"macs= does not go with a tradeoff, .* it takes backend, optimizer, refit"
    ):
        ng.tradeoff(perceptron(), X, macs=0.5)
