"""Branches of residual sums that a network can do without, found from its graph."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Collection, Iterator, Sequence

from torch import nn

from naivegraph.edits.structure.merges import other_summand
from naivegraph.errors import EditError, nearest
from naivegraph.graph.run.blocks import Uses, is_sum
from naivegraph.graph.run.caches import cached, caches_at, held, without_caches
from naivegraph.graph.run.interpreter import Reads
from naivegraph.graph.run.state_users import state_of_vertex
from naivegraph.graph.torch_utils.module_paths import common_path
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.prune.keep import Keep, named_paths
from naivegraph.widths import Widths

__all__ = ["Branch", "chosen_branches", "find_branches"]


@dataclasses.dataclass(frozen=True)
class Branch:
    """The calls that serve one summand of a sum and nothing else, or those of a whole layer.

    Attributes:
        name: The path of the innermost module that all of its layers are in, or its first and last vertex
            where another branch has that name.
        vertices: The names of its vertices, in order.
        total: The name of the sum; of a layer that of its last vertex.
        place: The number of the summand among the sum's arguments.
        entry: Of a layer, what it takes, which stands for what it gives once it is gone; else None.
        among: Of a layer, the number of layers in its list.
    """

    name: str
    vertices: tuple[str, ...]
    total: str
    place: int
    entry: Stub | None = None
    among: int = 0

    def renamed(self, taken: Collection[str]) -> Branch:
        """The branch, by its first and last vertex if its name is among those taken."""
        if self.name and self.name not in taken:
            return self
        return dataclasses.replace(self, name=f"{self.vertices[0]}..{self.vertices[-1]}")

    @functools.cached_property
    def inside(self) -> frozenset[str]:
        """The names of its vertices."""
        return frozenset(self.vertices)


def find_branches(widths: Widths) -> list[Branch]:
    """The branches of sums `a + b` of equal shapes that can be left out, in order.

    The branch of `b` is what serves `b` alone. It may go if something is computed with weights in it, and if
    every tensor that comes in is `a`, or one that `a` is computed from: then nothing that the network is
    given loses its way to the output. What no parameter and no number of the inputs goes into, such as masks
    and positions, may come in besides. Of a sum of two branches, such as that of a block which changes the
    resolution, each is told; one of them has to stay.

    Args:
        widths: The related axes of a graph, which tell where multiply-accumulates are.

    Example:
        >>> import torch, naivegraph as ng
        >>> class Block(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.one, self.two = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
        ...     def forward(self, x):
        ...         return x + self.two(self.one(x).relu())
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), Block(), Block())
        >>> [(b.name, b.total) for b in find_branches(ng.capture(net, torch.ones(1, 3)).widths)]
        [('1', '1.add'), ('2', '2.add')]
    """
    finder = _Finder(widths)
    found = [b for vertex in widths.graph.vertices if is_sum(vertex) for b in finder.of(vertex)]
    names = [branch.name for branch in found]
    taken = {name for name in names if names.count(name) > 1}
    return [branch.renamed(taken) for branch in found]


class _Finder:
    """Search for the branches of sums in one graph."""

    def __init__(self, widths: Widths) -> None:
        self.graph: Recording = widths.graph
        self.uses = Uses(self.graph)
        self.weighty = {contraction.where for contraction in widths.contractions}
        self.plain = self._plain()
        self.kept, self.cached = held(self.graph), cached(self.graph)
        self.returned = Reads.of(without_caches(self.graph.output, caches_at(self.graph)))
        self.held = {id(vertex) for vertex in self.graph.vertices if self._is_held(vertex)}
        self.measured = {
            vertex.name: Reads.of((vertex.args, vertex.kwargs)).measured for vertex in self.graph.vertices
        }

    def _plain(self) -> set[int]:
        """The vertices, by `id`, that no parameter and no floating-point input goes into."""
        found: set[int] = set()
        for vertex in self.graph.vertices:
            made = stubs_in(vertex.output)
            given = vertex.kind == "input" and any(stub.dtype.is_floating_point for stub in made)
            above = (maker for maker, _ in self.uses.taken.get(id(vertex), ()))
            own = given or _parameters(self.graph, vertex)
            if not own and all(id(maker) in found for maker in above):
                found.add(id(vertex))
        return found

    def _is_held(self, vertex: Vertex) -> bool:
        """Tell whether a vertex is an input, or others than vertices use what it makes."""
        returned = any(maker is vertex and stub.id in self.kept for maker, stub in self.uses.returned())
        kept = any(stub.id in self.graph.left_behind for stub in stubs_in(vertex.output))
        return vertex.kind == "input" or kept or returned

    def of(self, total: Vertex) -> Iterator[Branch]:
        """The branches of one sum."""
        stubs = [stub for stub in total.args if isinstance(stub, Stub)]
        if len(stubs) != 2 or stubs[0].id == stubs[1].id or stubs[0].shape != stubs[1].shape:
            return
        for place, (stub, other) in enumerate((stubs, stubs[::-1])):
            try:
                other_summand(total, stub)
            except EditError:
                continue  # what is left is multiplied, say
            vertices = self._cone(total, stub)
            if vertices and self._may_go(vertices, total, other):
                names = tuple(vertex.name for vertex in vertices)
                yield Branch(self._name(vertices), names, total.name, place)

    def _cone(self, total: Vertex, stub: Stub) -> list[Vertex]:
        """The vertices that serve one summand alone."""
        maker = self.uses.maker(total, stub)
        if maker is None:
            return []
        inside: set[int] = set()
        found: list[Vertex] = []
        for vertex in reversed(self.graph.vertices[: self.uses.place[id(maker)] + 1]):
            users = self.uses.users.get(id(vertex), ())
            mine = all(
                id(user) in inside or (user is total and vertex is maker and used.id == stub.id)
                for user, used in users
            )
            # A part of what a branch computes may be for a cache alone.
            used = users or not self.cached.isdisjoint(stub.id for stub in stubs_in(vertex.output))
            if used and mine and id(vertex) not in self.held:
                inside.add(id(vertex))
                found.append(vertex)
        if id(maker) not in inside:
            return []
        kept = self.uses.reach([maker], inside, upwards=True)
        for vertex in found[::-1]:
            if any(id(source) in kept for source, _ in self.uses.taken.get(id(vertex), ())):
                kept.add(id(vertex))
        return [vertex for vertex in found[::-1] if id(vertex) in kept]

    def _may_go(self, vertices: Sequence[Vertex], total: Vertex, other: Stub) -> bool:
        """Tell whether the network goes on without a branch, and has all it was given."""
        inside = {id(vertex) for vertex in vertices}
        if self.weighty.isdisjoint(vertex.name for vertex in vertices):
            return False
        keeper = self.uses.maker(total, other)
        if keeper is None:
            return False
        above = self.uses.reach([keeper], self.uses.place, upwards=True)
        entering = [
            maker
            for vertex in vertices
            for maker, stub in self.uses.taken.get(id(vertex), ())
            if id(maker) not in inside and stub.dtype.is_floating_point and id(maker) not in self.plain
        ]
        if not entering or not all(id(maker) in above for maker in entering):
            return False
        made = {stub.id for vertex in vertices for stub in stubs_in(vertex.output)}
        made -= {stub.id for maker in entering for stub in stubs_in(maker.output)}
        made -= {stub.id for stub in stubs_in(total.output)}
        outside = [self.measured[v.name] for v in self.graph.vertices if id(v) not in inside]
        return all(made.isdisjoint(each) for each in [*outside, self.returned.measured])

    def _name(self, vertices: Sequence[Vertex]) -> str:
        """The path of the innermost module with all layers of a branch; "" for the network itself."""
        return common_path(vertex.path for vertex in vertices if vertex.name in self.weighty)


def _parameters(graph: Recording, vertex: Vertex) -> list[nn.Parameter]:
    return [tensor for tensor in state_of_vertex(graph, vertex) if isinstance(tensor, nn.Parameter)]


def chosen_branches(
    found: list[Branch], widths: Widths, depth: bool | Sequence[Keep] | Keep, keep: Sequence[Keep] | Keep
) -> list[Branch]:
    """The branches that `depth=` lets go.

    Args:
        found: Those that could.
        widths: The related axes of a graph.
        depth: True for all that `find_branches` finds; or module paths, patterns and modules as for `keep`,
            for those whose parameters are all inside of what these name.
        keep: What stays: branches with a layer inside of it do.

    Raises:
        EditError: There are none, or a path names nothing or nothing that could go.
    """
    if not found:
        raise EditError(
            "depth= finds nothing to leave out: no sum of the network has a summand that it could do without"
        )
    graph = widths.graph
    if not isinstance(depth, bool):
        found = _named(graph, found, [depth] if isinstance(depth, (str, nn.Module)) else depth)
    held = _inside(graph, [keep] if isinstance(keep, (str, nn.Module)) else keep, "keep")
    return [branch for branch in found if not any(graph[name].path in held for name in branch.vertices)]


def _named(graph: Recording, found: list[Branch], items: Sequence[Keep]) -> list[Branch]:
    """The branches whose layers are all inside of one of the modules that are named."""
    chosen: dict[str, Branch] = {}
    for item in items:
        exact = isinstance(item, str) and any(b.name == item for b in found)
        named = {b.name: b for b in found if isinstance(item, str) and fnmatch.fnmatchcase(b.name, item)}
        paths = set() if exact else _inside(graph, [item], "depth")
        named |= {b.name: b for b in found if paths and _all_inside(graph, b, paths)}
        if not named:
            shown = repr(item) if isinstance(item, str) else f"a {type(item).__name__}"
            hint = nearest(str(item), [b.name for b in found], otherwise="")
            raise EditError(
                f"depth names {shown}, inside of which is no whole branch that could go{hint}; there are "
                f"{', '.join(b.name for b in found[:8])}{', ...' * (len(found) > 8)}"
            )
        chosen |= named
    return [branch for branch in found if branch.name in chosen]


def _all_inside(graph: Recording, branch: Branch, paths: Collection[str]) -> bool:
    """Tell whether all vertices of a branch with parameters are in modules of these paths."""
    vertices = [graph[name] for name in branch.vertices]
    return all(vertex.path in paths for vertex in vertices if _parameters(graph, vertex))


def _inside(graph: Recording, items: Sequence[Keep], argument: str) -> set[str]:
    """The paths of vertices in the modules that are named."""
    named = {path for item in items for path in named_paths(graph, item, argument)}
    return {
        vertex.path
        for vertex in graph.vertices
        if any(not path or vertex.path == path or vertex.path.startswith(f"{path}.") for path in named)
        or vertex.name in named
    }
