"""Parameters and buffers of a network, with the vertices that compute with them."""

from __future__ import annotations

import torch
from torch import nn

from naivegraph.ir.pytree import leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import State
from naivegraph.ir.vertex import Vertex

__all__ = ["state_of_vertex", "state_users"]


def state_of_vertex(graph: Recording, vertex: Vertex) -> list[torch.Tensor]:
    """The parameters and buffers that a vertex computes with: those of its layer and among its arguments."""
    layer = vertex.target
    found = [*layer.parameters(), *layer.buffers()] if isinstance(layer, nn.Module) else []
    names = [leaf.name for leaf in leaves((vertex.args, vertex.kwargs)) if isinstance(leaf, State)]
    return [*found, *(graph.tensor(name) for name in names)]


def state_users(graph: Recording) -> dict[str, frozenset[str]]:
    """The names of the vertices, of all recorded runs, that compute with each parameter or buffer.

    They are told by every name that a tensor has; none are for those that no vertex uses.
    """
    users: dict[int, set[str]] = {}
    for run in graph.runs:
        for vertex in run.vertices:
            for tensor in state_of_vertex(graph, vertex):
                users.setdefault(id(tensor), set()).add(vertex.name)
    return {name: frozenset(users.get(id(graph.tensor(name)), ())) for name in graph.state}
