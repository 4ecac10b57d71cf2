"""Blocks: parts of a graph with one tensor in and one out, and the shortcuts in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence

from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph.run.query import edges
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import State, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators import record_of
from naivegraph.operators.operator_record import Role
from naivegraph.operators.pointwise import pointwise

__all__ = [
    "Block", "Region", "Section", "Summand", "Uses", "between", "find_blocks", "has_parameters",
    "is_activation", "is_sum", "region_of",
]  # fmt: skip

# A tensor as a vertex left it: the vertex (None for none), and the tensor's number.
Value = tuple[Vertex | None, int]


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of a network with one tensor in and one out, as `Graph.blocks` lists it.

    Attributes:
        name: The path of the module whose calls it is made of, or its first and last vertex.
        vertices: The names of its vertices, in order.
        source: The vertex whose output comes in; "" for a tensor that no vertex makes.
        shortcut: The names of the vertices around the branches that end in its sum; empty if the shortcut is
            the identity, None if the block ends in no sum.
    """

    name: str
    vertices: tuple[str, ...]
    source: str
    shortcut: tuple[str, ...] | None

    def __str__(self) -> str:
        around = "the identity" if self.shortcut == () else ", ".join(self.shortcut or ())
        told = f"around it {around}" if around else "no shortcut"
        return f"{self.name}: {len(self.vertices)} vertices, {told}"


@dataclasses.dataclass(frozen=True)
class Summand:
    """One summand of a residual sum.

    Attributes:
        tensor: What is added.
        vertices: The vertices between where the ways part and the sum, on the way to this summand.
        shortcut: Whether it is the very tensor from which the ways part.
    """

    tensor: Stub
    vertices: tuple[Vertex, ...]
    shortcut: bool

    @property
    def weight(self) -> tuple[int, int]:
        """The number of vertices with parameters, and of all."""
        return sum(map(has_parameters, self.vertices)), len(self.vertices)


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a region between two places that every way through it passes.

    Attributes:
        end: The vertex it ends with.
        vertices: The others in it.
        summands: What the end adds up, if that is a sum (or a sum of sums) of several ways.
    """

    end: Vertex
    vertices: tuple[Vertex, ...]
    summands: tuple[Summand, ...]

    @property
    def shortcut(self) -> Summand | None:
        """The summand that is the identity, or else the one with the fewest layers; None if it is unclear."""
        same = [summand for summand in self.summands if summand.shortcut]
        if same or not self.summands:
            return same[0] if same else None
        first, second = sorted(self.summands, key=lambda summand: summand.weight)[:2]
        mine = {id(vertex) for vertex in first.vertices}
        others = {id(v) for summand in self.summands if summand is not first for v in summand.vertices}
        return None if first.weight == second.weight or mine & others else first


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of a graph with one tensor in and one out.

    Attributes:
        vertices: Its vertices, in order.
        entry: The tensor that comes in; side inputs such as masks are not told.
        source: The vertex that makes it.
        exit: The tensor that others use.
        end: The vertex that makes it.
        sections: The parts it is made of on the way from entry to exit.
    """

    vertices: tuple[Vertex, ...]
    entry: Stub
    source: Vertex | None
    exit: Stub
    end: Vertex
    sections: tuple[Section, ...]


def is_sum(vertex: Vertex) -> bool:
    """Tell whether a vertex adds two tensors."""
    one = vertex.kind == "function" and len(vertex.operations) == 1 and len(vertex.args) == 2
    return one and record_of(vertex.operations[0].func).role is Role.SUM


def has_parameters(vertex: Vertex) -> bool:
    """Tell whether a vertex computes with parameters or buffers of the network."""
    if isinstance(vertex.target, nn.Module):
        return next(vertex.target.parameters(), None) is not None
    return any(isinstance(leaf, State) for leaf in leaves((vertex.args, vertex.kwargs)))


def is_activation(uses: Uses, vertex: Vertex) -> bool:
    """Tell whether a vertex is a function of the single elements of one tensor, and has no parameters."""
    plain = not has_parameters(vertex) and len(uses.taken.get(id(vertex), ())) == 1
    return plain and all(record_of(o.func).axes is pointwise for o in vertex.operations)


