"""Ties: dimensions of tensors that one vertex makes share neurons, and the shortest path of ties between two.

The operators of each vertex are related by themselves, on axes that nothing else relates. Dimensions that
share neurons then are tied by that vertex alone, so that a path of vertices names those through which sizes
really travel, whatever the order in which the whole network was related.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

from naivegraph.algebra.axis import Atom, Axis, reasons
from naivegraph.graph import Vertex
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.values import Stub
from naivegraph.operators import relate_operation
from naivegraph.operators.custom import relate_custom
from naivegraph.operators.relation import Relation, returned, tensors_in
from naivegraph.widths.widths import Widths

__all__ = ["OUTPUT", "DimPlace", "Role", "TieGraph"]

OUTPUT = "the network's output"

# A dimension of a tensor: the number of its stub, which dimension, and how often the tensor was written to.
DimPlace = tuple[int, int, int]
Role = Literal["input", "output", "both", "own"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """Dimensions that one vertex ties together."""

    vertex: str
    places: tuple[DimPlace, ...]


class TieGraph:
    """The ties of each vertex of a graph by itself.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> from naivegraph.widths import relate
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> widths = relate(capture(net, torch.zeros(1, 4)))
        >>> ties = TieGraph(widths)
        >>> paths = ties.paths(ties.outputs_of(widths.graph["0"]), widths.widths[0].atom)
        >>> paths[ties.state("2.weight", 1)]
        ('1', '2')
    """

    def __init__(self, widths: Widths) -> None:
        self.widths = widths
        self._groups: list[_Group] = []
        self._by_vertex: dict[str, list[_Group]] = {}
        self._sources: dict[str, list[tuple[DimPlace, str]]] = {}
        self._written: dict[int, int] = {}
        self._outputs: dict[str, list[DimPlace]] = {}
        self._inputs: dict[str, list[DimPlace]] = {}
        graph = widths.graph
        states = {stub.id for stub in graph.state.values()}
        known = set(states)
        for vertex in graph.vertices:
            self._inputs[vertex.name] = self._places([vertex.args, vertex.kwargs])
            if vertex.kind == "input":
                self._note_fixed(tensors_in(vertex.output), vertex.name)
            else:
                self._relate(vertex, known, states)
            self._outputs[vertex.name] = self._places(vertex.output)
            known.update(stub.id for stub in tensors_in(vertex.output))
        self._owners = {v.path: v for v in reversed(graph.vertices) if v.kind == "layer"}

    # Building

    def _note_fixed(self, stubs: Iterable[Stub], name: str) -> None:
        """Note an input vertex as the source of the reasons for which its dimensions are fixed."""
        for stub in stubs:
            for dim, axis in enumerate(self.widths.relation.of(stub)):
                for reason in reasons(axis):
                    self._sources.setdefault(reason, []).append(((stub.id, dim, 0), name))

    def _places(self, value: object) -> list[DimPlace]:
        """The dimensions of all tensors in a pytree, as last written to."""
        return [
            (stub.id, dim, self._written.get(stub.id, 0))
            for stub in tensors_in(value)
            for dim in range(len(stub.shape))
        ]

    def _relate(self, vertex: Vertex, known: set[int], states: set[int]) -> None:
        """Relate one vertex by itself."""
        local = Relation()
        local.algebra.where = vertex.name
        made: set[int] = set()
        if isinstance(vertex.target, CustomFunction):
            self._enter_axes(local, [vertex.args, vertex.kwargs], known, states)
            relate_custom(local, vertex, vertex.target)
            made.update(stub.id for stub in tensors_in(vertex.output))
        for operation in [] if isinstance(vertex.target, CustomFunction) else vertex.operations:
            self._enter_axes(local, [operation.args, operation.kwargs], known, states)
            relate_operation(local, operation)
            made.update(stub.id for stub in operation.outputs if stub is not None)
        # A tensor that is written to in place has one place before and another after.
        again = made & known - states
        before = {number: self._written.get(number, 0) for number in local.axes}
        self._written.update((number, before[number] + 1) for number in again & before.keys())
        shared: dict[Atom, dict[DimPlace, None]] = {}
        for number, axes in local.axes.items():
            versions = {before[number], self._written.get(number, 0)}
            for dim, axis in enumerate(axes):
                resolved = local.algebra.resolve(axis)
                places = [(number, dim, version) for version in sorted(versions)]
                for atom in resolved.atoms():
                    shared.setdefault(atom, {}).update(dict.fromkeys(places))
                for reason in reasons(resolved):
                    self._sources.setdefault(reason, []).extend((place, vertex.name) for place in places)
        groups = [_Group(vertex.name, tuple(places)) for places in shared.values()]
        self._groups += groups
        self._by_vertex[vertex.name] = groups

    @staticmethod
    def _enter_axes(local: Relation, values: object, known: set[int], states: set[int]) -> None:
        """Add free axes for the tensors among some arguments that earlier vertices made."""
        for stub in tensors_in(values):
            if stub.id in known and stub.id not in local.axes:
                local.axes[stub.id] = local.fresh(stub.shape)

    # Places

    def outputs_of(self, vertex: Vertex) -> list[DimPlace]:
        """The dimensions of a vertex's outputs."""
        return list(self._outputs[vertex.name])

    def network_outputs(self) -> list[DimPlace]:
        """The dimensions of the network's outputs."""
        return self._places(returned(self.widths.graph.output))

    def inputs_of(self, vertex: Vertex) -> list[DimPlace]:
        """The dimensions of the tensors among a vertex's arguments."""
        return list(self._inputs[vertex.name])

    def state(self, name: str, dim: int) -> DimPlace:
        """A dimension of a parameter or buffer."""
        return self.widths.graph.state[name].id, dim, 0

    def owner(self, name: str) -> str:
        """The layer that a parameter or buffer belongs to; its own name if it belongs to none."""
        path = name.rpartition(".")[0]
        return self._owners[path].name if path in self._owners else name

    def role(self, name: str, dim: int) -> Role:
        """The role of a dimension of a layer's parameter: counting inputs, outputs, both, or neither."""
        path, place = name.rpartition(".")[0], self.state(name, dim)
        if path not in self._owners:
            return "own"
        vertex = self._owners[path]
        made = {stub.id for stub in tensors_in(vertex.output)}
        given = {stub.id for stub in tensors_in([vertex.args, vertex.kwargs])}
        touched = {
            number
            for group in self._by_vertex.get(vertex.name, ())
            if place in group.places
            for number, _, _ in group.places
        }
        if touched & made:
            return "both" if touched & given else "output"
        return "input" if touched & given else "own"

    def axis(self, place: DimPlace) -> Axis | None:
        """The resolved axis at a place, in the whole network; None where the network has no such tensor."""
        axes = self.widths.relation.axes.get(place[0])
        if axis := None if axes is None or place[1] >= len(axes) else axes[place[1]]:
            return self.widths.relation.algebra.resolve(axis)
        return None

    # Paths

    def _carries(self, place: DimPlace, sought: Atom | str) -> bool:
        """Tell whether a dimension has the neurons of an atom, or is fixed for a reason."""
        axis = self.axis(place)
        if axis is None:
            return False
        return sought in reasons(axis) if isinstance(sought, str) else any(a is sought for a in axis.atoms())

    def paths(self, start: Iterable[DimPlace], sought: Atom | str) -> dict[DimPlace, tuple[str, ...]]:
        """The shortest paths of ties from some dimensions to every dimension with the same neurons.

        Args:
            start: Dimensions to begin at; those without the neurons sought are ignored.
            sought: A width's atom, or the reason for which neurons are fixed.

        Returns:
            By dimension the vertices on the path, without repeats.
        """
        import networkx as nx

        graph: nx.Graph[object] = nx.Graph()
        begin = [place for place in start if self._carries(place, sought)]
        for group in self._groups:
            places = [place for place in group.places if self._carries(place, sought)]
            graph.add_edges_from((group, place) for place in places)
        if not begin:
            return {}
        graph.add_edges_from(("start", place) for place in begin)
        found = nx.single_source_shortest_path(graph, "start")
        return {
            place: without_repeats(node.vertex for node in path if isinstance(node, _Group))
            for place, path in found.items()
            if isinstance(place, tuple)
        }

    def cause(self, start: Iterable[DimPlace], reason: str) -> tuple[str, ...]:
        """The shortest path of ties from some dimensions to the vertex that fixes them for `reason`.

        It ends with the input, the network's output or the vertex at which the reason arose; it is empty
        where nothing is known but the reason itself.
        """
        paths = self.paths(start, reason)
        sources = list(self._sources.get(reason, []))
        at = self.widths.relation.algebra.pinned.get(reason)
        if not sources and at == OUTPUT:
            sources = [(place, OUTPUT) for place in self.network_outputs()]
        elif not sources:
            sources = [(place, g.vertex) for g in self._by_vertex.get(at or "", ()) for place in g.places]
        chains = [without_repeats((*paths[place], name)) for place, name in sources if place in paths]
        return min(chains, key=len, default=() if at is None else (at,))


def without_repeats(names: Iterable[str]) -> tuple[str, ...]:
    """The names in order, each once where it occurs several times in a row."""
    out: list[str] = []
    for name in names:
        if not out or out[-1] != name:
            out.append(name)
    return tuple(out)
