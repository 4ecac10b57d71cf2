"""Sums and concatenations that are made for an edge or a branch, where the target joins nothing."""

from __future__ import annotations

import copy
import pathlib
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.c = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.c(self.norm(self.b(self.a(x).relu())).relu())
        return out.mean((2, 3))


def made() -> tuple[ng.Graph, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    return ng.capture(Image().eval(), x), x


def test_an_edge_through_a_new_concatenation_keeps_the_function_and_carries_what_it_takes() -> None:
    graph, x = made()
    before = graph(x)
    edit = ng.connect(graph, "a", "b", merge="concat")
    torch.testing.assert_close(graph(x), before)
    assert [v.name for v in graph.inputs_of("cat")] == ["b", "a"]
    assert graph.sizes["cat"] == 14
    assert edit.sizes["norm"].new == 6
    net: Any = graph.module
    a = net.a(x)
    with torch.no_grad():
        net.c.weight[:, 8:].normal_()
    joined = torch.cat([net.b(a.relu()), a], 1)
    torch.testing.assert_close(graph(x), net.c(net.norm(joined).relu()).mean((2, 3)))
    edit.undo()
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)


def test_the_new_part_can_come_first() -> None:
    graph, x = made()
    before = graph(x)
    ng.connect(graph, "a", "norm", merge="concat", position=0)
    assert [v.name for v in graph.inputs_of("cat")] == ["a", "norm"]
    torch.testing.assert_close(graph(x), before)


def test_a_source_that_comes_later_is_computed_earlier() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 2)
            self.late = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.b(self.a(x)), self.late(x).relu()

    x = torch.randn(3, 4)
    graph = ng.capture(Two(), x)
    before = graph(x)
    ng.connect(graph, "relu", "a", merge="concat")
    for one, two in zip(graph(x), before, strict=True):
        torch.testing.assert_close(one, two)
    assert graph.sizes["cat"] == 8


def test_an_edge_through_a_new_sum_adds() -> None:
    graph, x = made()
    net: Any = copy.deepcopy(graph.module)
    ng.resize(graph, {"b": -2})  # so that both have 6
    net = copy.deepcopy(graph.module)
    ng.connect(graph, "a", "b", merge="sum")
    a = net.a(x)
    torch.testing.assert_close(graph(x), net.c(net.norm(net.b(a.relu()) + a).relu()).mean((2, 3)))


def test_a_branch_of_any_width_joins_by_a_concatenation() -> None:
    graph, x = made()
    before = graph(x)
    optimizer = torch.optim.Adam(graph.module.parameters())
    ng.branch(
        graph, "a", "b", lambda taken, _: nn.Conv2d(taken, 3, 1), name="side", merge="concat", zero=False,
        optimizer=optimizer,
    )  # fmt: skip
    torch.testing.assert_close(graph(x), before)
    assert graph.sizes["cat"] == 11
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in graph.module.parameters()}
    graph(x).square().sum().backward()
    optimizer.step()
    assert bool((graph(x) != before).any())


def test_both_are_repeated_saved_and_undone(tmp_path: pathlib.Path) -> None:
    graph, x = made()
    fresh = copy.deepcopy(graph)
    first = ng.connect(graph, "a", "b", merge="concat")
    second = ng.branch(graph, "a", "c", lambda taken, _: nn.Conv2d(taken, 2, 1), merge="concat")
    assert [v.name for v in graph if "cat" in v.name] == ["cat", "cat_2"]
    for edit in (first, second):
        ng.replay(fresh, edit)
    torch.testing.assert_close(fresh(x), graph(x))
    ng.save(graph, tmp_path / "net.safetensors")
    loaded = ng.load(ng.capture(Image().eval(), x), tmp_path / "net.safetensors")
    torch.testing.assert_close(loaded(x), graph(x))
    second.undo()
    first.undo()
    assert [v.name for v in graph] == ["x", "a", "relu", "b", "norm", "relu_1", "c", "mean"]


def test_what_is_refused_leaves_no_concatenation_behind() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), nn.Flatten(), nn.Linear(6, 2))
    x = torch.randn(3, 4)
    graph = ng.capture(net, x)
    before, names = graph(x), [v.name for v in graph]
    assert not ng.can(graph, "connect", "input", "3", merge="concat", position=7)
    wrong: Any = "mean"
    with pytest.raises(ng.EditError, match='merge=\'mean\': give "sum" or "concat"'):
        ng.connect(graph, "input", "0", merge=wrong)
    with pytest.raises(ng.EditError, match="position must be a whole number from 0 up to 1, not 7"):
        ng.connect(graph, "input", "3", merge="concat", position=7)
    assert [v.name for v in graph] == names
    assert torch.equal(graph(x), before)


def test_a_block_whose_size_is_read_outside_is_not_taken_out() -> None:
    class Heads(nn.Module):
        def forward(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            return x.reshape(like.shape[0], 2, -1).flatten(1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.heads, self.c = nn.Linear(4, 4), nn.Linear(4, 4), Heads(), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner = self.a(x)
            out: torch.Tensor = self.c(self.heads(x + self.b(inner), inner))
            return out

    x = torch.randn(3, 4)
    graph = ng.capture(Net(), x)
    names, before = [v.name for v in graph], graph(x)
    assert not ng.can(graph, "remove", ("a", "add"))
    with pytest.raises(ng.EditError, match=r"takes sizes from what 'a' in .* gives, which would go"):
        ng.remove(graph, ("a", "add"))
    assert [v.name for v in graph] == names
    assert torch.equal(graph(x), before)


def test_growth_that_enters_a_statistic_is_told() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    x = torch.randn(3, 4)
    graph = ng.capture(net, x)
    before = graph(x)
    edit = ng.connect(graph, "input", "0", merge="concat")
    assert not torch.allclose(graph(x), before)
    assert any("change what the network computes" in note for note in edit.notes)


def test_a_concatenation_outlives_the_layer_it_was_made_behind() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    graph = ng.capture(net, torch.randn(2, 3, 8, 8))
    ng.connect(graph, "input", "0", merge="concat")
    ng.remove(graph, "0", reconnect=False)
    with pytest.raises(ng.EditError, match="'cat' is no convolution"):
        ng.resize_kernel(graph, {"cat": 3})


@pytest.mark.parametrize("how", ["branch", "connect"])
def test_what_joins_a_mean_of_all_neurons_is_told(how: str) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2), nn.AdaptiveAvgPool1d(1))
    x = torch.randn(2, 3, 4)
    graph = ng.capture(net, x)
    before = graph(x)
    edit = getattr(ng, how)(graph, "0", "1", merge="concat")
    assert not torch.allclose(graph(x), before)
    assert "What comes to 'cat' changes what the network computes: it enters a mean at 2." in edit.notes


def test_nothing_is_added_where_the_number_is_counted_on() -> None:
    """The boundaries of `bucketize` are two numbers that the code writes; three would be others."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 7), nn.Linear(7, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden, boundaries = self.a(x), torch.zeros(2).to(torch.float64)
            out: torch.Tensor = self.b(hidden * torch.bucketize(hidden.double(), boundaries).float())
            return out

    x = torch.randn(3, 6)
    graph = ng.capture(Net(), x)
    before, names = graph(x), [v.name for v in graph]
    with pytest.raises(ng.InfeasibleError, match="'zeros' cannot be connected to 'cat': what uses it"):
        ng.connect(graph, "zeros", "to", merge="concat")
    assert torch.equal(graph(x), before)
    assert [v.name for v in graph] == names