def between(uses: Uses, start: Vertex, end: Vertex) -> list[Vertex]:
    """The vertices on the ways from one to another, without the first."""
    everything = uses.place.keys()
    both = uses.reach([start], everything, upwards=False) & uses.reach([end], everything, upwards=True)
    return [vertex for vertex in uses.graph.vertices if id(vertex) in both and vertex is not start]


class Uses:
    """The uses of tensors in a graph: who makes what a vertex takes, and who takes what it makes."""

    def __init__(self, graph: Recording) -> None:
        self.graph = graph
        self.place = {id(vertex): number for number, vertex in enumerate(graph.vertices)}
        self.taken: dict[int, list[tuple[Vertex, Stub]]] = {}
        self.users: dict[int, list[tuple[Vertex, Stub]]] = {}
        for maker, user, stub in edges(graph):
            self.taken.setdefault(id(user), []).append((maker, stub))
            self.users.setdefault(id(maker), []).append((user, stub))
        self._last = {stub.id: vertex for vertex in graph.vertices for stub in stubs_in(vertex.output)}

    def maker(self, user: Vertex, stub: Stub) -> Vertex | None:
        """The vertex that made a tensor as another one takes it."""
        found = (maker for maker, taken in self.taken.get(id(user), ()) if taken.id == stub.id)
        return next(found, None)

    def origin(
        self, user: Vertex, stub: Stub, within: Collection[int] | None = None
    ) -> tuple[Vertex | None, Stub]:
        """A tensor before `nn.Identity` (of those `within`) gave it on to a user, and who made it."""
        maker = self.maker(user, stub)
        while maker is not None and isinstance(maker.target, nn.Identity):
            if within is not None and id(maker) not in within:
                break
            (stub,), user = stubs_in(maker.args), maker
            maker = self.maker(user, stub)
        return maker, stub

    def returned(self) -> list[tuple[Vertex, Stub]]:
        """The tensors that the network returns, and the vertices that made them."""
        output = stubs_in(self.graph.output)
        return [(self._last[stub.id], stub) for stub in output if stub.id in self._last]

    def is_returned(self, vertex: Vertex) -> bool:
        """Tell whether the network returns what a vertex made."""
        return any(maker is vertex for maker, _ in self.returned())

    def reach(self, starts: Sequence[Vertex], within: Collection[int], *, upwards: bool) -> set[int]:
        """The vertices, by `id`, among `within` that are reached from some of them, which are included."""
        next_to = self.taken if upwards else self.users
        found, waiting = {id(v) for v in starts if id(v) in within}, list(starts)
        while waiting:
            for other, _ in next_to.get(id(waiting.pop()), ()):
                if id(other) in within and id(other) not in found:
                    found.add(id(other))
                    waiting.append(other)
        return found


def region_of(graph: Recording, vertices: Sequence[Vertex], what: str, uses: Uses | None = None) -> Region:
    """The region that some vertices of a graph are.

    Args:
        graph: The graph.
        vertices: Its vertices.
        what: How messages call it.
        uses: Those of the graph, if they are known.

    Raises:
        EditError: Other than one tensor comes in (of the shape that goes out, if there are several) or out.
    """
    uses = Uses(graph) if uses is None else uses
    inside = {id(vertex) for vertex in vertices}
    listed = tuple(sorted(vertices, key=lambda vertex: uses.place[id(vertex)]))
    end, leaving = _exit(uses, listed, inside, what)
    source, entry = _entry(uses, listed, inside, leaving, what)
    first = [
        user
        for user in listed
        if any(m is source and stub.id == entry.id for m, stub in uses.taken.get(id(user), ()))
    ]
    on_way = uses.reach(first, inside, upwards=False) & uses.reach([end], inside, upwards=True)
    if id(end) not in on_way:
        raise EditError(f"{what}: what it gives does not depend on what it takes")
    way = [vertex for vertex in listed if id(vertex) in on_way]
    return Region(listed, entry, source, leaving, end, tuple(_sections(uses, way, (source, entry.id))))


