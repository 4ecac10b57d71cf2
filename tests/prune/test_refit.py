"""Pruning with calibration data: the refit is a part of the edit."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.reconstruct.test_reconstruct import distance, same, state


def network() -> Any:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5),
    ).eval()  # fmt: skip


IMAGES = torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("captured", [False, True])
def test_the_weights_are_refitted_and_undo_restores_them(captured: bool) -> None:
    net, plain, teacher, held = network(), network(), network(), torch.randn(100, 3, 8, 8)
    optimizer = torch.optim.Adam(net.parameters())
    net(IMAGES[:4]).square().sum().backward()
    optimizer.step()
    plain.load_state_dict(net.state_dict())
    teacher.load_state_dict(net.state_dict())
    before, ng_model = state(net), ng.capture(net, IMAGES[:2]) if captured else net
    args = () if captured else (IMAGES[:2],)
    ng.prune(plain, IMAGES[:2], macs=0.5)
    edit = ng.prune(ng_model, *args, macs=0.5, calibration=IMAGES, optimizer=optimizer)
    assert distance(net, teacher, held) < 0.7 * distance(plain, teacher, held)
    assert edit.refit is not None
    assert edit.refit.samples == 200
    assert {layer.name for layer in edit.refit.layers} >= {"3", "7"}
    assert "samples, errors on 25 held out" in str(edit)
    assert "layers refitted" in repr(edit)
    edit.undo()
    assert same(state(net), before)
    assert optimizer.state[net[7].weight]["exp_avg"].shape == net[7].weight.shape


def test_without_refit_and_without_data_it_is_as_it_was() -> None:
    nets = [network() for _ in range(3)]
    options: list[dict[str, Any]] = [{}, {"calibration": IMAGES, "refit": False}, {"refit": True}]
    for net, more in zip(nets, options, strict=True):
        edit = ng.prune(net, IMAGES[:2], macs=0.5, utility="l2", **more)
        assert edit.refit is None
    assert same(state(nets[0]), state(nets[1]))
    assert same(state(nets[0]), state(nets[2]))


def test_a_generator_serves_both_the_choice_and_the_refit() -> None:
    net = network()
    labels = torch.zeros(50)
    batches = ((IMAGES[i : i + 50], labels) for i in range(0, 200, 50))
    edit = ng.prune(net, IMAGES[:2], macs=0.5, calibration=batches)
    assert edit.refit is not None
    assert edit.refit.samples == 200


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (IMAGES[:, :2], "has shape"),
        (torch.full_like(IMAGES, torch.nan), "NaN"),
        ([], "gave no batches"),
        (3, "calibration= cannot be a int"),
    ],
)
def test_data_that_does_not_fit_changes_nothing(batches: Any, message: str) -> None:
    net = network()
    before = state(net)
    with pytest.raises(ng.EditError, match=message):
        ng.prune(net, IMAGES[:2], macs=0.5, calibration=batches)
    assert same(state(net), before)


class Grows(nn.Module):
    """A network that takes no more than a number of samples after its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 2)
        self.limit = nn.Parameter(torch.zeros(40, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add a row of a table to each sample."""
        return self.two(self.one(x).relu()) + self.limit[: x.shape[0]]  # type: ignore[no-any-return]


def test_a_failure_in_the_refit_undoes_the_pruning() -> None:
    net, x = Grows(), torch.randn(60, 4)
    before, teacher = state(net), copy.deepcopy(net)
    with pytest.raises(ng.EditError, match="does not run on batch 2 of calibration="):
        ng.prune(net, x[:2], macs=0.5, calibration=[x[:30], x])
    assert same(state(net), before)
    assert torch.equal(net(x[:3]), teacher(x[:3]))


def test_averages_are_pruned_with_a_note() -> None:
    net = network()
    average: Any = torch.optim.swa_utils.AveragedModel(net)
    edit = ng.prune(net, IMAGES[:2], macs=0.5, calibration=IMAGES, optimizer=average)
    assert any("not refitted" in note for note in edit.notes)
    assert average.module[0].weight.shape == net[0].weight.shape
