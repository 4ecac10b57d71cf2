"""Addition of a branch: a layer between two vertices, whose output joins what the second one gives."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from naivegraph.edits.apply.apply import RUN_ERRORS
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.initialise import seeded
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.save.layer_spec import layer_spec
from naivegraph.edits.structure.connection import check_merge, concatenation_behind, connected
from naivegraph.edits.structure.identity_weights import start_as_zero
from naivegraph.edits.structure.planned_sizes import Step
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.transaction import rewire
from naivegraph.edits.structure.vertices import (
    neuron_dimension,
    new_name,
    output_of,
    path_between,
    returns,
    users_of,
    vertex_of,
)
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.verify.shape_prop import propagate_shapes
from naivegraph.ir.values import Stub
from naivegraph.network import Graph

__all__ = ["branch"]

_CONVOLUTIONS: dict[int, type[nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


@graph_verb
def branch(
    model: Graph,
    source: str | Vertex,
    target: str | Vertex,
    layer: nn.Module | Callable[[int, int], nn.Module] | None = None,
    *,
    name: str | None = None,
    zero: bool = True,
    merge: Literal["sum", "concat"] = "sum",
    seed: int = 0,
    optimizer: Any = None,
) -> Edit:
    """Add a layer of what one vertex gives to what a later one gives, in place; the sum is made for it.

    With `merge="concat"` its neurons come behind those of the later vertex instead.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        source: A vertex or its name: what the layer takes.
        target: A vertex which does not come before `source`. Whatever used its output uses the sum, or the
            concatenation, instead.
        layer: The layer, or a function which makes it from the sizes of `source` and `target`; by default a
            linear layer, or a convolution of 1 x 1, without bias.
        name: Of the new vertex, and its path in the network; by default `branch`, where `target` is.
        zero: Let the layer start with zeros, so that the network's function is kept. A `Sequential` gives
            zero by its last layer. A concatenation keeps the function without: what uses it starts with
            weights of zero for the new neurons.
        merge: What joins the two: "sum", or "concat", where the layer may give any number of neurons.
        seed: For the weights of a layer which a function makes; torch's own generator stays as it is.
        optimizer: An optimizer (or several) which gets the layer's parameters in its first group.

    Returns:
        The edit.

    Raises:
        EditError: It would be a cycle, or the layer does not fit; the graph is as it was.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> graph = capture(net, torch.ones(1, 4))
        >>> before = graph(torch.ones(1, 4))
        >>> edit = branch(graph, "0", "2")
        >>> [vertex.name for vertex in graph], bool((graph(torch.ones(1, 4)) == before).all())
        (['input', '0', '1', '2', 'branch', 'add'], True)
    """
    check_merge(merge)
    start, end = vertex_of(model, source), vertex_of(model, target)
    way = path_between(model, end, start)
    if way and start is not end:
        names = " -> ".join(vertex.name for vertex in [*way, end])
        raise EditError(f"a branch from {start.name!r} to {end.name!r} would be a cycle: {names}")
    home = end.name.rpartition(".")[0]
    called = new_name(model, f"{home}.branch" if home else "branch") if name is None else name
    number = zlib.crc32(f"{seed}:{start.name}:{end.name}:{len(model)}".encode())
    made = _made(model, layer, start, end, number)
    work = _Branch(model, start, end, made, called, zero, number)
    structure = {"verb": "branch", "source": start.name, "target": end.name, "name": called}
    asked = {"branch": [start.name, end.name], "name": called}
    if merge == "concat":
        joined, concatenate = concatenation_behind(model, end)
        before: list[Step] = [work.call, concatenate]
        return connected(
            model, called, joined, SizeChoice(), structure, before=before,
            asked={**asked, "merge": merge}, optimizer=optimizer,
        )  # fmt: skip
    return rewire(
        model, Change({}, {}, [], structure=structure), [work.add], asked=asked, optimizer=optimizer
    )


def _made(
    graph: Graph,
    layer: nn.Module | Callable[[int, int], nn.Module] | None,
    start: Vertex,
    end: Vertex,
    number: int,
) -> nn.Module:
    if isinstance(layer, nn.Module):
        return layer
    sizes = [_size(graph, vertex) for vertex in (start, end)]
    with seeded(number):
        made = _plain(graph, end, *sizes) if layer is None else layer(*sizes)
    if not isinstance(made, nn.Module):
        raise EditError(
            f"layer= gave {made!r}: give a torch.nn.Module, or a function of two sizes that makes one"
        )
    return made


def _size(graph: Graph, vertex: Vertex) -> int:
    return output_of(vertex).shape[neuron_dimension(graph, vertex)]


def _plain(graph: Graph, end: Vertex, taken: int, given: int) -> nn.Module:
    """The layer without an extent that takes and gives so many neurons in tensors like those of a vertex."""
    dimensions, dim = len(output_of(end).shape), neuron_dimension(graph, end)
    if dim == dimensions - 1:
        return nn.Linear(taken, given, bias=False)
    if dim == 1 and dimensions in _CONVOLUTIONS:
        return _CONVOLUTIONS[dimensions](taken, given, 1, bias=False)
    raise EditError(
        f"the neurons of {end.name!r} lie along dimension {dim} of {dimensions}, for which torch has no "
        "layer: give layer="
    )


class _Branch:
    """Addition of one branch, with the checks that it fits."""

    def __init__(
        self, graph: Graph, start: Vertex, end: Vertex, layer: nn.Module, name: str, zero: bool, number: int
    ) -> None:
        self.graph, self.start, self.end = graph, start, end
        self.layer, self.name, self.zero, self.number = layer, name, zero, number
        self.out = output_of(end)

    def call(self, rewiring: Rewiring) -> None:
        """Call the layer behind both vertices; nothing uses what it gives."""
        if self.zero:
            start_as_zero(self.layer, self.name, rewiring.undo)
        spec = layer_spec(self.graph.module, self.layer, self.number, False)
        if self.zero:
            spec["zero"] = True
        at, start = self.graph.vertices.index(self.end) + 1, output_of(self.start)
        given = rewiring.kept(self.name, start, at, self.end.path)
        rewiring.add_layer(self.name, self.layer, given, at + (given is not start), spec, self.start)
        try:
            propagate_shapes(self.graph, ())
        except RUN_ERRORS as error:
            raise EditError(
                f"{self._what} does not take what {self.start.name!r} gives, of shape "
                f"{tuple(output_of(self.start).shape)}: {error}"
            ) from error

    def add(self, rewiring: Rewiring) -> None:
        """Call the layer, and let a sum take the place of the target's output."""
        graph, users = self.graph, users_of(self.graph, self.end)
        returned = returns(graph, self.end, self.out)
        self.call(rewiring)
        vertex = graph[self.name]
        given = self._checked(vertex)
        home = self.end.name.rpartition(".")[0]
        named = new_name(graph, f"{home}.add" if home else "add")
        at = graph.vertices.index(vertex) + 1
        total = output_of(rewiring.add_function(named, "add", (self.out, given), at, self.end.path))
        for user in users:
            rewiring.replace(user, self.out, total)
        if returned:
            rewiring.give_back(self.out, total)

    @property
    def _what(self) -> str:
        return f"{self.name!r} ({type(self.layer).__name__})"

    def _checked(self, vertex: Vertex) -> Stub:
        given = output_of(vertex)
        if given.shape != self.out.shape:
            raise EditError(
                f"{self._what} gives a tensor of shape {tuple(given.shape)}, and {self.end.name!r} one of "
                f"{tuple(self.out.shape)}: give layer= one that makes them equal, such as a convolution with "
                "a stride"
            )
        return given
