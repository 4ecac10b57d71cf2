"""Queries on a graph: its vertices by name, its edges, and the vertices up- or downstream."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from naivegraph.graph.run.summary import target_name
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex

if TYPE_CHECKING:
    import networkx

__all__ = ["edges", "find", "matches", "related", "to_networkx"]


def find(graph: Recording, what: str | Callable[[Vertex], object]) -> list[Vertex]:
    """The vertices whose name matches a pattern (`layer1.*.conv?`), or for which a predicate is true."""
    if isinstance(what, str):
        return [vertex for vertex in graph.vertices if matches(vertex.name, what)]
    return [vertex for vertex in graph.vertices if what(vertex)]


def matches(name: str, pattern: str) -> bool:
    """Tell whether a name matches a pattern with `*`, `?` or `[...]`."""
    return fnmatch.fnmatchcase(name, pattern)


def edges(graph: Recording) -> Iterator[tuple[Vertex, Vertex, Stub]]:
    """Maker, user and tensor of every use of a tensor, in the order of the users.

    A tensor that was changed in place was made by the vertex that changed it last.
    """
    maker: dict[int, Vertex] = {}
    for vertex in graph.vertices:
        for stub in stubs_in((vertex.args, vertex.kwargs)):
            if stub.id in maker:
                yield maker[stub.id], vertex, stub
        maker.update((stub.id, vertex) for stub in stubs_in(vertex.output))


def related(graph: Recording, vertex: Vertex, *, upwards: bool) -> list[Vertex]:
    """All vertices that this one depends on, or (`upwards=False`) that depend on it, in recorded order."""
    next_to: dict[int, list[Vertex]] = {}
    for maker, user, _ in edges(graph):
        one, two = (user, maker) if upwards else (maker, user)
        next_to.setdefault(id(one), []).append(two)
    found: set[int] = set()
    waiting = [vertex]
    while waiting:
        for other in next_to.get(id(waiting.pop()), ()):
            if id(other) not in found:
                found.add(id(other))
                waiting.append(other)
    return [other for other in graph.vertices if id(other) in found]


def to_networkx(graph: Recording) -> networkx.MultiDiGraph[str]:
    """Names as nodes (with `kind`, `what`, `path`), uses of tensors as edges (with `tensor`, `shape`)."""
    import networkx

    result: networkx.MultiDiGraph[str] = networkx.MultiDiGraph()
    for vertex in graph.vertices:
        result.add_node(vertex.name, kind=vertex.kind, what=target_name(vertex.target), path=vertex.path)
    for maker, user, stub in edges(graph):
        result.add_edge(maker.name, user.name, tensor=stub.id, shape=stub.shape)
    return result
