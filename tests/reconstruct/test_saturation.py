"""The refit before an activation: what that takes for one number counts as met."""

import copy
import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.reconstruct.saturated_rows import SaturatedRows
from naivegraph.reconstruct.saturation import Saturation, saturation_of

LIKE = torch.zeros(())


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (nn.ReLU(), 0, math.inf), (nn.ReLU6(inplace=True), 0, 6), (nn.Hardswish(), -3, math.inf),
        (nn.Hardsigmoid(), -3, 3), (nn.Hardtanh(-0.3, 0.7), -0.3, 0.7),
        (nn.Threshold(0.1, 20), 0.1, math.inf),
        (nn.LeakyReLU(), -math.inf, math.inf), (nn.Hardshrink(), -math.inf, math.inf),
        (lambda x: -(x - 500).relu(), 500, math.inf), (lambda x: 0 * x, -math.inf, math.inf),
        (lambda x: x.clamp(max=2), -math.inf, 2), (lambda x: x[:1], -math.inf, math.inf),
    ],
)  # fmt: skip
def test_what_a_function_makes_alike_is_found(function: Any, low: float, high: float) -> None:
    found = saturation_of(function, LIKE)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert bool(found) == (math.isfinite(low) or math.isfinite(high))


@pytest.mark.parametrize("function", [nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.ELU()])
def test_smooth_functions_are_alike_only_where_their_numbers_are(function: nn.Module) -> None:
    found = saturation_of(function, LIKE)
    far = torch.linspace(math.asinh(1024), 0, 1000).sinh()
    if math.isfinite(found.low):
        below = function(torch.cat([-far[far > -found.low], torch.tensor([found.low])]))
        assert (below - below[0]).abs().max() <= 1e-6
    if math.isfinite(found.high):
        above = function(torch.cat([far[far > found.high], torch.tensor([found.high])]))
        assert (above - above[0]).abs().max() <= 1e-6


def test_errors_and_moves_are_those_of_a_dense_formulation() -> None:
    x, y, weights = (torch.randn(2, *size, dtype=torch.float64) for size in ((50, 3), (50, 4), (4, 4)))
    low, high = torch.full((2, 1, 4), -0.5).double(), torch.full((2, 50, 4), 0.5).double()
    held = torch.arange(50) % 5 == 0
    rows = SaturatedRows(50, 3)
    for part in (slice(0, 20), slice(20, 50)):
        rows.add(x[:, part], y[:, part], low, high[:, part], held[part])
    given = x @ weights[:, :3] + weights[:, 3:]
    # A target inside the bounds is missed by the whole way; one beyond, by the way to its bound.
    wrong = torch.where(y >= 0.5, (0.5 - given).clamp(min=0), given - y)
    wrong = torch.where(y <= -0.5, (given + 0.5).clamp(min=0), wrong)
    assert rows.error(weights, True) == pytest.approx(float(wrong[:, held].square().sum()))
    assert rows.error(weights, False) == pytest.approx(float(wrong[:, ~held].square().sum()))
    ones = torch.cat([x, x.new_ones(2, 50, 1)], 2)
    sign = torch.where(y <= -0.5, -1.0, torch.where(y >= 0.5, 1.0, 0.0))
    wanted = torch.where(sign == 0, y, given + sign * wrong)
    moved = ones[:, ~held].transpose(1, 2) @ (wanted - y)[:, ~held]
    torch.testing.assert_close(rows.moved(weights, False), moved)


def test_of_many_rows_evenly_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(SaturatedRows.__module__), "_KEPT", 30)
    rows = SaturatedRows(100, 1)
    bound = torch.zeros(1, 1, 1)
    rows.add(
        torch.ones(1, 100, 1), torch.ones(1, 100, 1), bound, bound + 9, torch.zeros(100, dtype=torch.bool)
    )
    assert rows.error(torch.zeros(1, 2, 1), False) == 100  # 25 kept, each for four


def test_rows_with_next_to_no_target_beyond_a_bound_do_not_count() -> None:
    y = torch.linspace(-1, 1, 1000)[None, :, None]
    for bound, counts in ((-0.99, False), (-0.9, True)):
        rows = SaturatedRows(1000, 1)
        low = torch.full((1, 1, 1), bound)
        rows.add(y, y, low, torch.full_like(low, math.inf), torch.zeros(1000, dtype=torch.bool))
        assert bool(rows) == counts


# -- whole refits --


