"""Vertices of a graph, looked up by name, use and place for edits of its structure."""

from __future__ import annotations

import itertools

from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.run.query import edges, related
from naivegraph.ir.pytree import contains_stub, stubs_in
from naivegraph.ir.values import Stub
from naivegraph.network import Graph

__all__ = ["neuron_dimension", "new_name", "output_of", "path_between", "returns", "users_of", "vertex_of"]


def vertex_of(graph: Graph, vertex: str | Vertex) -> Vertex:
    """The vertex of this name.

    Raises:
        EditError: There is none, or it is another graph's.
    """
    if not isinstance(vertex, Vertex):
        return graph[vertex]
    if not any(vertex is mine for mine in graph.vertices):
        raise EditError(f"the vertex {vertex.name!r} is not one of this graph's: give its name")
    return vertex


def output_of(vertex: Vertex) -> Stub:
    """The single output tensor of a vertex.

    Raises:
        EditError: It gives several, or none.
    """
    found = stubs_in(vertex.output)
    if len(found) != 1:
        raise EditError(
            f"{vertex.name!r} gives {len(found)} tensors; only a vertex which gives one can be used"
        )
    return found[0]


def neuron_dimension(graph: Graph, vertex: Vertex) -> int:
    """The dimension of the neurons in the single output tensor of a vertex.

    Raises:
        EditError: It gives several tensors, or a single number.
    """
    stub = output_of(vertex)
    if not stub.shape:
        raise EditError(f"{vertex.name!r} gives a single number, which has no neurons")
    return neuron_dimensions(graph)[tensor_key(stub)]


def new_name(graph: Graph, wished: str) -> str:
    """A name that neither a vertex nor anything in the network has: the given one, or with `_2`, `_3`..."""
    for count in itertools.count(1):
        name = wished if count == 1 else f"{wished}_{count}"
        parent, _, last = name.rpartition(".")
        try:
            home = graph.module.get_submodule(parent)
        except AttributeError:
            home = None
        if name not in graph and (home is None or not hasattr(home, last)):
            return name
    raise EditError(f"there is no name like {wished!r} left")


def users_of(graph: Graph, vertex: Vertex) -> list[Vertex]:
    """The vertices that use a vertex's tensor as it left that vertex, each once."""
    return list(dict.fromkeys(user for maker, user, _ in edges(graph) if maker is vertex))


def returns(graph: Graph, maker: Vertex, stub: Stub) -> bool:
    """Check whether the network returns a tensor as it left this vertex."""
    makers = [vertex for vertex in graph if contains_stub(vertex.output, stub)]
    return contains_stub(graph.output, stub) and makers[-1] is maker


def path_between(graph: Graph, start: Vertex, end: Vertex) -> list[Vertex]:
    """The vertices on all paths from one vertex to another, both included; none if there is no path."""
    after = related(graph, start, upwards=False)
    if not any(vertex is end for vertex in after):
        return []
    before = {id(vertex) for vertex in related(graph, end, upwards=True)}
    return [start, *(vertex for vertex in after if id(vertex) in before), end]
