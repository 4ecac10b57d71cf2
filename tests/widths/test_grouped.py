"""Experts whose matrices lie in one tensor: products of rows sorted by group."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.costs import Costs
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate
from tests.oracle import zeroed

pytestmark = pytest.mark.skipif(
    not hasattr(nn.functional, "grouped_mm"), reason="this torch has no products of groups"
)


class Experts(nn.Module):
    """Three experts of two layers; the first rows go to the first one, and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 16)
        self.up = nn.Parameter(torch.randn(3, 24, 16))
        self.down = nn.Parameter(torch.randn(3, 24, 8))

    def forward(self, x: Tensor) -> Tensor:
        ends = torch.tensor([2, 3, 7], dtype=torch.int32)
        hidden = nn.functional.grouped_mm(self.inner(x), self.up.transpose(-2, -1), offs=ends)
        return nn.functional.grouped_mm(hidden.relu(), self.down, offs=ends)


@torch.no_grad()
def test_hidden_neurons_of_experts_go_in_all_of_them_and_in_whole_blocks() -> None:
    torch.manual_seed(0)
    model, x = Experts(), torch.randn(7, 5)
    original = copy.deepcopy(model)
    widths = relate(capture(model, x))
    # Rows of a kernel are whole multiples of 16 bytes, four numbers: six blocks of 24, four of 16.
    assert {w.name: w.size for w in widths} == {"inner": 4, "up": 6}
    assert Costs.of(widths).macs == 7 * (5 * 16 + 16 * 24 + 24 * 8)
    kept = {w: np.array([0, w.size - 1]) for w in widths}
    zero = zeroed(model, widths, kept)
    apply(plan(widths, constraints_of(widths), kept), model)
    assert (model.up.shape, model.down.shape) == ((3, 8, 8), (3, 8, 8))
    torch.testing.assert_close(model(x), zero(x))
    assert not torch.allclose(original(x), zero(x))


def test_axis_of_experts_stays() -> None:
    widths = relate(capture(Experts(), torch.randn(7, 5)))
    fixed = {(axis.name, axis.dim): axis.reason for axis in widths.fixed()}
    assert fixed["up", 0].startswith("a matrix for each group of rows")
    assert fixed["down", 2].startswith("an output of the network")


def normed_in_groups() -> Any:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 4, 1)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("more", [4, 8])
def test_growth_by_whole_groups_of_a_group_norm_keeps_the_function(more: int) -> None:
    model, image = normed_in_groups(), torch.randn(2, 3, 8, 8)
    before = model(image)
    edit = ng.resize(ng.capture(model, image), {"0": +more})
    assert model[0].out_channels == 16 + more
    torch.testing.assert_close(model(image), before)
    assert edit.notes == ()


def test_a_size_that_would_replace_neurons_of_a_group_norm_is_not_taken() -> None:
    """18 is 2 x 9, 3 x 6 or 6 x 3: neurons would go, and new ones come in their place."""
    model, image = normed_in_groups(), torch.randn(2, 3, 8, 8)
    before = model(image)
    with pytest.warns(UserWarning, match="none loses useful neurons while others gain new ones"):
        ng.resize(ng.capture(model, image), {"0": +2})
    assert model[0].out_channels == 20
    torch.testing.assert_close(model(image), before)