def test_many_groups_are_fitted_to_no_more_rows_than_memory_is_worth() -> None:
    net: Any = nn.Sequential(
        nn.Conv2d(3, 512, 1), nn.ReLU(), nn.Conv2d(512, 512, 3, groups=512), nn.ReLU(), nn.Conv2d(512, 8, 1)
    )
    x, teacher = torch.randn(48, 3, 16, 16), copy.deepcopy(net)
    with torch.no_grad():
        net[0].weight.add_(0.1 * torch.randn_like(net[0].weight))
    edit = ng.reconstruct(net, teacher, x)
    assert edit.refit is not None
    rows = {layer.name: layer.rows for layer in edit.refit.layers}
    # Of 9,408 places all are taken by the last layer, and 2^24 numbers by the one of 512 groups of nine.
    assert rows["4"] == 48 * 14 * 14
    assert rows["2"] == pytest.approx(2**24 / (9 * 512), rel=0.05)


def behind_zero() -> Any:
    """A network whose neuron 1 only pushes the next layer further below zero: without it nothing is lost."""
    net: Any = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        net[0].bias.copy_(torch.tensor([0.0, 0.0]))
        net[2].weight.copy_(torch.tensor([[1.0, -5.0]]))
        net[2].bias.zero_()
    return net.double()


def error(net: nn.Module, teacher: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((net(x) - teacher(x)).square().mean() / teacher(x).var())


def test_what_an_activation_hides_is_no_reason_to_change_weights() -> None:
    net, x = behind_zero(), torch.rand(512, 1).double() * 2 - 1
    teacher = copy.deepcopy(net)
    ng.resize(ng.capture(net, x[:2]), {"0": -1}, utility={"0": [1.0, 0.0]})
    edit = ng.reconstruct(net, teacher, x)
    assert error(net, teacher, x) < 1e-12
    assert edit.refit is not None
    assert not edit.refit.count


class Block(nn.Module):
    """A branch that ends in a sum with an activation behind it, and the same without its hidden neurons."""

    def __init__(self, norm: Callable[[int], nn.Module], act: nn.Module) -> None:
        super().__init__()
        self.stem, self.first, self.last = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 24, 3),
            nn.Conv2d(24, 8, 3, padding=2),
        )
        self.one, self.two, self.act = norm(24), norm(8), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.two(self.last(self.act(self.one(self.first(x)))))
        return self.act(x)  # type: ignore[no-any-return]


class FunctionalNorm(nn.BatchNorm2d):
    """A batch norm with its activation in one module, as in image models, by the function."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm2d, FunctionalNorm])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.Hardtanh(-0.2, 0.4)], ids=["relu", "hardtanh"])
def test_a_refit_that_sees_activations_leaves_less_error(
    norm: Any, act: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net: Any = Block(norm if norm is not nn.Identity else lambda size: nn.Identity(), act)
    for layer in (net.one, net.two):
        for name, tensor in layer.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(-1, 1) if name in ("weight", "bias", "running_mean") else tensor.uniform_(
                    0.5, 2
                )
    net, x, held = net.double().eval(), torch.randn(256, 3, 6, 6).double(), torch.randn(64, 3, 6, 6).double()
    with torch.no_grad():
        net.last.weight.mul_(6)  # a branch that counts
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:2], ratio={"first": 0.5})
    plain = copy.deepcopy(net)
    edit = ng.reconstruct(net, teacher, x)
    surroundings = importlib.import_module("naivegraph.reconstruct.surroundings")
    monkeypatch.setattr(surroundings, "saturation_of", lambda function, like: Saturation())
    ng.reconstruct(plain, teacher, x)
    assert error(net, teacher, held) < error(plain, teacher, held)
    assert edit.refit is not None
    assert {layer.name for layer in edit.refit.layers} >= {"first", "last"}


def test_statistics_of_a_batch_norm_that_is_a_function_take_the_shift() -> None:
    net: Any = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=False), FunctionalNorm(5),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    ).double().eval()  # fmt: skip
    with torch.no_grad():
        net[0].weight[4], net[0].bias[4] = 0, 0.7  # a constant: into the mean of the batch norm
        net[3].running_mean.normal_()
        net[3].running_var.uniform_(0.5, 2)
    x, teacher = torch.randn(64, 2, 8, 8).double(), copy.deepcopy(net)
    worth = [0.0 if i == 4 else 1.0 for i in range(6)]
    pruned = ng.resize(ng.capture(net, x[:2]), {"0": -1}, utility={"0": worth})
    mean, before = net[3].running_mean.clone(), error(net, teacher, x)
    edit = ng.reconstruct(net, teacher, x)
    assert before > 1e-4
    assert error(net, teacher, x) < 1e-8
    assert not torch.equal(net[3].running_mean, mean)
    edit.undo()
    assert torch.equal(net[3].running_mean, mean)
    pruned.undo()