def _exit(uses: Uses, vertices: Sequence[Vertex], inside: set[int], what: str) -> tuple[Vertex, Stub]:
    out: dict[tuple[int, int], tuple[Vertex, Stub]] = {}
    for vertex in vertices:
        for user, stub in uses.users.get(id(vertex), ()):
            if id(user) not in inside:
                out[id(vertex), stub.id] = vertex, stub
    out.update(((id(v), stub.id), (v, stub)) for v, stub in uses.returned() if id(v) in inside)
    if len(out) != 1:
        names = ", ".join(dict.fromkeys(repr(vertex.name) for vertex, _ in out.values()))
        told = f": those of {names}" if out else ""
        raise EditError(f"{what} gives {len(out)} tensors to others{told}; only a part that gives one can be")
    return next(iter(out.values()))


def _entry(
    uses: Uses, vertices: Sequence[Vertex], inside: set[int], leaving: Stub, what: str
) -> tuple[Vertex, Stub]:
    taken = {
        (id(maker), stub.id): (maker, stub)
        for vertex in vertices
        for maker, stub in uses.taken.get(id(vertex), ())
        if id(maker) not in inside
    }
    found = list(taken.values())
    if len(found) > 1:  # masks and position codes beside what the part is about
        rank = len(leaving.shape)
        alike = [e for e in found if e[1].dtype.is_floating_point and len(e[1].shape) == rank] or found
        found = [each for each in alike if each[1].shape == leaving.shape] or alike
    if len(found) != 1:
        names = ", ".join(dict.fromkeys(repr(maker.name) for maker, _ in found))
        told = f": of {names}" if found else ""
        raise EditError(f"{what} takes {len(found)} tensors that may come in its place{told}")
    return found[0]


def _sections(uses: Uses, way: Sequence[Vertex], start: Value) -> Iterator[Section]:
    """Cut a way where all of it passes one vertex, that is, where no use of a tensor goes around it."""
    place = {id(vertex): number for number, vertex in enumerate(way)}
    farthest = [0] * len(way)  # position of the first vertex that each one's tensors come from
    for number, vertex in enumerate(way):
        makers = [
            place.get(id(maker), -1 if (maker, stub.id) == start else None)
            for maker, stub in uses.taken.get(id(vertex), ())
        ]
        farthest[number] = min((p for p in makers if p is not None), default=number - 1)
    around = [False] * len(way)
    for number, first in enumerate(farthest):
        for between in range(first + 1, number):
            around[between] = True
    inside: list[Vertex] = []
    for vertex, passed in zip(way, around, strict=True):
        if passed:
            inside.append(vertex)
            continue
        yield Section(vertex, tuple(inside), tuple(_summands(uses, vertex, inside, start)))
        start, inside = (vertex, stubs_in(vertex.output)[0].id), []


def _summands(uses: Uses, end: Vertex, inside: Sequence[Vertex], start: Value) -> list[Summand]:
    """The summands of a section's end, if it is a sum of several ways through the section; else none."""
    if not is_sum(end) or not inside:
        return []
    within = {id(vertex) for vertex in inside}
    found: list[Summand] = []
    waiting: list[tuple[Vertex, Stub]] = [(end, arg) for arg in end.args[::-1] if isinstance(arg, Stub)]
    while waiting:
        user, stub = waiting.pop()
        maker, stub = uses.origin(user, stub, within)
        if (maker, stub.id) == start:
            found.append(Summand(stub, (), shortcut=True))
        elif maker is None or id(maker) not in within:
            continue  # something that does not come through this region
        elif is_sum(maker) and len(uses.users[id(maker)]) == 1 and not maker.kwargs:
            waiting.extend((maker, arg) for arg in maker.args[::-1] if isinstance(arg, Stub))
        else:
            above = uses.reach([maker], within, upwards=True)
            found.append(Summand(stub, tuple(v for v in inside if id(v) in above), shortcut=False))
    return found if len(found) > 1 else []


# All blocks of a graph


