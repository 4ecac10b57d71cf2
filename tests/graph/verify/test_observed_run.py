"""A graph that is run again as far as it may have changed; afterwards it is as after a run of all of it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph.mutate import remove_vertex
from naivegraph.graph.verify.observed_run import ObservedRun
from naivegraph.graph.verify.shape_prop import propagate_shapes
from naivegraph.network import Graph, capture
from tests.graph.verify.test_shape_prop import described
from tests.networks.capture import NETWORKS


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the vertices that each run of a graph observed."""
    found: list[list[str]] = []
    whole = ObservedRun.observe

    def observe(run: ObservedRun, inputs: dict[str, Any]) -> None:
        whole(run, inputs)
        found.append([vertex.name for vertex, *_ in run._seen])

    monkeypatch.setattr(ObservedRun, "observe", observe)
    return found


def check_up_to_date(graph: Graph) -> None:
    """The graph is as one that runs once more as a whole, and as one that is captured anew."""
    again = copy.deepcopy(graph)
    again.refresh()
    assert described(graph) == described(again)
    if not graph.rewired:
        args = tuple(graph.example[vertex.name] for vertex in graph.inputs)
        fresh = capture(copy.deepcopy(graph.module), args, graph.constants)
        assert described(graph) == described(fresh)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_is_up_to_date_after_edits_and_their_undoing(name: str) -> None:
    build, shape = NETWORKS[name]
    graph = capture(build(), torch.randn(shape))
    before = described(graph)
    edits: list[ng.Edit] = []
    for vertex in list(graph.sizes):
        if vertex in graph:
            for steps in (2, -1):
                edits.append(ng.resize(graph, {vertex: ng.relaxed(steps)}, strategy=ng.strategy.Nothing()))
                check_up_to_date(graph)
    for edit in reversed(edits):
        if edit:
            edit.undo()
    assert described(graph) == before
    check_up_to_date(graph)


class Blocks(nn.Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Conv2d(4, 4, 1)
            )
            for _ in range(3)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.head(F.max_pool2d(x, 2).mean((2, 3)))
        return out


@pytest.mark.parametrize("inplace", [False, True])
def test_only_what_may_have_changed_is_observed(inplace: bool, observed: list[list[str]]) -> None:
    graph = capture(Blocks(inplace).eval(), torch.randn(2, 3, 8, 8))
    ng.resize(graph, {"blocks.1.0": +2})
    assert observed.pop() == ["x", "blocks.1.0", "blocks.1.1", "blocks.1.2", "blocks.1.3"]
    ng.insert(graph, nn.BatchNorm2d, after="blocks.0.0", name="norm")
    assert observed.pop() == ["x", "blocks.0.1"]
    assert observed.pop() == ["x", "norm"]
    ng.remove(graph, "blocks.2.1")
    behind = ["blocks.2.2", "blocks.2.3"] if inplace else ["blocks.2.2"]  # both take the same tensor then
    assert observed.pop() == ["x", *behind]
    ng.connect(graph, "stem", "add_1")
    assert [name for name in observed.pop() if name.startswith("blocks")] == ["blocks.2.0"]
    ng.resize(graph, {"stem": -1})
    assert {"stem", "blocks.0.0", "add", "max_pool2d", "head"} <= set(observed.pop())
    check_up_to_date(graph)


class ByValue(nn.Module):
    """Shapes that follow from the numbers a layer gives."""

    def __init__(self, choose: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.choose = choose

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(torch.relu(self.one(x)))
        out: Tensor = self.three(self.choose(y))
        return out


@pytest.mark.parametrize(
    "choose",
    [
        lambda y: y[y[:, 0] > 0],
        lambda y: torch.index_select(y, 0, y[:, 0].argsort()),
        lambda y: F.embedding(y.argmax(1), y),
        lambda y: torch.repeat_interleave(y, (y[:, 0] > 0).long() + 1, dim=0),
    ],
)
def test_all_is_observed_where_shapes_may_follow_values(
    choose: Callable[[Tensor], Tensor], observed: list[list[str]]
) -> None:
    graph = capture(ByValue(choose).eval(), torch.randn(6, 4))
    ng.resize(graph, {"one": +3})
    assert observed.pop() == [vertex.name for vertex in graph]
    check_up_to_date(graph)


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.transpose(1, 2)).reshape(2, 9)


def test_strides_decide_which_operators_are_called() -> None:
    graph = capture(Turned(), torch.randn(2, 3, 3))
    assert len(graph["reshape"].operations) == 2  # a copy and a view
    turned = graph["transpose"]
    remove_vertex(graph, turned, {turned.output.id: graph["x"].output})
    propagate_shapes(graph, ())
    assert len(graph["reshape"].operations) == 1
    check_up_to_date(graph)


def test_the_shapes_of_another_example_are_seen(observed: list[list[str]]) -> None:
    graph = capture(Blocks().eval(), torch.randn(2, 3, 8, 8))
    graph.example = {"x": torch.randn(5, 3, 8, 8)}
    ng.resize(graph, {"blocks.1.0": +2})
    assert len(observed.pop()) == len(graph)
    assert graph["head"].output.shape == (5, 2)
    check_up_to_date(graph)


def test_parameters_that_were_given_other_shapes_are_seen() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    graph = capture(net, torch.ones(2, 4))
    net[2].weight.data, net[2].bias.data = torch.ones(3, 6), torch.ones(3)
    with pytest.raises(ng.EditError, match=r"changed otherwise.* not run any more.*while the graph ran '4'"):
        ng.resize(graph, {"0": +1}, utility=0)


def test_parameters_that_are_shared_no_more_are_seen() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    graph = capture(net, torch.ones(2, 4))
    net[2].weight = nn.Parameter(torch.ones(4, 4))
    ng.resize(graph, {"1": ng.frozen()})
    graph.refresh()
    ng.resize(graph, {"0": +1})
    check_up_to_date(graph)


def test_a_change_that_does_not_run_leaves_vertices_stale() -> None:
    graph = capture(Blocks().eval(), torch.randn(2, 3, 8, 8))
    before = described(graph)
    with pytest.raises(ng.EditError, match="does not take what 'stem' gives"):
        ng.insert(graph, nn.Linear(3, 3), after="stem", name="wrong")
    assert described(graph) == before
    assert not any(vertex.stale for vertex in graph)


def test_copies_keep_what_is_stale() -> None:
    graph = capture(Blocks().eval(), torch.randn(2, 3, 8, 8))
    stale = dataclasses.replace(graph["head"], stale=True)
    graph.vertices[graph.vertices.index(graph["head"])] = stale
    assert [vertex.name for vertex in copy.deepcopy(graph) if vertex.stale] == ["head"]
    graph.refresh()
    assert not stale.stale
