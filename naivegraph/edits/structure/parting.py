"""Letting sums and concatenations do without a tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from naivegraph.edits.structure.align_sizes import AlignmentProgram
from naivegraph.edits.structure.bypass import summand_gone
from naivegraph.edits.structure.merges import concatenation_dim, is_concatenation, other_summand
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.vertices import output_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.mutate import parts_of
from naivegraph.ir.values import Stub
from naivegraph.network import Graph

__all__ = ["Step", "hold_other_parts", "parted"]

Step = Callable[[Rewiring], None]


def parted(
    graph: Graph, users: list[Vertex], stub: Stub, places: dict[int, list[int]]
) -> tuple[AlignmentProgram, list[Step]]:
    """Let sums and concatenations do without a tensor."""
    steps: list[Step] = []
    opened = []
    uses: dict[int, set[int]] = {}
    for user in users:
        if id(user) not in places:
            uses[id(user)] = {other_summand(user, stub).id}  # refused now if it cannot be
            steps.append(functools.partial(summand_gone, user=user, stub=stub))
            continue
        parts, dim = parts_of(user), concatenation_dim(user)
        if len(places[id(user)]) == len(parts):
            raise EditError(f"nothing would be left of the concatenation {user.name!r}: remove it instead")
        uses[id(user)] = {part.id for i, part in enumerate(parts) if i not in places[id(user)]}
        opened.append((output_of(user), dim, [part.shape[dim] for part in parts]))
        steps.extend(functools.partial(_part_gone, user=user, place=p) for p in reversed(places[id(user)]))
    joined = [user for user in users if id(user) in places]
    sizes = AlignmentProgram(graph, joined, opened, uses)
    for user in joined:
        _end_runs(sizes, user, places[id(user)])
    return sizes, steps


def _end_runs(sizes: AlignmentProgram, user: Vertex, gone: list[int]) -> None:
    """End some runs of what a concatenation gives; the others and what they are made of stay."""
    out, dim = output_of(user), concatenation_dim(user)
    for index, part in enumerate(parts_of(user)):
        run = sizes.run(out, index)
        if index not in gone:
            sizes.freeze(run, user, f"part {index}")
        elif sizes.counted(run):
            sizes.size(run, 0, user, f"part {index}")
        if sizes.knows(part):
            sizes.freeze(sizes.axis(part, dim), user, f"what part {index} is made of")


def _part_gone(rewiring: Rewiring, user: Vertex, place: int) -> None:
    rewiring.remove_part(user, place)


def hold_other_parts(sizes: AlignmentProgram, users: Sequence[Vertex], stub: Stub, dim: int) -> bool:
    """Ask that the other parts of concatenations along a dimension stay; tell if all users are such."""
    listed = [user for user in users if is_concatenation(user) and concatenation_dim(user) == dim]
    for user in listed:
        for index, part in enumerate(parts_of(user)):
            if part.id != stub.id and sizes.knows(part):
                sizes.hold(sizes.axis(part, dim), user, f"part {index}")
    return len(listed) == len(users)
