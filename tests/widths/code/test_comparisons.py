"""Code that compares two sizes goes the same way after an edit."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate


class Stages(nn.Module):
    """The stages of a hierarchical transformer: where a block widens, its shortcut is projected."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(6, sizes[0])
        self.bodies = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.shortcuts = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(sizes[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for body, shortcut in zip(self.bodies, self.shortcuts, strict=True):
            y = body(x)
            x = (shortcut(x) if body.in_features != body.out_features else x) + y.relu()
        return self.head(x)  # type: ignore[no-any-return]


def same_but_for_the_code(model: nn.Module, x: Tensor, before: nn.Module) -> bool:
    """Whether the model's own forward calls the layers it called before."""
    return [v.name for v in capture(model, x)] == [v.name for v in capture(before, x)]


@pytest.mark.parametrize("sizes", [(12, 16), (16, 12), (12, 12, 20, 20, 14)])
def test_what_differs_keeps_its_order_and_what_is_equal_stays_so(sizes: tuple[int, ...]) -> None:
    model, x = Stages(*sizes).eval(), torch.randn(2, 6)
    before = copy.deepcopy(model)
    for step in range(1, 4):
        edit = ng.prune(model, x, macs=0.7)
        assert edit, step
        assert same_but_for_the_code(model, x, before)
        now = [len(layer.weight) for layer in (model.embed, *model.bodies)]
        for (a, b), (c, d) in zip(itertools.pairwise(sizes), itertools.pairwise(now), strict=True):
            assert (a > b, a == b) == (c > d, c == d)


def test_the_reason_names_the_line_and_the_way_out() -> None:
    model, x = Stages(12, 13).eval(), torch.randn(2, 6)
    constraints = constraints_of(relate(capture(model, x)))
    (row,) = constraints.width_constraints
    line = Stages.forward.__code__.co_firstlineno + 4
    assert f"the code compares sizes at tests/widths/code/test_comparisons.py:{line} " in row.reason
    assert row.reason.endswith("in ng.capture(...).to_module() nothing is compared")
    assert row.reason in str(ng.explain(capture(model, x), "embed")).replace("\n", " ")
    module = capture(model, x).to_module()
    assert constraints_of(relate(capture(module, x))).width_constraints == []


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if x.shape[-1] > 11.5 and x.shape[-1] != 0 and x.shape[0] < 100:
            x = x.relu()
        return self.last(x)  # type: ignore[no-any-return]


def test_a_size_stays_above_the_number_it_was_found_to_be_above() -> None:
    model, x = Wide().eval(), torch.randn(2, 6)
    edit = ng.prune(model, x, ratio=0.2)
    assert model.first.out_features == 12
    edit.undo()
    graph = capture(model, x)
    assert ng.resize(graph, {"first": ng.size(12)})
    with pytest.warns(UserWarning, match="first"):
        ng.resize(graph, {"first": ng.size(5)})
    assert model.first.out_features == 12
    with pytest.raises(ng.InfeasibleError, match=r"at least .* macs remain.* the code compares sizes at"):
        ng.prune(model, x, macs=0.1)


def test_a_comparison_that_comes_out_the_same_for_every_size_demands_nothing() -> None:
    class Checked(Wide):
        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            if x.shape[-1] == 0 or x.shape[-1] < 1 or x.shape[0] == 77 or not x.shape[-1] > 0.5:
                raise ValueError("empty")
            return self.last(x)  # type: ignore[no-any-return]

    constraints = constraints_of(relate(capture(Checked(), torch.randn(2, 6))))
    assert (constraints.width_constraints, constraints.fixed) == ([], {})
