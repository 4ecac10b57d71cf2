"""Segments of networks that crossover can exchange, and the shapes at their seams."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from torch import nn

from naivegraph.edits.structure.vertices import neuron_dimension
from naivegraph.graph import Vertex
from naivegraph.graph.run.query import edges
from naivegraph.ir.pytree import stubs_in
from naivegraph.network import Graph

__all__ = ["MOST_ENTRIES", "Seam", "Segment", "seams", "segments"]

MOST_ENTRIES = 3  # tensors that come into a segment

Seam = tuple[int, int, tuple[int, ...], str]
"""Of a tensor: its dimensions, that of the neurons, the sizes of all but batch and neurons, and its type."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a network that others may stand in the place of.

    Attributes:
        entries: The vertices whose outputs come in, in the order of the network.
        exit: The vertex whose output goes out, the only one that is used elsewhere.
    """

    entries: tuple[str, ...]
    exit: str

    def __str__(self) -> str:
        return f"{' and '.join(self.entries)} to {self.exit}"


def segments(graph: Graph, most: int = MOST_ENTRIES) -> list[Segment]:
    """The segments of a network, those with parameters in them.

    A segment ends with a vertex and takes in, one after another, vertices that lead nowhere else; of all that
    come about so, those with few enough tensors coming in.

    Args:
        graph: The network.
        most: The most vertices whose outputs come in.
    """
    ways = _Ways(graph)
    found = [each for vertex in graph.vertices for each in _ending_with(ways, vertex, most)]
    return list(dict.fromkeys(found))


def seams(graph: Graph) -> dict[str, Seam]:
    """The seams of all vertices with a single tensor as output that has neurons."""
    found: dict[str, Seam] = {}
    for vertex in graph.vertices:
        stubs = stubs_in(vertex.output)
        if len(stubs) != 1 or not stubs[0].shape:
            continue
        dim = neuron_dimension(graph, vertex)
        if dim > 0:
            rest = tuple(size for place, size in enumerate(stubs[0].shape) if place not in (0, dim))
            found[vertex.name] = (len(stubs[0].shape), dim, rest, str(stubs[0].dtype))
    return found


class _Ways:
    """The ways of tensors through a network."""

    def __init__(self, graph: Graph) -> None:
        self.place = {vertex.name: number for number, vertex in enumerate(graph.vertices)}
        self.vertices = list(graph.vertices)
        self.makers: dict[str, set[str]] = {name: set() for name in self.place}
        self.users: dict[str, set[str]] = {name: set() for name in self.place}
        for maker, user, _ in edges(graph):
            self.makers[user.name].add(maker.name)
            self.users[maker.name].add(user.name)
        returned = {stub.id for stub in stubs_in(graph.output)}
        self.returned = {v.name for v in self.vertices if {s.id for s in stubs_in(v.output)} & returned}

    def single(self, name: str) -> bool:
        """Tell whether a vertex gives one tensor."""
        return len(stubs_in(self.vertices[self.place[name]].output)) == 1

    def has_parameters(self, name: str) -> bool:
        """Tell whether a vertex is a layer with parameters."""
        target = self.vertices[self.place[name]].target
        return isinstance(target, nn.Module) and bool(target._parameters)

    def closed(self, name: str, inside: set[str]) -> bool:
        """Tell whether a vertex leads to vertices inside alone, and may be taken in."""
        is_input = self.vertices[self.place[name]].kind == "input"
        return not is_input and name not in self.returned and self.users[name] <= inside


def _ending_with(ways: _Ways, exit_: Vertex, most: int) -> Iterator[Segment]:
    """The segments that end with a vertex, from the smallest on."""
    if exit_.kind == "input" or not ways.single(exit_.name):
        return
    inside, entries = {exit_.name}, set(ways.makers[exit_.name])
    trained = ways.has_parameters(exit_.name)
    while entries:
        if trained and len(entries) <= most and all(map(ways.single, entries)):
            yield Segment(tuple(sorted(entries, key=ways.place.__getitem__)), exit_.name)
        takable = [name for name in entries if ways.closed(name, inside)]
        if not takable:
            return
        last = max(takable, key=ways.place.__getitem__)
        inside.add(last)
        entries = (entries - {last}) | (ways.makers[last] - inside)
        trained = trained or ways.has_parameters(last)
