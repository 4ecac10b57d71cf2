"""Followers of a layer: a batch norm that can take its shift, a sum its branch ends in, an activation."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import torch
from torch import nn

from naivegraph.graph.run.batch_norm_calls import BatchNormCall, batch_norm_call
from naivegraph.graph.run.blocks import Uses, is_activation, is_sum
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import State, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.reconstruct.saturation import Saturation, saturation_of

__all__ = ["Behind", "Surroundings"]

_SMALL = 1e-3  # a scale, next to the largest, through which nothing is made up for
_NOTHING = Saturation()
_STILL = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


@dataclasses.dataclass(frozen=True)
class Behind:
    """The path that the output of a layer takes, used by nothing else on the way.

    Attributes:
        norms: Batch norms with statistics.
        summand: What is added then, if it is there before the layer; None if nothing is.
        saturation: What the activation then makes alike.
    """

    norms: tuple[BatchNormCall, ...] = ()
    summand: Stub | None = None
    saturation: Saturation = _NOTHING

    def scale(self) -> torch.Tensor:
        """The factor of the layer's output in the sum, by channel; 0 where it is next to nothing."""
        out = torch.ones((), dtype=torch.float64)
        for norm in self.norms:
            scale = _scale(norm)
            small = scale.abs() <= _SMALL * scale.abs().max()
            out = out.to(scale.device) * torch.where(small, 0.0, scale)
        return out

    def shift(self) -> torch.Tensor:
        """The share of the norms in the sum, by channel, where the layer's output is zero."""
        out = torch.zeros((), dtype=torch.float64)
        for norm in self.norms:
            assert norm.mean is not None
            mean = norm.mean.detach().double()
            out = (out.to(mean.device) - mean) * _scale(norm)
            out = out if norm.bias is None else out + norm.bias.detach().double()
        return out


def _scale(norm: BatchNormCall) -> torch.Tensor:
    """The factor of a batch norm, by channel."""
    assert norm.var is not None
    scale = (norm.var.detach().double() + norm.eps).rsqrt()
    return scale if norm.weight is None else scale * norm.weight.detach().double()


class Surroundings:
    """The vertices around each layer of a graph.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: Recording) -> None:
        self._graph, self._uses, self._interpreter = graph, Uses(graph), Interpreter(graph)
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

    def behind(self, position: int) -> Behind:
        """The path that the output of the layer at a position takes."""
        norms: list[BatchNormCall] = []
        summand: Stub | None = None
        vertex = self._graph.vertices[position]
        while (user := self._only_user(vertex)) is not None:
            norm = self._norm(user) if summand is None else None
            if norm is not None:
                norms.append(norm)
            elif summand is None and is_sum(user):
                summand = self._other_summand(position, vertex, user)
                if summand is None:
                    break
            elif not isinstance(user.target, _STILL):
                return Behind(tuple(norms), summand, self._saturation(user, vertex))
            vertex = user
        return Behind(tuple(norms), summand)

    def _other_summand(self, position: int, vertex: Vertex, user: Vertex) -> Stub | None:
        """The other summand of a sum with the output of a vertex, if it is there before a position."""
        mine = vertex.output
        others = [arg for arg in user.args if isinstance(arg, Stub) and arg.id != mine.id]
        if user.kwargs or len(others) != 1 or len(user.args) != 2 or others[0].shape != mine.shape:
            return None
        end = self._uses.place[id(user)]
        if self._first.get(others[0].id, position) >= position or self._changed(others[0], position, end):
            return None
        return others[0]

    def _saturation(self, vertex: Vertex, before: Vertex) -> Saturation:
        """The saturation of an activation of the output of a vertex; an empty one, if it is none."""
        if not vertex.operations or not is_activation(self._uses, vertex):
            return _NOTHING
        weight = next(self._graph.module.parameters())
        like = weight.new_empty((), dtype=before.output.dtype)
        place = self._uses.place[id(vertex)]
        try:
            return saturation_of(lambda x: self._interpreter.call_on(place, before.output, x), like)
        except Exception:  # code of any kind, which wants tensors of its own shapes
            return _NOTHING

    def _changed(self, stub: Stub, start: int, end: int) -> bool:
        """Tell whether a tensor is written to between two positions."""
        between: Collection[Vertex] = self._graph.vertices[start:end]
        return any(stub.id == made.id for vertex in between for made in stubs_in(vertex.output))
