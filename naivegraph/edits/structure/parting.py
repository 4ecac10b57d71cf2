"""Letting sums and concatenations do without a tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from naivegraph.edits.structure.align_sizes import AlignmentProgram
from naivegraph.edits.structure.bypass import summand_gone
from naivegraph.edits.structure.joint import Joint
from naivegraph.edits.structure.merges import concatenation_dim, is_concatenation, other_summand
from naivegraph.edits.structure.planned_sizes import Step
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.vertices import returns
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.list_argument import parts_of
from naivegraph.ir.values import Stub
from naivegraph.network import Graph

__all__ = ["Programs", "hold_other_parts", "parted", "release_given"]

Programs = Sequence[Callable[[], AlignmentProgram]]


def parted(
    graph: Graph, users: list[Vertex], stub: Stub, places: dict[int, list[int]]
) -> tuple[Programs, list[Step]]:
    """Let sums and concatenations do without a tensor.

    What uses a concatenation loses the neurons of the parts that go. Where the size of what it gives is held,
    by the network's output or by a summand that cannot change, the other parts grow instead.

    Args:
        graph: The graph.
        users: The sums and concatenations.
        stub: The tensor.
        places: The indices of the parts that go, by `id` of a concatenation.
    """
    steps: list[Step] = []
    uses: dict[int, set[int]] = {}
    joints: list[Joint] = []
    for user in users:
        if id(user) not in places:
            uses[id(user)] = {other_summand(user, stub).id}  # refused now if it cannot be
            steps.append(functools.partial(summand_gone, user=user, stub=stub))
            continue
        joint = Joint(user, places[id(user)])
        if len(joint.gone) == len(joint.parts):
            raise EditError(f"nothing would be left of the concatenation {user.name!r}: remove it instead")
        uses[id(user)] = {part.id for i, part in enumerate(joint.parts) if i not in joint.gone}
        joints.append(joint)
        steps.extend(functools.partial(_part_gone, user=user, place=p) for p in reversed(places[id(user)]))
    programs = [functools.partial(_ending, graph, uses, joints)]
    if joints:
        programs.append(functools.partial(_filled, graph, uses, joints))
    return programs, steps


def _ending(graph: Graph, uses: dict[int, set[int]], joints: list[Joint]) -> AlignmentProgram:
    """The program in which runs of what concatenations give end; the other parts stay if they can."""
    sizes = AlignmentProgram(graph, [], [], uses, joints)
    for joint in joints:
        release_given(graph, sizes, joint)
        for index, part in enumerate(joint.parts):
            run = sizes.settled(joint.run(index))
            if index not in joint.gone:
                sizes.hold(run, joint.vertex, f"part {index}")
                continue
            if sizes.counted(run):
                sizes.size(run, 0, joint.vertex, f"part {index}")
            if sizes.knows(part):
                sizes.hold(sizes.axis(part, joint.dim), joint.vertex, f"what part {index} is made of")
    return sizes


def _filled(graph: Graph, uses: dict[int, set[int]], joints: list[Joint]) -> AlignmentProgram:
    """The program in which what concatenations give keeps its size, and the parts left fill it."""
    opened = [(joint.out, joint.dim, [joint.out.shape[joint.dim]]) for joint in joints]
    sizes = AlignmentProgram(graph, [joint.vertex for joint in joints], opened, uses)
    for joint in joints:
        run, name = sizes.run(joint.out, 0), joint.vertex.name
        stay = [sizes.axis(p, joint.dim) for i, p in enumerate(joint.parts) if i not in joint.gone]
        sizes.freeze(run, joint.vertex, "output")
        sizes.equal(sizes.together(stay), run, joint.vertex, (f"what is left of {name!r}", "what it gives"))
    return sizes


def release_given(graph: Graph, sizes: AlignmentProgram, joint: Joint) -> None:
    """Let the network's output have the size of a concatenation that it is, or just follows."""
    axis = sizes.axis(joint.out, joint.dim)
    if returns(graph, joint.vertex, joint.out) or not sizes.counted(axis):
        sizes.release(axis)


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
