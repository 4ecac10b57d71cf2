"""Networks with a task that predict their own weights, too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import naivegraph as ng
from naivegraph.weights import Auxiliary, auxiliary


def _body(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, outputs)
    return nn.Sequential(*layers).double()


def _task(count: int = 120, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.randn(count, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return [(x, (x[:, 0] + x[:, 1] > 0).long())]


@pytest.fixture(scope="module")
def solved() -> Auxiliary:
    a = auxiliary(_body(), task=_task(), weight=1.0)
    a.solve(seconds=4)
    return a


def test_it_does_both(solved: Auxiliary) -> None:
    report = solved.report(_task(500, seed=1))
    assert report.accuracy is not None
    assert report.accuracy > 0.85
    assert report.fixed_point.relative < 0.15
    assert report.fixed_point.norm_kept > 0.6
    assert "task: accuracy" in str(report)
    assert "replication:" in str(report)


def test_the_report_by_hand(solved: Auxiliary) -> None:
    (x, y), net = _task(500, seed=1)[0], solved.module
    report = solved.report([(x, y)])
    with torch.no_grad():
        out = net(x)
        weights = torch.cat([each.reshape(-1) for each in net.parameters()])
        predicted = torch.stack([solved.quine.gain * net(c[None])[0, -1] for c in solved.quine.codes()])
    goals = torch.eye(2, dtype=torch.float64)[y]
    assert report.accuracy == pytest.approx((out[:, :2].argmax(1) == y).double().mean().item())
    assert report.loss == pytest.approx(((out[:, :2] - goals) ** 2).sum(1).mean().item())
    relative = ((weights - predicted) ** 2).sum() / (weights**2).sum()
    assert report.fixed_point.relative == pytest.approx(relative.item())


def test_a_smaller_weight_of_replication_leaves_more_to_the_task() -> None:
    reports = []
    for weights in ([100.0], [100.0, 0.05]):
        a = auxiliary(_body(), task=_task())
        reports.append(a.solve(seconds=2 * len(weights), weights=weights))
    strict, loose = reports
    assert strict.loss > loose.loss
    assert strict.fixed_point.relative < loose.fixed_point.relative


def test_adam_trains_both() -> None:
    a = auxiliary(_body(), task=DataLoader(TensorDataset(*_task()[0]), batch_size=30), weight=0.1)
    before = a.report()
    a.module.train()
    after = a.train(torch.optim.Adam(a.module.parameters(), lr=1e-2), epochs=60)
    assert after.accuracy is not None
    assert after.accuracy > 0.9
    assert after.fixed_point.relative < 0.5 * before.fixed_point.relative
    assert a.module.training


def test_regeneration_and_its_effect(solved: Auxiliary) -> None:
    a = auxiliary(_body(), task=_task())
    predicted = a.quine.predictions()
    found = a.regenerate(2)
    assert len(found) == 2
    b = auxiliary(_body(), task=_task())
    b.quine.regenerate()
    weights = torch.cat([each.detach().reshape(-1) for each in b.module.parameters()])
    torch.testing.assert_close(weights, predicted)
    assert b.report().accuracy == found[0]


def test_targets_of_numbers() -> None:
    x = _task()[0][0]
    a = auxiliary(_body(2), task=[(x, x[:, :1])])
    report = a.solve(seconds=2)
    assert report.accuracy is None
    assert report.loss < 0.5
    assert a.train(torch.optim.SGD(a.module.parameters(), lr=1e-3), epochs=1).accuracy is None


def test_edits_are_followed() -> None:
    a = auxiliary(_body(), task=_task())
    ng.resize(a.graph, {"body.0": 2})
    assert a.module[0].out_features == 10  # type: ignore[index]
    assert a.report().fixed_point.weights == 8 * 10 + 10 + 10 * 6 + 6 + 6 * 3 + 3
    assert a.solve(seconds=1).loss < 1.0


@pytest.mark.parametrize(
    ("body", "task", "options", "message"),
    [
        (_body(2), _task(), {}, r"returns \(2, 2\) for 2 inputs, and the task has 2 outputs: give it 3"),
        (nn.Linear(9, 3).double(), _task(), {}, r"does not take the task's inputs, \(8,\): mat1"),
        (_body(), [], {}, "the task has no batches, or was read before"),
        (_body(), [torch.zeros(3, 8)], {}, r"the task is batches \(inputs, targets\) of tensors"),
        (_body(), [(torch.zeros(3, 8), torch.zeros(3))], {}, r"targets \(3,\) of torch.float32: give as"),
        (
            _body(),
            [(torch.zeros(3, 8), torch.tensor([0, -1, 1]))],
            {},
            "the task has a class -1: classes count",
        ),
        (_body(), [(torch.zeros(3, 8), torch.zeros(3).bool())], {}, r"targets \(3,\) of torch.bool: give as"),
        (
            _body(),
            [(torch.zeros(3, 8), torch.zeros(3).long()), (torch.zeros(3, 7), torch.zeros(3).long())],
            {},
            r"the inputs of the task's batches have several shapes or types: \[\(7,\), \(8,\)\]",
        ),
        (
            _body(),
            [(torch.full((3, 8), torch.nan), torch.zeros(3).long())],
            {},
            "inputs hold numbers that are",
        ),
        (_body(), [(torch.zeros(3, 8), torch.full((3, 2), torch.inf))], {}, "targets hold numbers that are"),
        (_body(), _task(), {"gain": 0.0}, "gain must be a number above 0"),
        (_body(), _task(), {"weight": 0.0}, "weight must be a number above 0, not 0.0"),
    ],
)
def test_what_is_refused(body: nn.Module, task: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ng.EditError, match=message):
        auxiliary(body, task, **options)


def test_other_examples_are_like_those_of_the_task() -> None:
    a = auxiliary(_body(), _task())
    with pytest.raises(ng.EditError, match=r"targets \(2,\) of torch.int64 for 8 outputs, .* for 2"):
        a.report([(torch.zeros(2, 8).double(), torch.tensor([0, 7]))])
    with pytest.raises(ng.EditError, match=r"targets \(2, 2\) of torch.float32 for 2 outputs"):
        a.report([(torch.zeros(2, 8).double(), torch.zeros(2, 2))])


def test_a_loss_that_is_no_number_ends_training_and_puts_modes_back() -> None:
    body = _body().eval()
    a = auxiliary(body, _task())
    with pytest.raises(ng.EditError, match=r"the loss is .*take a smaller learning rate"):
        a.train(torch.optim.SGD(body.parameters(), lr=1e200), epochs=5)
    assert not body.training
