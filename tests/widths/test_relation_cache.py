"""Widths that are found again for a graph, and for its copies, are those that are worked out anew."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import EditError
from naivegraph.network import Graph, capture
from naivegraph.widths import constraints_of, relate
from tests.machine.random_graphs import random_case
from tests.networks.capture import NETWORKS


def told(graph: Graph, **options: Any) -> Any:
    """The widths of a graph and the constraints on them, in words that are the same each time."""
    widths = relate(graph, **options)
    constraints = constraints_of(widths)
    names = {width.atom: width.name for width in widths}
    return (
        [(w.name, w.size, w.lives, w.coupled) for w in widths],
        {name: list(map(str, axes)) for name, axes in widths.axes.items()},
        [(each.where, each.coefficient, str(each.axes)) for each in widths.contractions],
        sorted(names[atom] for atom in constraints.fixed if atom in names),
        len(constraints.width_constraints),
        [str(widths.output_axis(vertex)) for vertex in graph],
    )


def told_anew(graph: Graph, **options: Any) -> Any:
    """The same of a graph for which nothing was found before."""
    graph.found = {}
    return told(graph, **options)


def same_again(graph: Graph) -> None:
    for options in ({}, {"free_outputs": True}):
        first, again, of_copy = (
            told(graph, **options),
            told(graph, **options),
            told(copy.deepcopy(graph), **options),
        )
        assert first == again == of_copy == told_anew(copy.deepcopy(graph), **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_widths_found_again_are_those_worked_out_anew(name: str) -> None:
    build, shape = NETWORKS[name]
    graph = capture(build(), torch.randn(shape))
    same_again(graph)
    for vertex in list(graph.sizes)[::2]:
        edit = ng.resize(graph, {vertex: ng.relaxed(2)}, strategy=ng.strategy.Nothing())
        same_again(graph)
        if edit and len(vertex) % 2:
            edit.undo()
            same_again(graph)


@pytest.mark.parametrize("seed", range(12))
def test_they_are_in_random_graphs(seed: int) -> None:
    case = random_case(random.Random(seed))
    same_again(case.graph)


def chain() -> Graph:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    return capture(net, torch.ones(3, 4))


def test_widths_are_found_once_for_a_graph_and_its_copies() -> None:
    graph = chain()
    twin = copy.deepcopy(graph)
    found = relate(graph)
    assert [w.atom for w in relate(twin)] == [w.atom for w in found]
    assert relate(twin).graph is twin
    known = found.provenances
    assert relate(graph).provenances is known
    ng.resize(twin, {"0": +1})
    assert [(w.name, w.size) for w in relate(twin)] == [("0", 9), ("2", 6)]
    assert [w.atom for w in relate(graph)] == [w.atom for w in found]
    assert pickle.loads(pickle.dumps(graph)).found == {}


def add_parameter(graph: Graph) -> None:
    graph.module.register_parameter("more", nn.Parameter(torch.ones(8)))


def share_memory(graph: Graph) -> None:
    first, last = graph.module.get_submodule("2"), graph.module.get_submodule("4")
    assert isinstance(first.weight, Tensor)
    assert isinstance(last.weight, Tensor)
    last.weight.data = first.weight.data.reshape(-1)[:12].reshape(2, 6)


def add_buffer(graph: Graph) -> None:
    graph.module.register_buffer("ones", torch.ones(8), persistent=False)


@pytest.mark.parametrize("change", [add_parameter, share_memory, add_buffer])
def test_what_was_done_to_the_network_is_seen(change: Callable[[Graph], None]) -> None:
    graph = chain()
    before = told(graph)
    change(graph)
    after = told(graph)
    assert after == told_anew(graph)
    assert after != before


def test_a_layer_that_was_replaced_is_refused_all_the_same() -> None:
    graph = chain()
    relate(graph)
    graph.module.add_module("2", nn.Linear(8, 6))
    with pytest.raises(EditError, match="is not the module at '2' any more"):
        relate(graph)
