"""Students: smaller networks filled from bigger ones."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.transfer.student_networks import Bottleneck, ConvBlock, LinearBlock, ResNet, randomised


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _idle(model: ResNet) -> None:
    """Let every second block do nothing."""
    for stage in (model.layer1, model.layer2):
        for number in (1, 3):
            block: Any = stage[number]
            nn.init.zeros_(block.bn2.weight)
            nn.init.zeros_(block.bn2.bias)


def _relative(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("select", ["reconstruction", "l2", "uniform"])
def test_a_student_of_the_same_shape_is_a_copy(conv: bool, select: str) -> None:
    torch.manual_seed(0)
    big, small = randomised(ResNet(2, conv=conv), 0), randomised(ResNet(2, conv=conv), 1)
    report = ng.transfer.student(small, big, torch.randn(2, 3, 16, 16), select=select)
    assert _equal(small.state_dict(), big.state_dict())
    assert report.blocks_used == 1
    assert report.neurons_used == 1


@pytest.mark.parametrize("conv", [False, True])
def test_blocks_that_do_nothing_are_left_out_exactly(conv: bool) -> None:
    torch.manual_seed(1)
    small, big = randomised(ResNet(2, conv=conv), 0), randomised(ResNet(4, conv=conv), 1)
    _idle(big)
    x = torch.randn(64, 3, 12, 12)
    ng.transfer.student(
        small, big, x[:2], depth={f"layer{s}.{n}": [f"layer{s}.{2 * n}"] for s in (1, 2) for n in (0, 1)}
    )
    with torch.no_grad():
        assert _relative(small(x), big(x)) < 1e-6
    report = ng.transfer.student(small, big, x[:2], calibration=x, depth="choose")
    with torch.no_grad():
        assert _relative(small(x), big(x)) < 1e-3
    used = [block.blocks for block in report.blocks if block.name.startswith("layer")]
    assert used == [("layer1.0",), ("layer1.2",), ("layer2.0",), ("layer2.2",)]


def test_merged_runs_with_idle_blocks_compute_the_same() -> None:
    torch.manual_seed(2)
    small, big = randomised(ResNet(2), 0), randomised(ResNet(4), 1)
    _idle(big)
    x = torch.randn(256, 3, 12, 12)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    with torch.no_grad():
        assert _relative(small(x), big(x)) < 1e-3
    assert report.agreement is not None
    assert report.agreement > 0.999


@pytest.mark.parametrize("seed", range(3))
def test_two_linear_blocks_merge_into_one_of_the_sum_of_their_ranks(seed: int) -> None:
    torch.manual_seed(seed)
    big = nn.Sequential(*[LinearBlock(6, 4, 2) for _ in range(4)], nn.Linear(6, 3)).double()
    small = nn.Sequential(*[LinearBlock(6, 4, 4) for _ in range(2)], nn.Linear(6, 3)).double()
    x = torch.randn(256, 6, dtype=torch.float64)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    with torch.no_grad():
        assert _relative(small(x), big(x)) < 1e-3
    assert [block.way for block in report.blocks[:2]] == ["merged", "merged"]


@pytest.mark.parametrize("seed", range(3))
def test_bottleneck_blocks_merge(seed: int) -> None:
    torch.manual_seed(seed)
    big = randomised(nn.Sequential(nn.Conv2d(3, 8, 3), *[Bottleneck(8, 6) for _ in range(4)]), 0)
    small = randomised(nn.Sequential(nn.Conv2d(3, 8, 3), *[Bottleneck(8, 6) for _ in range(2)]), 1)
    for model in (big, small):
        blocks: list[Any] = list(model.children())[1:]
        for block in blocks:
            nn.init.constant_(block.bn3.weight, 0.3)
    x = torch.randn(128, 3, 10, 10)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    merged = [block for block in report.blocks if block.way == "merged"]
    assert len(merged) == 2
    assert all(block.after < block.before for block in merged)  # type: ignore[operator]
    assert report.steps[-1].agreement >= report.steps[-2].agreement


def test_uniform_selection_copies_evenly_spread_indices() -> None:
    torch.manual_seed(4)
    big = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))
    small = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))
    first, second = [0, 2, 4, 6], [0, 2, 4]
    ng.transfer.student(small, big, torch.randn(2, 4), select="uniform")
    layers: Any = big
    wanted = {
        "0.weight": layers[0].weight[first], "0.bias": layers[0].bias[first],
        "2.weight": layers[2].weight[second][:, first], "2.bias": layers[2].bias[second],
        "4.weight": layers[4].weight[:, second], "4.bias": layers[4].bias,
    }  # fmt: skip
    assert _equal(small.state_dict(), wanted)


def test_dead_neurons_go_and_the_function_stays() -> None:
    torch.manual_seed(5)
    small, big = randomised(ResNet(2, 6), 0), randomised(ResNet(2, 6), 1)
    blocks: list[Any] = [block for stage in (big.layer1, big.layer2) for block in stage]
    for block in blocks:
        width = block.conv1.out_channels
        wide = ConvBlock(width, width)
        wide.conv1 = nn.Conv2d(block.conv1.in_channels, width + 3, 3, block.stride, 1, bias=False)
        wide.bn1, wide.conv2 = nn.BatchNorm2d(width + 3), nn.Conv2d(width + 3, width, 3, 1, 1, bias=False)
        with torch.no_grad():
            wide.conv1.weight.zero_()
            wide.conv1.weight[1 : width + 1] = block.conv1.weight
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(wide.bn1, name)[1 : width + 1] = getattr(block.bn1, name)
            wide.bn1.weight[[0, -1, -2]] = 0
            wide.conv2.weight.zero_()
            wide.conv2.weight[:, 1 : width + 1] = block.conv2.weight
        block.conv1, block.bn1, block.conv2 = wide.conv1, wide.bn1, wide.conv2
    big.eval()
    x = torch.randn(64, 3, 12, 12)
    for select in ("l2", "reconstruction"):
        report = ng.transfer.student(small, big, x[:2], calibration=x, select=select)
        with torch.no_grad():
            assert _relative(small(x), big(x)) < 1e-4
        assert {width.of - len(width.kept) for width in report.widths} == {3}


def test_the_student_is_undone_bit_for_bit_and_the_teacher_is_left_alone() -> None:
    torch.manual_seed(6)
    small, big = randomised(ResNet(1), 0), randomised(ResNet(3), 1)
    small.train()
    big.layer1.train()
    calls: list[int] = []
    big.register_forward_hook(lambda *given: calls.append(1))
    before, teacher = _state(small), _state(big)
    flags = [module.training for model in (small, big) for module in model.modules()]
    x = torch.randn(32, 3, 12, 12)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    assert not _equal(small.state_dict(), before)
    assert _equal(big.state_dict(), teacher)
    assert len(big._forward_hooks) == 1
    assert flags == [module.training for model in (small, big) for module in model.modules()]
    report.undo()
    assert _equal(small.state_dict(), before)


def test_the_report_tells_where_blocks_went() -> None:
    torch.manual_seed(7)
    small, big = randomised(ResNet(1), 0), randomised(ResNet(2), 1)
    x = torch.randn(32, 3, 12, 12)
    report = ng.transfer.student(small, big, x[:2], calibration=x)
    text = str(report)
    for words in ("layer1.0, layer1.1", "Suggested learning rate", "held-out inputs"):
        assert words in text
    assert "<table>" in report._repr_html_()
    assert "layer2.1" in str(report.svg())


def _other() -> nn.Module:
    """A network whose blocks begin otherwise."""
    net = ResNet(2)
    for block in net.layer1:
        block.conv1 = nn.Conv2d(8, 8, 3, 2, 1)
        block.conv2 = nn.ConvTranspose2d(8, 8, 2, 2)
    return net


def _errors() -> list[tuple[str, nn.Module, nn.Module, dict[str, object]]]:
    torch.manual_seed(8)
    two, three = ResNet(2), ResNet(3)
    return [
        ("give calibration=", two, three, {}),
        ("3 blocks", three, ResNet(2), {}),
        ("which is no part of", ResNet(2, 12), three, {"calibration": torch.randn(8, 3, 12, 12)}),
        ("no block 'layer1.9'", two, three, {"depth": {"layer1.0": ["layer1.9"], "layer1.1": ["layer1.2"]}}),
        ("no block 'layer7.0'", two, three, {"depth": {"layer7.0": ["layer1.0"]}}),
        ("not in their order", two, three, {"depth": {"layer1.0": ["layer1.1"], "layer1.1": ["layer1.0"]}}),
        ("gives no blocks for 'layer1.1'", two, three, {"depth": {"layer1.0": ["layer1.1"]}}),
        ("another structure", two, three, {"depth": {"layer2.0": ["layer2.1"], "layer2.1": ["layer2.2"]}}),
        ('give "merge", "choose" or a dict', two, three, {"depth": "deep"}),
        ("'reconstruction', 'l2', 'uniform'", two, three, {"select": "taylor"}),
        ("they part at 'layer1.0.conv1' (Conv2d giving [2, 8, 12, 12])", two, _other(), {}),
        ("share parameters", two, two, {}),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(12))
def test_errors_come_before_anything_changes(number: int) -> None:
    message, small, big, options = _errors()[number]
    before, teacher = _state(small), _state(big)
    with pytest.raises(ng.EditError, match=re.escape(message)):
        ng.transfer.student(small, big, torch.randn(2, 3, 12, 12), **options)  # type: ignore[arg-type]
    assert _equal(small.state_dict(), before)
    assert _equal(big.state_dict(), teacher)


def test_inputs_that_the_student_does_not_take() -> None:
    small, big = ResNet(2), ResNet(3)
    with pytest.raises(ng.EditError, match="the network to be written cannot be captured with args="):
        ng.transfer.student(small, big, torch.randn(2, 4, 12, 12))


def test_a_failure_half_way_leaves_the_student_as_it_was() -> None:
    torch.manual_seed(9)
    small, big = randomised(ResNet(1), 0), randomised(ResNet(2), 1)
    before = copy.deepcopy(_state(small))
    x = torch.randn(32, 3, 12, 12)
    x[20] = float("nan")
    with pytest.raises(ng.EditError, match="not a number"):
        ng.transfer.student(small, big, x[:2], calibration=x)
    assert _equal(small.state_dict(), before)


class StartingCache(nn.Module):
    """Keys are put behind those of an empty cache, as decoders do it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.keys, self.head = nn.Linear(4, hidden), nn.Linear(hidden, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, n, 4) to (batch, n, 3)."""
        return self.head(torch.cat([torch.tensor([]), self.keys(x)], -2))  # type: ignore[no-any-return]


def test_empty_tensors_ask_for_no_size() -> None:
    torch.manual_seed(0)
    small, big, x = StartingCache(6), StartingCache(8), torch.randn(2, 5, 4)
    ng.transfer.student(small, big, x, select="l2")
    kept = [row for row in range(8) if (small.keys.weight == big.keys.weight[row]).all(1).any()]
    assert len(kept) == 6
    assert torch.equal(small.head.weight, big.head.weight[:, kept])


class ClampedKeys(nn.Module):
    """A network whose forward writes into its weights."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.keys, self.head = nn.Linear(4, hidden), nn.Linear(hidden, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 4) to (batch, 3)."""
        with torch.no_grad():
            self.keys.weight.clamp_(-0.4, 0.4)
        return self.head(self.keys(x).relu())  # type: ignore[no-any-return]


def test_the_student_keeps_what_it_is_given_where_its_forward_writes_into_weights() -> None:
    torch.manual_seed(0)
    small, big, x = ClampedKeys(8), ClampedKeys(8), torch.randn(64, 4)
    small(x), big(x)
    ng.capture(small, x[:2])
    ng.transfer.student(small, big, x[:2], calibration=x)
    assert _equal(small.state_dict(), big.state_dict())
