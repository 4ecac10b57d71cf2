"""The report of `inspect`: what may change, as part of what, and what cannot and why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.networks.plain import by_name


def test_heads_and_head_sizes_are_told_apart() -> None:
    model, inputs = by_name("RotaryGrouped").make()
    report = ng.inspect(model, inputs)
    assert {width.name: report.parts[width.name] for width in report.free} == {
        "q": "[2]*3*2*4", "q:2": "2*[3]*2*4",
    }  # fmt: skip
    assert "2*[3]*2*4" in str(report)
    assert any(f.reason.startswith("its size is written as 4 at tests/networks/") for f in report.fixed)


def test_norms_that_see_a_width_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    text = str(ng.inspect(model, torch.ones(1, 4)))
    (first,) = [line for line in text.splitlines() if line.startswith("│ 0 ")]
    (second,) = [line for line in text.splitlines() if line.startswith("│ 2 ")]
    assert "a layer norm at 1" in first
    assert "norm" not in second
    assert "removing some changes what becomes of the others" in text.replace("\n", " ")


class Written(nn.Module):
    """Two blocks with a size written into the code they share."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x).view(-1, 2, 3).flatten(1)
        return self.out(x)  # type: ignore[no-any-return]


def test_what_one_line_of_code_holds_is_told_once_and_first() -> None:
    report = ng.inspect(Written(), torch.ones(2, 6))
    assert report.free == ()
    reason = report.fixed[0].reason
    assert reason.startswith("its size is written as 2 at tests/prune/test_report.py:")
    assert [fixed.params for fixed in report.fixed] == sorted((f.params for f in report.fixed), reverse=True)
    assert "What may change" not in str(report)


@torch.library.custom_op("report::coarse", mutates_args=())
def coarse(x: Tensor) -> Tensor:
    """Round to quarters, by an operator that nobody else knows."""
    return (x * 4).round() / 4


coarse.register_fake(torch.empty_like)


def test_a_pruning_that_removed_nothing_says_why() -> None:
    class Coarse(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, coarse(self.weight), self.bias)

    model, inputs = nn.Sequential(Coarse(4, 8), nn.ReLU(), Coarse(8, 2)), torch.randn(3, 4)
    edit = ng.prune(model.eval(), inputs, ratio=0.5)
    assert not edit
    assert any(
        note.startswith("Nothing was removed: operator ") and "has no rule" in note for note in edit.notes
    )
    with pytest.raises(
        ng.InfeasibleError, match=r"What cannot change, among others: operator .* has no rule"
    ):
        ng.prune(model, inputs, macs=0.5)
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert ng.prune(plain, inputs, macs=1.0).notes == (
        "Nothing was removed: what was asked for leaves every size as it is.",
    )