def find_blocks(graph: Recording) -> list[Block]:
    """The blocks of a graph that end where several ways meet: residual ones, and others of parallel ways.

    A block goes from the vertex where the ways part to the sum or concatenation where they meet, and takes
    functions of single elements behind that along (an activation after the sum).
    """
    uses = Uses(graph)
    found: list[Block] = []
    above = _dominators(uses)
    for vertex in graph.vertices:
        start = _parting(uses, vertex, above)
        if start is None:
            continue
        inside = _with_sources(uses, _with_tail(uses, between(uses, start, vertex), vertex))
        try:
            region = region_of(graph, inside, repr(vertex.name), uses)
        except EditError:
            continue  # something in it is used elsewhere
        last = next((s for s in region.sections if s.end is vertex), None)
        summed = None if last is None else last.shortcut
        if summed is None and region.entry.shape != region.exit.shape:
            continue
        shortcut = None if summed is None else tuple(v.name for v in summed.vertices)
        names = tuple(v.name for v in region.vertices)
        source = "" if region.source is None else region.source.name
        found.append(Block(_name(graph, region.vertices), names, source, shortcut))
    return found


def _parting(uses: Uses, end: Vertex, above: dict[int, Vertex | None]) -> Vertex | None:
    """The vertex from which the ways part that meet in this one."""
    makers = list(dict.fromkeys(maker for maker, _ in uses.taken.get(id(end), ())))
    if len(makers) < 2 or end.kind != "function" or len(end.operations) != 1:
        return None
    if record_of(end.operations[0].func).role not in (Role.SUM, Role.CONCATENATION):
        return None
    for maker in makers:  # one of the ways may be the identity; others may take side inputs, too
        rest = [other for other in makers if other is not maker]
        below = uses.reach([maker], uses.place, upwards=False)
        if all(id(other) in below for other in rest):
            return maker
    return above.get(id(end))


def _dominators(uses: Uses) -> dict[int, Vertex | None]:
    """The last vertex that all ways from the inputs to each vertex pass; None if there is none.

    As in Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm" (2001), in one pass, for there are no
    cycles.
    """
    found: dict[int, Vertex | None] = {}
    depth: dict[int, int] = {}

    def meet(one: Vertex | None, two: Vertex | None) -> Vertex | None:
        """Return the last vertex above both."""
        while one is not None and two is not None and one is not two:
            if depth[id(one)] >= depth[id(two)]:
                one = found[id(one)]
            else:
                two = found[id(two)]
        return one if one is two else None

    fed = uses.reach(uses.graph.inputs, uses.place, upwards=False)
    for vertex in uses.graph.vertices:
        # What is made of parameters alone, such as a scale in another shape, is on no way.
        makers = [maker for maker, _ in uses.taken.get(id(vertex), ()) if id(maker) in fed]
        top: Vertex | None = makers[0] if makers else None
        for maker in makers[1:]:
            top = meet(top, maker)
        found[id(vertex)] = top
        depth[id(vertex)] = 0 if top is None else depth[id(top)] + 1
    return found


def _with_tail(uses: Uses, vertices: list[Vertex], end: Vertex) -> list[Vertex]:
    """With the activations that follow, as long as nothing else uses what they take."""
    while True:
        users = list(dict.fromkeys(user for user, _ in uses.users.get(id(end), ())))
        if len(users) != 1 or uses.is_returned(end) or not is_activation(uses, users[0]):
            return vertices
        if isinstance(users[0].target, nn.Identity):  # which is no part of the block
            return vertices
        vertices, end = [*vertices, users[0]], users[0]


def _with_sources(uses: Uses, vertices: list[Vertex]) -> list[Vertex]:
    """With what is made of parameters alone and used in them alone."""
    fed = uses.reach(uses.graph.inputs, uses.place, upwards=False)
    inside, found = {id(vertex) for vertex in vertices}, list(vertices)
    for vertex in reversed(uses.graph.vertices):  # users come after what they use
        users = uses.users.get(id(vertex), ())
        alone = id(vertex) not in fed and users and not uses.is_returned(vertex)
        if alone and all(id(user) in inside for user, _ in users):
            inside.add(id(vertex))
            found.append(vertex)
    return found


def _name(graph: Recording, vertices: Sequence[Vertex]) -> str:
    """The path of the module that makes just these calls, or their first and last names."""
    paths = [vertex.path.split(".") for vertex in vertices]
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    path, mine = ".".join(common), {id(vertex) for vertex in vertices}
    inside = {id(v) for v in graph.vertices if v.path == path or v.path.startswith(f"{path}.")}
    return path if path and inside == mine else f"{vertices[0].name}..{vertices[-1].name}"
