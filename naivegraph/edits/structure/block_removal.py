"""Taking blocks out of a graph: which vertices are meant, what is left of them, which sizes must fit."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from naivegraph.edits.structure.align_sizes import AlignmentProgram
from naivegraph.edits.structure.bypass import bypass, summand_gone
from naivegraph.edits.structure.merges import (
    is_concatenation,
    other_summand,
    tensors_of,
)
from naivegraph.edits.structure.parting import Programs, hold_other_parts, parted
from naivegraph.edits.structure.planned_sizes import Step
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.vertices import output_of, path_between, vertex_of
from naivegraph.errors import EditError, nearest
from naivegraph.graph import Vertex
from naivegraph.graph.list_argument import parts_of
from naivegraph.graph.run.blocks import (
    Block,
    Region,
    Section,
    Uses,
    between,
    is_activation,
    is_sum,
    region_of,
)
from naivegraph.graph.run.interpreter import Reads
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.run.query import matches
from naivegraph.ir.pytree import stubs_in
from naivegraph.network import Graph

__all__ = ["BlockRemoval", "block_named", "blocks_named"]


def blocks_named(graph: Graph, what: Any) -> tuple[str, list[list[Vertex]] | None]:
    """A name for all, and the vertices of each block that is meant; None for those of a vertex.

    Args:
        graph: The graph.
        what: A vertex or its name, the path of a module, a pattern, the first and last vertex, or a block or
            its name.

    Raises:
        EditError: There is nothing of that name.
    """
    if isinstance(what, Block):
        return what.name, [[graph[name] for name in what.vertices]]
    if isinstance(what, str) and what not in graph:  # as blocks that are no module's are called
        ends = what.split("..")
        what = tuple(ends) if len(ends) == 2 and all(end in graph for end in ends) else what
    if isinstance(what, (tuple, list)):
        if len(what) != 2:
            raise EditError(f"{what!r}: give the first and the last vertex of a block")
        start, end = vertex_of(graph, what[0]), vertex_of(graph, what[1])
        name = f"{start.name}..{end.name}"
        return name, [_from_to(graph, start, end, name)]
    if not isinstance(what, str):
        return vertex_of(graph, what).name, None
    if what in graph:
        return what, None
    found = _within(graph, what)
    if not found:
        paths = {path for v in graph for path in _paths(v)}
        hint = nearest(what, [*(v.name for v in graph), *paths], otherwise="see graph.summary() for names")
        raise EditError(f"the graph has no vertex {what!r}{hint}")
    return what, list(_apart(graph, found))


def _from_to(graph: Graph, start: Vertex, end: Vertex, name: str) -> list[Vertex]:
    """The vertices from one to another; with those around them, if only so a single tensor comes in."""
    found = [start] if start is end else path_between(graph, start, end)
    if not found:
        raise EditError(f"no way leads from {start.name!r} to {end.name!r}")
    uses = Uses(graph)
    for source in dict.fromkeys(maker for maker, _ in uses.taken.get(id(start), ())):
        try:
            region_of(graph, found, name, uses)
        except EditError:
            wider = between(uses, source, end)
            with contextlib.suppress(EditError):
                region_of(graph, wider, name, uses)
                return wider
    return found


def block_named(graph: Graph, what: Any) -> tuple[str, list[Vertex]]:
    """The vertices of one block, and its name; see `blocks_named`.

    Raises:
        EditError: There is none of that name, or several.
    """
    name, blocks = blocks_named(graph, what)
    if blocks is None:
        return name, [vertex_of(graph, what)]
    if len(blocks) > 1:
        raise EditError(f"{name!r} are {len(blocks)} blocks apart from each other: give one")
    return name, blocks[0]


def _paths(vertex: Vertex) -> Iterator[str]:
    """The paths of the modules that a vertex is a call of, or in whose forward it is."""
    path = vertex.path
    while path:
        yield path
        path = path.rpartition(".")[0]


def _within(graph: Graph, pattern: str) -> list[Vertex]:
    """The vertices of a name, or of a module with a path, that matches."""
    return [
        vertex
        for vertex in graph
        if vertex.kind != "input" and any(matches(name, pattern) for name in (vertex.name, *_paths(vertex)))
    ]


def _apart(graph: Graph, vertices: Sequence[Vertex]) -> Iterator[list[Vertex]]:
    """The vertices in groups between which no tensor goes directly."""
    uses, left = Uses(graph), {id(vertex): vertex for vertex in vertices}
    while left:
        group, waiting = dict[int, Vertex](), [next(iter(left.values()))]
        while waiting:
            vertex = waiting.pop()
            if left.pop(id(vertex), None) is None:
                continue
            group[id(vertex)] = vertex
            near = (*uses.taken.get(id(vertex), ()), *uses.users.get(id(vertex), ()))
            waiting.extend(other for other, _ in near if id(other) in left)
        yield [vertex for vertex in graph if id(vertex) in group]


class BlockRemoval:
    """Removal of blocks: the sizes to align and the steps of either way to do it.

    Args:
        graph: The graph.
        name: What messages call them.
        blocks: The vertices of each.
    """

    def __init__(self, graph: Graph, name: str, blocks: Sequence[Sequence[Vertex]]) -> None:
        self.graph, self.name, self.uses = graph, name, Uses(graph)
        inputs = [v for block in blocks for v in block if v.kind == "input"]
        if inputs:
            raise EditError(f"the input {inputs[0].name!r} of the network cannot be removed")
        self.blocks = [list(block) for block in blocks]

    def reconnected(self) -> tuple[Programs, list[Step]]:
        """Give what comes in, or its shortcut, to the users."""
        regions = [region_of(self.graph, block, repr(self.name), self.uses) for block in self.blocks]
        branches = [self._branch_of(region) for region in regions]
        whole = [r for r, of in zip(regions, branches, strict=True) if of is None and not _kept(r)]
        for region in whole:
            self._check_unmeasured(region)
        takes: dict[int, Collection[int]] = {id(region.end): {region.entry.id} for region in whole}
        steps: list[Step] = []
        for region, branch_of in zip(regions, branches, strict=True):
            if branch_of is not None:
                takes[id(branch_of)] = {other_summand(branch_of, region.exit).id}
                steps.append(functools.partial(summand_gone, user=branch_of, stub=region.exit))
            elif kept := _kept(region):
                for section in kept:
                    self._check_plain(section)
                    end, shortcut = self._last(region, section), section.shortcut
                    if shortcut is None:
                        raise EditError(f"{end.name!r} has no shortcut beside it, which would be left")
                    takes[id(end)] = {shortcut.tensor.id}
                    steps.append(functools.partial(bypass, gone=end, other=shortcut.tensor))
            else:
                steps.append(functools.partial(_taken_out, region=region))
        return [functools.partial(self._aligned, whole, takes)], steps

    def _check_unmeasured(self, region: Region) -> None:
        """Check that no vertex outside a region takes a size from a tensor that goes with it."""
        inside = {id(vertex) for vertex in region.vertices}
        made = {stub.id: v.name for v in region.vertices for stub in stubs_in(v.output)}
        stay = {region.exit.id, region.entry.id}
        for vertex in self.graph:
            measured = Reads.of((vertex.args, vertex.kwargs)).measured & (made.keys() - stay)
            if measured and id(vertex) not in inside:
                maker = made[min(measured)]
                raise EditError(
                    f"{vertex.name!r} takes sizes from what {maker!r} in {self.name!r} gives, which would go"
                )

    def _aligned(self, whole: Sequence[Region], takes: dict[int, Collection[int]]) -> AlignmentProgram:
        """The sizes of what comes in and what others used, of every block that goes whole."""
        dims = neuron_dimensions(self.graph)
        opened = [
            (region.exit, dims[tensor_key(region.exit)], [region.exit.shape[dims[tensor_key(region.exit)]]])
            for region in whole
            if region.exit.id != region.entry.id and region.exit.shape
        ]
        cut = [vertex for region in whole for vertex in region.vertices]
        sizes = AlignmentProgram(self.graph, cut, opened, takes)
        for region in whole:
            others = [user for user, _ in self.uses.users.get(id(region.end), ())]
            if region.exit.id == region.entry.id or not region.exit.shape:
                continue
            dim = dims[tensor_key(region.exit)]
            after = sizes.axis(region.exit, dim)
            if self.uses.is_returned(region.end) or not sizes.counted(after):
                sizes.release(after)
            if not others:
                continue
            if len(region.entry.shape) != len(region.exit.shape):
                raise EditError(
                    f"{self.name!r} makes a tensor of {len(region.exit.shape)} dimensions of one of "
                    f"{len(region.entry.shape)}, so its users cannot take that in its place"
                )
            before = sizes.axis(region.entry, dim)
            listed = hold_other_parts(sizes, others, region.exit, dim)
            preferred = before.length if listed else None
            names = (f"what {self.name!r} takes", "what it gives")
            sizes.equal(before, after, region.end, names, preferred)
        return sizes

    def _branch_of(self, region: Region) -> Vertex | None:
        """The sum of which a region is a branch that can be left out; None if it is no such branch."""
        users = [user for user, _ in self.uses.users.get(id(region.end), ())]
        if len(users) != 1 or not is_sum(users[0]) or self.uses.is_returned(region.end):
            return None
        total = users[0]
        others = [stub for stub in tensors_of(total) if stub.id != region.exit.id]
        if len(others) != 1:
            return None
        maker, stub = self.uses.origin(total, others[0])
        if maker is region.source and stub.id == region.entry.id:
            return total
        if maker is None or region.source is None:
            return None
        around = self.uses.reach([region.source], self.uses.place, upwards=False)
        around &= self.uses.reach([maker], self.uses.place, upwards=True)
        beside = [v for v in self.graph if id(v) in around and v is not region.source]
        # Of two branches with layers the one with fewer is the shortcut, which has to be joined through.
        return total if id(maker) in around and len(beside) < len(region.vertices) else None

    def _last(self, region: Region, section: Section) -> Vertex:
        """The vertex that goes with a sum: the last of the activations behind it, where only `x` is left."""
        last = section.end
        if section.shortcut is not None and section.shortcut.shortcut:
            for follower in region.sections[region.sections.index(section) + 1 :]:
                if follower.vertices or not is_activation(self.uses, follower.end):
                    break
                last = follower.end
        return last

    def _check_plain(self, section: Section) -> None:
        shortcut = section.shortcut
        if shortcut is not None and shortcut.tensor.shape != output_of(section.end).shape:
            raise EditError(f"{self.name!r}: {section.end.name!r} repeats what its shortcut carries")

    def dropped(self) -> tuple[Programs, list[Step]]:
        """Its output is left out of the sums and concatenations that use it."""
        if len(self.blocks) != 1:
            raise EditError(f"{self.name!r} are {len(self.blocks)} blocks: drop one after the other")
        region = region_of(self.graph, self.blocks[0], repr(self.name), self.uses)
        users = list(dict.fromkeys(user for user, _ in self.uses.users.get(id(region.end), ())))
        wrong = [user.name for user in users if not is_sum(user) and not is_concatenation(user)]
        if wrong or self.uses.is_returned(region.end):
            why = f"its user {wrong[0]!r} is neither a sum nor a concatenation" if wrong else "it is returned"
            raise EditError(f"{self.name!r} is to be dropped, and {why}, which could do without it")
        places = {
            id(user): [i for i, part in enumerate(parts_of(user)) if part.id == region.exit.id]
            for user in users
            if is_concatenation(user)
        }
        return parted(self.graph, users, region.exit, places)


def _kept(region: Region) -> list[Section]:
    """The sections whose sums lose their branches, the last first.

    There are none if the region can go as a whole, as the ways around its branches are the identity.
    """
    sums = [section for section in region.sections if section.summands]
    for section in sums:
        if section.shortcut is None:
            ways = ", ".join(repr(s.vertices[-1].name) for s in section.summands if s.vertices)
            raise EditError(
                f"nothing tells which of the summands of {section.end.name!r} ({ways}) is the shortcut: take "
                "one of them out by ng.disconnect"
            )
    return sums[::-1] if any(section.shortcut and section.shortcut.vertices for section in sums) else []


def _taken_out(rewiring: Rewiring, region: Region) -> None:
    """Let the users of a region take what comes in, and take its vertices out, the last first."""
    bypass(rewiring, region.end, region.entry)
    for vertex in reversed(region.vertices):
        if vertex is not region.end:
            rewiring.remove(vertex)
