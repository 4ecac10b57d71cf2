"""Calls of a new module of several layers, each as a vertex of its own."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import nn

from naivegraph.errors import NaivegraphError
from naivegraph.graph import Vertex
from naivegraph.graph.mutate import add_vertex, new_stub, register
from naivegraph.graph.torch_utils.leaf_modules import is_layer
from naivegraph.ir.pytree import contains_stub, map_leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Attribute, Compound, DimSize, State, Stub, Training
from naivegraph.network import Graph, capture
from naivegraph.undo import UndoLog

__all__ = ["expanded"]


def expanded(graph: Graph, name: str, layer: nn.Module, stub: Stub, at: int, undo: UndoLog) -> Vertex | None:
    """Call a new module layer by layer, as far as it can be looked into with what it is given.

    Args:
        graph: The graph, changed in place.
        name: The path of the module in the network.
        layer: The module.
        stub: What it is called on.
        at: The position of the first call.
        undo: The log that takes it back.

    Returns:
        The vertex that makes what it gives; None if it has to stay one vertex.
    """
    if is_layer(layer) or next(layer.children(), None) is None or layer in graph.module.modules():
        return None
    recorded = _recorded(layer, stub)
    if recorded is None:
        return None
    register(graph, name, layer, undo=undo)
    (given,) = stubs_in(recorded.inputs[0].output)
    change = functools.partial(_moved, name, stubs := {given.id: stub})
    made: list[Vertex] = []
    for vertex in recorded.vertices[1:]:
        for each in stubs_in(vertex.output):
            if each.id not in stubs:
                stubs[each.id] = new_stub(graph, each.shape, each.dtype)
        args, kwargs = map_leaves(vertex.args, change), map_leaves(vertex.kwargs, change)
        new = add_vertex(
            graph, f"{name}.{vertex.name}", vertex.target, args, kwargs,  # type: ignore[arg-type]
            at=at + len(made), output=map_leaves(vertex.output, change), undo=undo,
        )  # fmt: skip
        new.path, new.where = f"{name}.{vertex.path}" if vertex.path else name, vertex.where
        made.append(new)
    return [vertex for vertex in made if contains_stub(vertex.output, stubs[recorded.output.id])][-1]


def _recorded(layer: nn.Module, stub: Stub) -> Recording | None:
    """The calls of a module on a tensor like this one; None if they alone do not say what it computes."""
    if not stub.dtype.is_floating_point:
        return None
    state = next(layer.parameters(), None)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(stub.shape, generator=generator).to(stub.dtype)
    try:
        found = capture(layer, example if state is None else example.to(state.device), verify="recorded")
    except NaivegraphError:
        return None
    parts = (
        found.training,
        found.train_replay,
        found.escapes,
        found.comparisons,
        found.left_behind,
        found.constants,
    )
    plain = not any(parts) and len(found.inputs) == 1 and found.vertices[0] is found.inputs[0]
    made = isinstance(found.output, Stub) and not contains_stub(found.inputs[0].output, found.output)
    return found if plain and made else None


def _moved(name: str, stubs: dict[int, Stub], leaf: Any) -> Any:
    """A value of the module's own graph in that of the network."""
    match leaf:
        case Stub():
            return stubs[leaf.id]
        case State():
            return State(f"{name}.{leaf.name}")
        case Training() | Attribute():
            return dataclasses.replace(leaf, path=f"{name}.{leaf.path}" if leaf.path else name)
        case DimSize(tensor=int()):
            return DimSize(stubs[int(leaf.tensor)].id, leaf.dim)
        case DimSize():
            return DimSize(f"{name}.{leaf.tensor}", leaf.dim)
        case Compound():
            left, right = _moved(name, stubs, leaf.left), _moved(name, stubs, leaf.right)
            return Compound(leaf.operator, left, right)
        case _:
            return leaf
