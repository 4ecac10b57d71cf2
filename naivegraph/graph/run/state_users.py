"""Parameters and buffers of a network, with the vertices that compute with them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.ir.pytree import leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import State
from naivegraph.ir.vertex import Vertex

__all__ = ["state_of_vertex", "state_users"]


def state_of_vertex(graph: Recording, vertex: Vertex) -> list[torch.Tensor]:
    """The parameters and buffers that a vertex computes with: those of its layer and among its arguments."""
    return [*_of_layer(vertex), *(graph.tensor(name) for name in _names(vertex))]


def _of_layer(vertex: Vertex) -> Iterable[torch.Tensor]:
    return tensors_of(vertex.target).values() if isinstance(vertex.target, nn.Module) else ()


def _names(vertex: Vertex) -> list[str]:
    """The names of the parameters and buffers among the arguments of a vertex."""
    return [leaf.name for leaf in leaves((vertex.args, vertex.kwargs)) if isinstance(leaf, State)]


def state_users(graph: Recording) -> dict[str, frozenset[str]]:
    """The names of the vertices, of all recorded runs, that compute with each parameter or buffer.

    They are told by every name that a tensor has; none are for those that no vertex uses.
    """
    users: dict[int, set[str]] = {}
    state = tensors_of(graph.module)

    def tensor(name: str) -> torch.Tensor:
        """The tensor of a name; the graph tells what is wrong where there is none any more."""
        return state[name] if name in state else graph.tensor(name)

    for run in graph.runs:
        for vertex in run.vertices:
            for used in (*_of_layer(vertex), *map(tensor, _names(vertex))):
                users.setdefault(id(used), set()).add(vertex.name)
    return {name: frozenset(users.get(id(tensor(name)), ())) for name in graph.state}
