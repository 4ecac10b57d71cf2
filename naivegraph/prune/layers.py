"""Whole layers that a network can do without, as its config counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from naivegraph.edits.config.config_layers import layer_lists
from naivegraph.graph.run.blocks import Uses, has_parameters
from naivegraph.graph.run.caches import held
from naivegraph.graph.run.interpreter import Reads
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.prune.branches import Branch
from naivegraph.prune.captured import Captured
from naivegraph.prune.layer_gaps import config_layers
from naivegraph.widths import Widths

__all__ = ["find_layers", "with_layers"]


def find_layers(found: Captured, widths: Widths) -> list[Branch]:
    """The layers in lists of modules that may leave the network, by what its config says.

    A layer may go if one tensor comes in and one of the same shape goes out, which the one that came in then
    stands for, and if the network's config builds the network that is left. Masks, positions and the like may
    come in besides.
    """
    layers = config_layers(found)
    if not layers.known:
        return []
    graph = widths.graph
    finder = _Finder(widths)
    out: list[Branch] = []
    for home, count in layer_lists(graph.module).items():
        made = list(finder.of(home, count))
        may_go = layers.may_go(home) if made else frozenset()
        out += [branch for place, branch in made if place in may_go]
    return out


def with_layers(graph: Recording, branches: Sequence[Branch], layers: Sequence[Branch]) -> list[Branch]:
    """Branches, and those of the layers of which something would be left without all of their branches.

    Such as norms behind the sums. Where a layer and a branch have one name, it is the layer's.
    """
    more = []
    for layer in layers:
        inner = [branch for branch in branches if branch.inside <= layer.inside]
        covered = {name for branch in inner for name in (*branch.vertices, branch.total)}
        if any(has_parameters(graph[name]) for name in layer.inside - covered):
            more.append(layer)
    taken = {layer.name for layer in more}
    return [branch.renamed(taken) for branch in branches] + more


class _Finder:
    """Search for layers through which one tensor passes."""

    def __init__(self, widths: Widths) -> None:
        self._graph, self._uses, self._held = widths.graph, Uses(widths.graph), held(widths.graph)
        self._weighty = {contraction.where for contraction in widths.contractions}
        self._measured = {
            vertex.name: Reads.of((vertex.args, vertex.kwargs)).measured for vertex in self._graph.vertices
        }

    def of(self, home: str, count: int) -> Iterator[tuple[int, Branch]]:
        """The layers of one list, with their places."""
        before: Stub | None = None
        for place in range(count):
            path = f"{home}.{place}"
            vertices = [
                vertex
                for vertex in self._graph.vertices
                if vertex.kind != "input" and (vertex.path == path or vertex.path.startswith(f"{path}."))
            ]
            ends = self._exits(vertices)
            if len(ends) != 1 or self._weighty.isdisjoint(vertex.name for vertex in vertices):
                before = None
                continue
            (end, leaving), *_ = ends.values()
            entry = self._entry(vertices, leaving, before)
            if entry is not None and self._measures_nothing(vertices, leaving):
                yield place, Branch(path, tuple(v.name for v in vertices), end.name, 0, entry, count)
            before = leaving

    def _exits(self, vertices: Sequence[Vertex]) -> dict[int, tuple[Vertex, Stub]]:
        """The tensors that others take, or that the network returns elsewhere than in caches."""
        inside = {id(vertex) for vertex in vertices}
        out: dict[int, tuple[Vertex, Stub]] = {}
        for vertex in vertices:
            for user, stub in self._uses.users.get(id(vertex), ()):
                if id(user) not in inside:
                    out[stub.id] = vertex, stub
        out.update({s.id: (v, s) for v, s in self._uses.returned() if id(v) in inside and s.id in self._held})
        return out

    def _entry(self, vertices: Sequence[Vertex], leaving: Stub, before: Stub | None) -> Stub | None:
        """The tensor that comes in and could go out in the place of another one."""
        inside = {id(vertex) for vertex in vertices}
        found = {
            stub.id: stub
            for vertex in vertices
            for maker, stub in self._uses.taken.get(id(vertex), ())
            if id(maker) not in inside and (stub.shape, stub.dtype) == (leaving.shape, leaving.dtype)
        }
        if before is not None and before.id in found:
            return before
        return next(iter(found.values())) if len(found) == 1 else None

    def _measures_nothing(self, vertices: Sequence[Vertex], leaving: Stub) -> bool:
        """Tell whether no size of a tensor in a layer, but of what goes out, is used outside."""
        inside = {vertex.name for vertex in vertices}
        made = {stub.id for vertex in vertices for stub in stubs_in(vertex.output)} - {leaving.id}
        outside = [measured for name, measured in self._measured.items() if name not in inside]
        return all(made.isdisjoint(measured) for measured in outside)
