"""Addition of one edge: the programs for the sizes, and the steps that change the structure."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request import validate
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.structure.align_sizes import AlignmentProgram, first_feasible
from naivegraph.edits.structure.joint import Joint
from naivegraph.edits.structure.merges import concatenation_dim, is_concatenation
from naivegraph.edits.structure.parting import Programs, release_given
from naivegraph.edits.structure.planned_sizes import Step
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.vertices import neuron_dimension, new_name, output_of, returns, users_of
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.graph import Vertex
from naivegraph.graph.list_argument import parts_of
from naivegraph.graph.run.blocks import is_sum
from naivegraph.graph.run.query import related
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.verify.shape_prop import propagate_shapes
from naivegraph.network import Graph
from naivegraph.undo import UndoLog

__all__ = ["Connection", "check_merge", "concatenation_behind", "connected"]

_APART = "what uses it takes it apart, so new neurons have no place there"


class Connection:
    """Addition of one edge.

    Args:
        graph: The graph.
        start: The vertex whose output is taken.
        end: The vertex that takes it; or behind which a sum takes both.
    """

    def __init__(self, graph: Graph, start: Vertex, end: Vertex) -> None:
        self.graph, self.start, self.end = graph, start, end
        self.given, self.out = output_of(start), output_of(end)
        self.users = users_of(graph, end)
        if len(self.given.shape) != len(self.out.shape):
            raise EditError(
                f"{start.name!r} gives a tensor of {len(self.given.shape)} dimensions, "
                f"and {end.name!r} one of {len(self.out.shape)}"
            )

    def programs(self, position: int | None, merge: str | None) -> Programs:
        """The programs for the sizes, one instead of the other.

        Raises:
            EditError: The vertex takes nothing more, or no part at that position.
        """
        if is_concatenation(self.end):
            count = len(parts_of(self.end))
            at = count if position is None else validate.whole(position, "position", 0, count)
            return [functools.partial(self.extended, at), self.shared]
        if not is_sum(self.end) and merge is None:
            raise EditError(
                f"{self.end.name!r} is neither a sum nor a concatenation (torch.cat), so it cannot take "
                'another input: merge="sum" or merge="concat" puts one behind it'
            )
        if position is not None:
            raise EditError(
                f"position={position!r}: {self.end.name!r} is a sum, in which order does not matter"
            )
        return [self.to_sum]

    def carry_out(self, position: int | None, rewiring: Rewiring) -> None:
        """Add the edge."""
        self.earlier(rewiring)
        if is_concatenation(self.end):
            rewiring.add_part(self.end, self.given, position)
        else:
            self.add(rewiring)

    def to_sum(self) -> AlignmentProgram:
        """Require that the sum and its new summand have equal sizes."""
        dim = neuron_dimension(self.graph, self.end)
        sizes = AlignmentProgram(self.graph, [], [])
        sides = (sizes.axis(self.given, dim), sizes.axis(self.out, dim))
        sizes.equal(*sides, self.end, (f"what {self.start.name!r} gives", f"the sum {self.end.name!r}"))
        return sizes

    def extended(self, position: int) -> AlignmentProgram:
        """Add the neurons of the new part to all that use the concatenation; parts stay if they can."""
        joint = Joint(self.end, position=position, source=self.given)
        sizes, dim = AlignmentProgram(self.graph, [], [], joints=[joint]), joint.dim
        release_given(self.graph, sizes, joint)
        self._equal_elsewhere(sizes, dim)
        given = sizes.axis(self.given, dim)
        for number, part in enumerate(joint.parts):
            sizes.hold(sizes.axis(part, dim), self.end, f"part {number}")
        sizes.hold(given, self.start, "output")
        if joint.coming is not None:
            names = ("the new part", f"what {self.start.name!r} gives")
            why = _APART if joint.in_rows else f"what uses it cannot take {given.length} neurons more"
            sizes.equal(sizes.settled(joint.coming), given, self.end, names, why=why)
        elif sizes.counted(sizes.axis(self.out, dim)):
            raise InfeasibleError(
                f"{self.start.name!r} cannot be connected to {self.end.name!r}: {_APART}, or its size is held"
            )
        return sizes

    def shared(self) -> AlignmentProgram:
        """Let the parts and the new one share the size that the concatenation has."""
        dim, parts = concatenation_dim(self.end), parts_of(self.end)
        sizes = AlignmentProgram(self.graph, [self.end], [(self.out, dim, [self.out.shape[dim]])])
        run = sizes.run(self.out, 0)
        self._equal_elsewhere(sizes, dim)
        sizes.freeze(run, self.end, "output")
        all_parts = sizes.together([sizes.axis(part, dim) for part in [*parts, self.given]])
        names = (f"the parts of {self.end.name!r}, with the new one,", "what it gives")
        sizes.equal(all_parts, run, self.end, names)
        return sizes

    def _equal_elsewhere(self, sizes: AlignmentProgram, dim: int) -> None:
        """Require that the new part has the sizes of the concatenation along all other dimensions."""
        for other in range(len(self.out.shape)):
            if other != dim:
                sides = (sizes.axis(self.given, other), sizes.axis(self.out, other))
                names = (f"dimension {other} of what {self.start.name!r} gives", f"that of {self.end.name!r}")
                sizes.equal(*sides, self.end, names)

    def earlier(self, rewiring: Rewiring) -> None:
        """Move the source, and all it depends on, before the users of the target."""
        vertices, graph = self.graph.vertices, self.graph
        place = {id(vertex): number for number, vertex in enumerate(vertices)}
        last = place[id(self.end)]
        # A concatenation takes its parts itself; a sum is followed by another one, which its users take.
        position = (
            last
            if is_concatenation(self.end)
            else min((place[id(u)] for u in self.users), default=len(vertices))
        )
        needed = [
            v for v in [*related(graph, self.start, upwards=True), self.start] if place[id(v)] >= position
        ]
        if needed:
            self._check_order(vertices[position : place[id(self.start)] + 1])
            rewiring.move(needed, position)

    def _check_order(self, passed: list[Vertex]) -> None:
        for vertex in passed:
            if any(operation.func._schema.is_mutable for operation in vertex.operations):
                raise EditError(
                    f"{self.start.name!r} is computed after {self.end.name!r} is used, and {vertex.name!r}, "
                    "which works in place, stands between: their order cannot be changed"
                )

    def add(self, rewiring: Rewiring) -> None:
        """Add a sum of the old one and the new summand, which the users of the old one use instead."""
        graph, vertices = self.graph, self.graph.vertices
        at = max(vertices.index(self.end), vertices.index(self.start)) + 1
        returned = returns(graph, self.end, self.out)
        name = new_name(graph, self.end.name)
        new = output_of(rewiring.add_function(name, "add", (self.out, self.given), at, self.end.path))
        for user in self.users:
            rewiring.replace(user, self.out, new)
        if returned:
            rewiring.give_back(self.out, new)


def check_merge(merge: Any) -> None:
    """Check that this names what can join two tensors.

    Raises:
        EditError: It does not.
    """
    if merge not in ("sum", "concat"):
        raise EditError(f'merge={merge!r}: give "sum" or "concat"')


def connected(
    graph: Graph,
    start: str,
    end: str,
    choice: SizeChoice,
    structure: dict[str, Any],
    *,
    before: Sequence[Step] = (),
    position: int | None = None,
    merge: str | None = None,
    asked: dict[str, Any],
    optimizer: Any,
) -> Edit:
    """Add an edge, and what has to be there first, in one edit.

    Args:
        graph: The graph, changed in place.
        start: The name of the vertex whose output is taken.
        end: That of the vertex that takes it.
        choice: The choice of neurons and of the strategy.
        structure: The change of the structure, as data.
        before: Steps that make these vertices where they are not there yet. The programs are about the graph
            after them, so they are made, taken back, and made once more as part of the edit.
        position: The index of the new part among those of a concatenation.
        merge: What joins the two where `end` joins nothing.
        asked: The request, by the names of arguments.
        optimizer: Optimizers and averaged models, which are changed too.

    Raises:
        EditError: It cannot be; the graph is as it was.
        InfeasibleError: The sizes cannot be made to fit; the graph is as it was.
    """

    def connection() -> Connection:
        """The edge, in the graph as it is when this is called."""
        return Connection(graph, graph[start], graph[end])

    def carry_out(rewiring: Rewiring) -> None:
        """Add the edge."""
        connection().carry_out(position, rewiring)

    trial = UndoLog()
    trial.push(snapshot(graph))
    try:
        for step in before:
            step(Rewiring(graph, trial))
        what = f"{start!r} cannot be connected to {end!r}"
        sizes, answer = first_feasible(connection().programs(position, merge), what, choice)
        planned = sizes.planned(answer, structure)
    finally:
        trial.undo()
    return planned.rewire([*before, carry_out], asked=asked, optimizer=optimizer)


def concatenation_behind(graph: Graph, end: Vertex) -> tuple[str, Step]:
    """The name of a concatenation of one part behind a vertex, and the step that puts it there."""
    home = end.name.rpartition(".")[0]
    name = new_name(graph, f"{home}.cat" if home else "cat")
    return name, functools.partial(_concatenate_alone, end=end, name=name)


def _concatenate_alone(rewiring: Rewiring, end: Vertex, name: str) -> None:
    """Put a concatenation of one part behind a vertex; whatever used its output uses the concatenation."""
    graph, out = rewiring.graph, output_of(end)
    users, returned = users_of(graph, end), returns(graph, end, out)
    at, dim = graph.vertices.index(end) + 1, neuron_dimension(graph, end)
    made = rewiring.add_function(name, "cat", (out,), at, end.path, dim=dim)
    for user in users:
        rewiring.replace(user, out, output_of(made))
    if returned:
        rewiring.give_back(out, output_of(made))
    propagate_shapes(graph, ())
