"""Addition of an edge to a sum or a concatenation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request import validate
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize_program.strategy import Strategy
from naivegraph.edits.structure.align_sizes import AlignmentProgram, first_feasible
from naivegraph.edits.structure.joint import Joint
from naivegraph.edits.structure.merges import concatenation_dim, is_concatenation
from naivegraph.edits.structure.parting import Programs, release_given
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.vertices import (
    neuron_dimension,
    new_name,
    output_of,
    path_between,
    returns,
    users_of,
    vertex_of,
)
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.graph import Vertex
from naivegraph.graph.mutate import parts_of
from naivegraph.graph.run.blocks import is_sum
from naivegraph.graph.run.query import related
from naivegraph.network import Graph
from naivegraph.solvers import Backend
from naivegraph.utility import Utility
from naivegraph.utility.scores import Loss

__all__ = ["connect"]


@graph_verb
def connect(
    model: Graph,
    source: str | Vertex,
    target: str | Vertex,
    *,
    utility: Utility = None,
    loss: Loss | None = None,
    strategy: Strategy | None = None,
    backend: str | Backend = "highs",
    optimizer: Any = None,
    position: int | None = None,
) -> Edit:
    """Let a sum or a concatenation take the output of one more vertex, in place.

    A sum's size and the new summand's are made equal first. Whatever uses a concatenation takes as many
    neurons more as the new part has, at its place, with weights of zero, so that the function is kept. Where
    that cannot be, as the network's output or a summand that cannot change holds its size, the parts and the
    new one shrink instead, as the program chooses.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        source: A vertex or its name.
        target: A sum or a concatenation. Behind a sum of two comes another one, named like it.
        utility: The values of neurons where some must go, by default "magnitude"; see
            `naivegraph.utility.utility`.
        loss: For utility="taylor": a function of the network which returns its loss.
        strategy: What decides where a sum and its summand differ in size; by default first the smaller grows,
            if that cannot be the bigger shrinks, else both change.
        backend: The solver; `naivegraph.solvers.backends()` lists those there are.
        optimizer: An optimizer (or several) which follows.
        position: The index of the new part among those of a concatenation; by default it comes last.

    Returns:
        The edit.

    Raises:
        EditError: It would be a cycle, the target takes nothing more, or shapes do not fit; the graph is as
            it was.
        InfeasibleError: The sizes cannot be made to fit; the graph is as it was.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from naivegraph.graph import concat, input_node, layer
        >>> from naivegraph.network import Graph
        >>> x = input_node("x", 4)
        >>> a, b = layer(nn.Linear(4, 3), x, name="a"), layer(nn.Linear(4, 2), x, name="b")
        >>> graph = Graph([x], [layer(nn.Linear(2, 1), concat(b, name="both"), name="c") * a])
        >>> edit = connect(graph, "a", "both")
        >>> graph.sizes["both"], graph["c"].target.in_features
        (5, 5)
        >>> edit = connect(graph, "x", "both", position=0)
        >>> [vertex.name for vertex in graph.inputs_of("both")], graph.sizes["both"]
        (['x', 'b', 'a'], 9)
    """
    choice = SizeChoice(utility, loss, strategy, backend)
    start, end = vertex_of(model, source), vertex_of(model, target)
    way = [end] if start is end else path_between(model, end, start)
    if way:
        names = " -> ".join(vertex.name for vertex in [*way, end])
        raise EditError(f"{start.name!r} cannot be connected to {end.name!r}: that would be a cycle, {names}")
    work = _Connection(model, start, end)
    steps: list[Callable[[Rewiring], None]]
    what = f"{start.name!r} cannot be connected to {end.name!r}"
    if is_sum(end):
        if position is not None:
            raise EditError(f"position={position!r}: {end.name!r} is a sum, in which order does not matter")
        sizes, answer = first_feasible([work.to_sum], what, choice)
        steps = [work.earlier, work.add]
    elif is_concatenation(end):
        count = len(parts_of(end))
        at = count if position is None else validate.whole(position, "position", 0, count)
        programs: Programs = [functools.partial(work.extended, at), work.shared]
        sizes, answer = first_feasible(programs, what, choice)
        steps = [work.earlier, lambda rewiring: rewiring.add_part(end, output_of(start), position)]
    else:
        raise EditError(
            f"{end.name!r} is neither a sum nor a concatenation (torch.cat), so it cannot take another input"
        )
    structure = {"verb": "connect", "source": start.name, "target": end.name}
    asked = {"connect": [start.name, end.name], **({} if position is None else {"position": position})}
    return sizes.rewire(steps, answer, structure, asked=asked, optimizer=optimizer)


_APART = "what uses it takes it apart, so new neurons have no place there"


class _Connection:
    """Addition of one edge."""

    def __init__(self, graph: Graph, start: Vertex, end: Vertex) -> None:
        self.graph, self.start, self.end = graph, start, end
        self.given, self.out = output_of(start), output_of(end)
        self.users = users_of(graph, end)
        if len(self.given.shape) != len(self.out.shape):
            raise EditError(
                f"{start.name!r} gives a tensor of {len(self.given.shape)} dimensions, "
                f"and {end.name!r} one of {len(self.out.shape)}"
            )

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
