"""Followers of a layer: a batch norm that can take its shift, and the sum its branch ends in."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import torch
from torch import nn

from naivegraph.graph.run.batch_norm_calls import BatchNormCall, batch_norm_call
from naivegraph.graph.run.blocks import Uses, is_sum
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import State, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["OtherSummand", "Surroundings"]

_SMALL = 1e-3  # a scale, next to the largest, through which nothing is made up for
_STILL = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


@dataclasses.dataclass(frozen=True)
class OtherSummand:
    """The other summand of a sum that a layer's branch ends in, which is there before the layer.

    Attributes:
        stub: The tensor.
        norms: The batch norms between the layer and the sum.
    """

    stub: Stub
    norms: tuple[BatchNormCall, ...]

    def factor(self) -> torch.Tensor:
        """The change of the layer's output, by channel, that changes the sum by one; 0 where none does."""
        out = torch.ones((), dtype=torch.float64)
        for norm in self.norms:
            assert norm.var is not None
            scale = (norm.var.detach().double() + norm.eps).rsqrt()
            scale = scale if norm.weight is None else scale * norm.weight.detach().double()
            small = scale.abs() <= _SMALL * scale.abs().max()
            out = out.to(scale.device) * torch.where(small, 0.0, 1 / torch.where(small, 1.0, scale))
        return out


class Surroundings:
    """The vertices around each layer of a graph.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: Recording) -> None:
        self._graph, self._uses = graph, Uses(graph)
        self._first: dict[int, int] = {}
        for number, vertex in enumerate(graph.vertices):
            for stub in stubs_in(vertex.output):
                self._first.setdefault(stub.id, number)
        self._tensors: dict[int, int] = {}
        for vertex in graph.vertices:
            for tensor in self.parameters(vertex):
                self._tensors[id(tensor)] = self._tensors.get(id(tensor), 0) + 1

    def parameters(self, vertex: Vertex) -> list[torch.Tensor]:
        """The parameters and buffers that a vertex computes with, each once."""
        found: list[torch.Tensor] = []
        if isinstance(vertex.target, nn.Module):
            found += [*vertex.target.parameters(), *vertex.target.buffers()]
        names = [leaf.name for leaf in leaves((vertex.args, vertex.kwargs)) if isinstance(leaf, State)]
        found += [self._graph.tensor(name) for name in names]
        return list({id(tensor): tensor for tensor in found}.values())

    def shared(self, tensor: torch.Tensor) -> bool:
        """Tell whether several vertices compute with a parameter."""
        return self._tensors.get(id(tensor), 0) > 1

    def norm_after(self, vertex: Vertex) -> BatchNormCall | None:
        """The batch norm that alone uses the output of a vertex, and measured statistics before."""
        user = self._only_user(vertex)
        return None if user is None else self._norm(user)

    def _norm(self, vertex: Vertex) -> BatchNormCall | None:
        norm = batch_norm_call(self._graph, vertex)
        if norm is None or norm.of_batch or norm.computed or norm.mean is None or norm.var is None:
            return None
        return None if self.shared(norm.mean) else norm

    def _only_user(self, vertex: Vertex) -> Vertex | None:
        """The vertex that alone uses the one tensor that a vertex gives."""
        users = self._uses.users.get(id(vertex), [])
        if not isinstance(vertex.output, Stub) or len(users) != 1 or self._uses.is_returned(vertex):
            return None
        return None if vertex.output.id in self._graph.left_behind else users[0][0]

    def other_summand(self, position: int) -> OtherSummand | None:
        """The other summand, where the branch of the layer at a position ends in a sum."""
        vertex, norms = self._graph.vertices[position], []
        user = self._only_user(vertex)
        while user is not None and not is_sum(user):
            norm = self._norm(user)
            if norm is not None:
                norms.append(norm)
            elif not isinstance(user.target, _STILL):
                return None
            vertex, user = user, self._only_user(user)
        if user is None or user.kwargs:
            return None
        mine = vertex.output
        others = [a for a in user.args if isinstance(a, Stub) and a.id != mine.id]
        if len(others) != 1 or len(user.args) != 2 or others[0].shape != mine.shape:
            return None
        end = self._graph.vertices.index(user)
        if self._first.get(others[0].id, position) >= position or self._changed(others[0], position, end):
            return None
        return OtherSummand(others[0], tuple(norms))

    def _changed(self, stub: Stub, start: int, end: int) -> bool:
        """Tell whether a tensor is written to between two positions."""
        between: Collection[Vertex] = self._graph.vertices[start:end]
        return any(stub.id == made.id for vertex in between for made in stubs_in(vertex.output))
