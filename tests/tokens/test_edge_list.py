"""Lists of edges and networks again; what lists say no network."""

from __future__ import annotations

import dataclasses
from typing import Any

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naivegraph.errors import EditError
from naivegraph.tokens import EdgeList, Frame, edge_list, networks_of_edges
from tests.tokens.random_networks import FRAMES, random_networks


@settings(max_examples=60, deadline=None)
@given(frame=st.sampled_from(FRAMES), seed=st.integers(0, 2**31), double=st.booleans())
def test_lists_are_the_network_again(frame: Frame, seed: int, double: bool) -> None:
    networks = random_networks(frame, 3, seed, dtype=torch.float64 if double else torch.float32)
    again = networks_of_edges([edge_list(networks, i) for i in range(3)])
    assert torch.equal(again.tokens(), networks.tokens())
    assert torch.equal(again.operator, networks.operator)


def test_lists_are_graphs_from_inputs_to_outputs() -> None:
    frame = FRAMES[4]
    networks = random_networks(frame, 10, seed=0)
    for i in range(10):
        found = edge_list(networks, i)
        graph: Any = networkx.DiGraph()
        graph.add_edges_from(zip(found.parent.tolist(), found.child.tolist(), strict=True))
        assert networkx.is_directed_acyclic_graph(graph)
        assert len(set(found.child.tolist())) == int(networks.presence[i].sum())
        count = sum(kind in frame.operators and parent >= 0 for parent, _, _, kind in found.rows())
        assert count == int(networks.edges[i].sum())


def _changed(rows: EdgeList, row: int, **values: int) -> EdgeList:
    columns = {name: getattr(rows, name).clone() for name in ("parent", "child")}
    for name, value in values.items():
        columns[name][row] = value
    return dataclasses.replace(rows, **columns)


def test_lists_of_no_network_are_told() -> None:
    networks = random_networks(FRAMES[0], 3, seed=1, density=1.0)
    number = int((networks.operator != 0).sum(1).argmax())
    rows = edge_list(networks, number)
    with pytest.raises(ValueError, match="neuron 99, which the frame does not have"):
        networks_of_edges([_changed(rows, 0, child=99)])
    with pytest.raises(ValueError, match="leads to input 0"):
        networks_of_edges([_changed(rows, 0, child=0)])
    with pytest.raises(ValueError, match="not there in the layer before"):
        networks_of_edges([_changed(rows, 1, parent=int(rows.child[1]))])
    with pytest.raises(ValueError, match="type 'step'"):
        networks_of_edges([dataclasses.replace(rows, type=("step", *rows.type[1:]))])
    with pytest.raises(ValueError, match="are of types"):
        networks_of_edges([dataclasses.replace(rows, type=("head", *rows.type[1:]))])
    with pytest.raises(ValueError, match="at least one"):
        networks_of_edges([])
    networks.presence[0, -1, 0] = False
    with pytest.raises(EditError, match="network 0 is none"):
        edge_list(networks, 0)
