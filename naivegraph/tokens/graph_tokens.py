"""Any captured network as tokens, one for each vertex and neuron, and tokens as its weights again.

A token's address is that of its neuron: the width it belongs to and its number there. What it holds are
the rows of the vertex's parameters and buffers at that neuron, whose other axes are told by width, too: a
row of a linear layer's weight is the incoming weights from the neurons of the width before.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from naivegraph.algebra.axis import single
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.index_formula import Formula, Indices, formula_of, indices
from naivegraph.edits.request.requests import Size
from naivegraph.edits.resize import carry_out
from naivegraph.edits.resize_program.resize_program import AxisRequest
from naivegraph.edits.resize_program.strategy import Attempt, Raise, Solve, decide
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.run.state_users import state_users
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.ir.pytree import stubs_in
from naivegraph.network import Graph
from naivegraph.utility.readers import neuron_numbers
from naivegraph.widths import Widths, constraints_of

__all__ = ["GraphTokens", "TokenPart", "VertexTokens", "of_graph", "write"]


@dataclasses.dataclass(frozen=True, eq=False)
class TokenPart:
    """A tensor of a vertex, as rows of its tokens.

    Attributes:
        dim: Its dimension that is the neurons.
        axes: All of its axes by width: a list of terms, each of fixed numbers and numbers of widths.
        numbers: `[tokens, ...]`, the tensor with its neurons in front.
    """

    dim: int
    axes: list[Formula]
    numbers: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class VertexTokens:
    """The tokens of a vertex: one for each of its neurons.

    Attributes:
        vertex: Its name; "" for parameters that no vertex uses.
        operator: The class of the layer, or the name of the function.
        width: The number of the width each neuron belongs to, `[tokens]`: the widest where they
            are a product, as of heads and their size; -1 for neurons that cannot change.
        neuron: The number of each in it, `[tokens]`.
        parts: The parameters and floating buffers of the vertex, by name.
    """

    vertex: str
    operator: str
    width: Tensor
    neuron: Tensor
    parts: Mapping[str, TokenPart]

    def __len__(self) -> int:
        return len(self.width)


@dataclasses.dataclass(frozen=True, eq=False)
class GraphTokens:
    """A captured network as tokens.

    Attributes:
        vertices: The tokens, by vertex.
        widths: The names of the widths, in the order of their numbers.
        presence: For each width the neurons that are there, bool; those set to False are left out by `write`.
    """

    vertices: list[VertexTokens]
    widths: list[str]
    presence: list[Tensor]

    def __len__(self) -> int:
        return sum(map(len, self.vertices))


def of_graph(graph: Graph) -> GraphTokens:
    """The tokens of a captured network.

    Args:
        graph: The graph; nothing of it is changed.

    Raises:
        EditError: A parameter is a single number, or not of real numbers, which no neuron's token could hold;
            the message names it and its operator.

    Example:
        >>> import naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> tokens = of_graph(ng.capture(net, torch.ones(1, 3)))
        >>> [(each.vertex, each.operator, len(each)) for each in tokens.vertices], len(tokens)
        ([('0', 'Linear', 4), ('2', 'Linear', 2)], 6)
        >>> tokens.vertices[1].parts["2.weight"].axes, tokens.widths
        ([[[2]], [['0']]], ['0'])
    """
    return _Reading(graph).tokens()


def write(tokens: GraphTokens, graph: Graph) -> None:
    """Give a network of the same architecture the weights that tokens hold, in place.

    Where widths differ it is resized first (`ng.resize`) to those of the tokens.

    Args:
        tokens: The tokens; neurons whose presence is False are left out.
        graph: The graph.

    Raises:
        EditError: The architecture is another, or cannot have these widths, or a value is no number; the
            network is as it was.
    """
    kept = {str(key): there.nonzero()[:, 0].numpy() for key, there in enumerate(tokens.presence)}
    before = {str(key): len(there) for key, there in enumerate(tokens.presence)}
    after = {key: len(each) for key, each in kept.items()}
    if any(size == 0 for size in after.values()):
        empty = next(int(key) for key, size in after.items() if size == 0)
        raise EditError(f"the tokens leave no neuron of {tokens.widths[empty]!r}: a network has one at least")
    _check_architecture(tokens, graph)
    for vertex in tokens.vertices:
        for name, part in vertex.parts.items():
            if bool(part.numbers.isnan().any()):
                raise EditError(f"the tokens of {name!r} hold values that are no numbers (NaN)")
    edit = _resized(graph, [after[str(key)] for key in range(len(tokens.presence))])
    state = tensors_of(graph.module)
    found: dict[str, Tensor] = {}
    for vertex in tokens.vertices:
        for name, part in vertex.parts.items():
            found[name] = _kept(part, before, kept)
            if state[name].shape != found[name].shape:
                has, said = tuple(state[name].shape), tuple(found[name].shape)
                if edit:
                    edit.undo()
                raise EditError(
                    f"the network cannot be given the widths of the tokens: {name!r} "
                    f"has {has}, and {said} by the tokens"
                )
    with torch.no_grad():
        for name, value in found.items():
            state[name].copy_(value)


def _resized(graph: Graph, sizes: Sequence[int]) -> Edit | None:
    """Give the widths of a graph these sizes, by their numbers; None where they have them.

    Asked of widths themselves, not of vertices: of four heads of six, 12 neurons could be two heads of six,
    or four of three.
    """
    widths, reading = graph.widths, _Reading(graph)
    requests = tuple(
        AxisRequest(reading.named_by(width.name), single(width.atom), Size(size), f"width {width.name!r}")
        for width, size in zip(widths.widths, sizes, strict=True)
        if width.size != size
    )
    if not requests:
        return None
    constraints = constraints_of(widths)
    attempt = Attempt(widths, constraints, requests, None, lambda utility: None)
    answer = decide(Solve(Raise()), attempt)
    if answer is None:
        raise EditError("the network cannot be given the widths of the tokens")
    return carry_out(graph, widths, constraints, answer, {}, axis_requests=requests)


def _kept(part: TokenPart, before: Mapping[str, int], kept: Mapping[str, Indices]) -> Tensor:
    """A tensor without the neurons that are not there."""
    tensor = part.numbers.movedim(0, part.dim)
    for dim, axis in enumerate(part.axes):
        index = indices(axis, before, kept)
        if len(index) < tensor.shape[dim]:
            tensor = tensor.index_select(dim, torch.from_numpy(index))
    return tensor


def _check_architecture(tokens: GraphTokens, graph: Graph) -> None:
    """The network has the same tensors, with the same widths along their axes."""
    theirs = _Reading(graph)
    mine = {name: part.axes for each in tokens.vertices for name, part in each.parts.items()}
    for name in [*mine, *theirs.names]:
        if name not in mine or name not in theirs.names:
            lacks = "the tokens have" if name not in mine else "the network has"
            raise EditError(f"the architectures differ: {lacks} no {name!r}")
        if mine[name] != theirs.axes(name):
            raise EditError(f"the architectures differ: the axes of {name!r} are of other widths")


class _Reading:
    """A network on the way to tokens."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._state = tensors_of(graph.module)
        self._keys = {width.atom: str(number) for number, width in enumerate(self._widths.widths)}
        self._users = state_users(graph)
        self.names = self._said()

    @functools.cached_property
    def _widths(self) -> Widths:
        return self._graph.widths

    def tokens(self) -> GraphTokens:
        """The tokens."""
        parts: dict[tuple[str, str], dict[str, TokenPart]] = {}
        for name in self.names:
            dim = self._neuron_dim(name)
            numbers = self._state[name].detach().movedim(dim, 0).clone()
            part = TokenPart(dim, self.axes(name), numbers)
            parts.setdefault((self._vertex(name), repr(part.axes[dim])), {})[name] = part
        vertices = [self._of_vertex(vertex, each) for (vertex, _), each in parts.items()]
        widths = self._widths.widths
        presence = [torch.ones(width.size, dtype=torch.bool) for width in widths]
        return GraphTokens(vertices, [width.name for width in widths], presence)

    def axes(self, name: str) -> list[Formula]:
        """The axes of a tensor by width."""
        return [formula_of(axis, self._keys) for axis in self._widths.axes[name]]

    def _said(self) -> list[str]:
        """The tensors that tokens say, those that are tied once, by the vertices that use them."""
        first: dict[int, str] = {}
        for name in self._widths.axes:
            tensor = self._state[name]
            if not tensor.is_floating_point() and not tensor.is_complex():
                continue  # counters and masks of the code's own
            if tensor.dim() == 0 or tensor.is_complex():
                what = "a single number" if tensor.dim() == 0 else f"of {tensor.dtype}"
                raise EditError(
                    f"tokens cannot say {name!r} of {self._operator(self._vertex(name))} "
                    f"{self._vertex(name)!r}: it is {what}, and belongs to no neuron"
                )
            first.setdefault(id(tensor), name)
        order = {vertex.name: number for number, vertex in enumerate(self._graph.vertices)}
        return sorted(first.values(), key=lambda name: order.get(self._vertex(name), len(order)))

    def _vertex(self, name: str) -> str:
        """The first vertex that uses a tensor."""
        users = self._users.get(name, frozenset())
        return next((vertex.name for vertex in self._graph.vertices if vertex.name in users), "")

    def named_by(self, width: str) -> Vertex:
        """The vertex that a width is named by, or one that uses the parameter that it is."""
        for name in (width, width.rpartition(":")[0]):
            vertex = name if name in self._sizes else self._vertex(name)
            if vertex:
                return self._graph[vertex]
        return self._graph.vertices[0]

    def _operator(self, vertex: str) -> str:
        """The class of a layer, or the name of a function."""
        if not vertex:
            return "unused"
        target = self._graph[vertex].target
        if isinstance(target, torch.nn.Module):
            return type(target).__name__
        return str(getattr(target, "__name__", type(target).__name__))

    def _neuron_dim(self, name: str) -> int:
        """The dimension of a tensor along which are the neurons that its vertex gives; else the first."""
        output = self._output(self._vertex(name))
        if output is not None:
            for dim, axis in enumerate(self.axes(name)):
                if axis == output:
                    return dim
        return 0

    def _output(self, vertex: str) -> Formula | None:
        """The axis of the neurons that a vertex gives."""
        if vertex not in self._sizes:
            return None
        stub = stubs_in(self._graph[vertex].output)[0]
        axes = [formula_of(axis, self._keys) for axis in self._widths.of(stub)]
        found = [axis for axis in axes if any(isinstance(factor, str) for term in axis for factor in term)]
        if found:
            return found[-1]
        return [[self._sizes[vertex]]]

    @functools.cached_property
    def _sizes(self) -> Mapping[str, int]:
        return self._graph.sizes

    def _of_vertex(self, vertex: str, parts: Mapping[str, TokenPart]) -> VertexTokens:
        """The tokens of a vertex."""
        name, part = next(iter(parts.items()))
        axis = self._widths.axes[name][part.dim]
        width = np.full(axis.length, -1)
        neuron = np.arange(axis.length)
        for atom, numbers in sorted(neuron_numbers(axis, {}).items(), key=lambda item: item[0].length):
            if atom in self._keys:
                there = numbers >= 0
                width[there], neuron[there] = int(self._keys[atom]), numbers[there]
        return VertexTokens(
            vertex, self._operator(vertex), torch.from_numpy(width), torch.from_numpy(neuron), parts
        )
