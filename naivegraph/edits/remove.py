"""Removal of a vertex or of an edge from a graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize_program.strategy import Strategy
from naivegraph.edits.structure.align_sizes import AlignmentProgram
from naivegraph.edits.structure.merges import (
    concatenation_dim,
    is_concatenation,
    is_sum,
    other_summand,
    tensors_of,
)
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.vertices import (
    neuron_dimension,
    new_name,
    output_of,
    returns,
    users_of,
    vertex_of,
)
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.mutate import parts_of
from naivegraph.graph.run.query import edges
from naivegraph.ir.pytree import contains_stub
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.solvers import Backend
from naivegraph.utility import Utility
from naivegraph.utility.scores import Loss

__all__ = ["disconnect", "remove"]

Step = Callable[[Rewiring], None]


@graph_verb
def remove(
    model: Graph,
    vertex: str | Vertex,
    *,
    reconnect: bool = True,
    utility: Utility = None,
    loss: Loss | None = None,
    strategy: Strategy | None = None,
    backend: str | Backend = "highs",
    optimizer: Any = None,
) -> Edit:
    """Take a vertex out and join what it took to what used it, in place; sizes are made to fit.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        vertex: A vertex or its name. It gives one tensor. If it takes several, its users are sums or
            concatenations, which get all of them.
        reconnect: False drops its output instead; its users are then sums or concatenations, too.
        utility: The values of neurons where some must go, by default "magnitude"; see
            `naivegraph.utility.utility`.
        loss: For utility="taylor": a function of the network which returns its loss.
        strategy: What decides where sizes differ; by default first the smaller grows, if that cannot be the
            bigger shrinks, else both change.
        backend: The solver; `naivegraph.solvers.backends()` lists those there are.
        optimizer: An optimizer (or several) which follows.

    Returns:
        The edit.

    Raises:
        EditError: It cannot be taken out; the graph is as it was.
        InfeasibleError: The sizes cannot be made to fit; the graph is as it was.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(*(torch.nn.Linear(n, m) for n, m in [(4, 8), (8, 6), (6, 2)]))
        >>> graph = capture(net, torch.ones(1, 4))
        >>> edit = remove(graph, "1")
        >>> graph.sizes
        {'input': 4, '0': 8, '2': 2}
        >>> edit.undo()
        >>> graph.sizes
        {'input': 4, '0': 8, '1': 6, '2': 2}
    """
    choice = SizeChoice(utility, loss, strategy, backend)
    gone = vertex_of(model, vertex)
    if gone.kind == "input":
        raise EditError(f"the input {gone.name!r} of the network cannot be removed")
    asked = {"remove": gone.name, "reconnect": reconnect}
    structure = {"verb": "remove", "vertex": gone.name, "reconnect": reconnect}
    work = _Removal(model, gone)
    sizes, steps = work.reconnected() if reconnect else work.dropped()
    answer = sizes.decide(f"{gone.name!r} cannot be removed", choice)
    return sizes.rewire(steps, answer, structure, asked=asked, optimizer=optimizer)


class _Removal:
    """Removal of one vertex: the sizes to align and the steps of either way to do it."""

    def __init__(self, graph: Graph, gone: Vertex) -> None:
        self.graph, self.gone = graph, gone
        self.out = output_of(gone)
        self.users = users_of(graph, gone)

    def reconnected(self) -> tuple[AlignmentProgram, list[Step]]:
        """Give its inputs to its users."""
        sources = list(dict.fromkeys(tensors_of(self.gone)))
        if not sources:
            raise EditError(f"{self.gone.name!r} takes no tensor that could go to its users in its place")
        for stub in sources:
            if len(stub.shape) != len(self.out.shape):
                raise EditError(
                    f"{self.gone.name!r} makes a tensor of {len(self.out.shape)} dimensions of one of "
                    f"{len(stub.shape)}, so its users cannot take that in its place"
                )
        if len(sources) > 1:
            self._check_joints(f"takes {len(sources)} tensors", "take several")
            return self._several(sources)
        if sources[0].id == self.out.id:  # it works in place
            return AlignmentProgram(self.graph, [], []), [lambda rewiring: rewiring.remove(self.gone)]
        sizes = self._cut()
        self._align(sizes, sources[0], sizes.axis(sources[0], self.dim))
        return sizes, [functools.partial(_bypass, gone=self.gone, other=sources[0])]

    @property
    def dim(self) -> int:
        """The dimension of its neurons."""
        return neuron_dimension(self.graph, self.gone)

    def _cut(self) -> AlignmentProgram:
        return AlignmentProgram(self.graph, [self.gone], [(self.out, self.dim, [self.out.shape[self.dim]])])

    def _align(self, sizes: AlignmentProgram, source: Stub, axis: Any) -> None:
        maker = _maker(self.graph, source, self.gone)
        names = (f"what {self.gone.name!r} takes from {maker}", "what it gives")
        sizes.equal(axis, sizes.axis(self.out, self.dim), self.gone, names)

    def _check_joints(self, why: str, what: str) -> None:
        if returns(self.graph, self.gone, self.out):
            raise EditError(f"{self.gone.name!r} {why}, and the network returns what it gives")
        for user in self.users:
            if not is_sum(user) and not is_concatenation(user):
                raise EditError(
                    f"{self.gone.name!r} {why}, and its user {user.name!r} is neither a sum nor a "
                    f"concatenation, which could {what}"
                )

    def _several(self, sources: list[Stub]) -> tuple[AlignmentProgram, list[Step]]:
        if self.out.id in [stub.id for stub in sources]:
            raise EditError(
                f"{self.gone.name!r} takes {len(sources)} tensors and changes one of them in place"
            )
        sizes = self._cut()
        axes = [sizes.axis(stub, self.dim) for stub in sources]
        steps: list[Step] = []
        for user in self.users:
            if is_sum(user):
                for stub, axis in zip(sources, axes, strict=True):
                    self._align(sizes, stub, axis)
                steps.append(functools.partial(self._summed, user=user, sources=sources))
            else:
                along = concatenation_dim(user)
                if along == self.dim:
                    self._align(sizes, sources[0], sizes.together(axes))
                else:
                    for stub, axis in zip(sources, axes, strict=True):
                        self._align(sizes, stub, axis)
                steps.append(functools.partial(self._listed, user=user, sources=sources))
        return sizes, [*steps, lambda rewiring: rewiring.remove(self.gone)]

    def _summed(self, rewiring: Rewiring, user: Vertex, sources: list[Stub]) -> None:
        """Replace the vertex's output in a sum by all of its inputs."""
        total = sources[0]
        for stub in sources[1:]:
            name, at = new_name(self.graph, user.name), self.graph.vertices.index(user)
            total = output_of(rewiring.add_function(name, "add", (total, stub), at, user.path))
        rewiring.replace(user, self.out, total)

    def _listed(self, rewiring: Rewiring, user: Vertex, sources: list[Stub]) -> None:
        """Replace the vertex's output in a concatenation by all of its inputs."""
        places = [i for i, part in enumerate(parts_of(user)) if part.id == self.out.id]
        for place in reversed(places):
            for stub in reversed(sources):
                rewiring.add_part(user, stub, place + 1)
            rewiring.remove_part(user, place)

    def dropped(self) -> tuple[AlignmentProgram, list[Step]]:
        """Leave its users without it."""
        self._check_joints("is to be dropped", "do without it")
        for user in self.users:
            if is_sum(user) and all(stub.id == self.out.id for stub in tensors_of(user)):
                raise EditError(f"nothing would be left of the sum {user.name!r}: remove it instead")
        places = {
            id(user): [i for i, part in enumerate(parts_of(user)) if part.id == self.out.id]
            for user in self.users
            if is_concatenation(user)
        }
        sizes, steps = _parted(self.graph, self.users, self.out, places)
        return sizes, [*steps, lambda rewiring: rewiring.remove(self.gone)]


@graph_verb
def disconnect(
    model: Graph,
    source: str | Vertex,
    target: str | Vertex,
    *,
    utility: Utility = None,
    loss: Loss | None = None,
    strategy: Strategy | None = None,
    backend: str | Backend = "highs",
    optimizer: Any = None,
) -> Edit:
    """Take one edge away: a summand of a sum, or a part of a concatenation with the neurons it gave.

    Whatever used a concatenation loses exactly the neurons that came over that edge. If the edge is there
    several times, the last one goes.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        source: A vertex or its name.
        target: A sum or a concatenation which takes its output.
        utility: The values of neurons where some must go, by default "magnitude"; see
            `naivegraph.utility.utility`.
        loss: For utility="taylor": a function of the network which returns its loss.
        strategy: What decides about the sizes that have to follow; by default they follow or nothing is done.
        backend: The solver; `naivegraph.solvers.backends()` lists those there are.
        optimizer: An optimizer (or several) which follows.

    Returns:
        The edit.

    Raises:
        EditError: There is no such edge, or what it leads to cannot do without; the graph is as it was.
        InfeasibleError: The sizes that would have to follow cannot; the graph is as it was.
    """
    choice = SizeChoice(utility, loss, strategy, backend)
    start, end = vertex_of(model, source), vertex_of(model, target)
    found = [stub for maker, user, stub in edges(model) if maker is start and user is end]
    if not found:
        raise EditError(f"{end.name!r} does not take anything from {start.name!r}")
    stub = found[-1]
    places: dict[int, list[int]] = {}
    if is_concatenation(end):
        places[id(end)] = [i for i, part in enumerate(parts_of(end)) if part.id == stub.id][-1:]
    elif not is_sum(end):
        raise EditError(
            f"{end.name!r} is neither a sum nor a concatenation: it cannot do without {start.name!r}"
        )
    sizes, steps = _parted(model, [end], stub, places)
    answer = sizes.decide(f"{start.name!r} cannot be disconnected from {end.name!r}", choice)
    structure = {"verb": "disconnect", "source": start.name, "target": end.name}
    asked = {"disconnect": [start.name, end.name]}
    return sizes.rewire(steps, answer, structure, asked=asked, optimizer=optimizer)


def _parted(
    graph: Graph, users: list[Vertex], stub: Stub, places: dict[int, list[int]]
) -> tuple[AlignmentProgram, list[Step]]:
    """Drop a tensor from the sums and concatenations that use it."""
    steps: list[Step] = []
    opened = []
    for user in users:
        if id(user) not in places:
            other_summand(user, stub)  # refused now if it cannot be
            steps.append(functools.partial(_summand_gone, user=user, stub=stub))
            continue
        parts, dim = parts_of(user), concatenation_dim(user)
        if len(places[id(user)]) == len(parts):
            raise EditError(f"nothing would be left of the concatenation {user.name!r}: remove it instead")
        opened.append((output_of(user), dim, [part.shape[dim] for part in parts]))
        steps.extend(functools.partial(_part_gone, user=user, place=p) for p in reversed(places[id(user)]))
    joined = [user for user in users if id(user) in places]
    sizes = AlignmentProgram(graph, joined, opened)
    for user in joined:
        _end_runs(sizes, user, places[id(user)])
    return sizes, steps


def _end_runs(sizes: AlignmentProgram, user: Vertex, gone: list[int]) -> None:
    """Remove some runs of a concatenation's output; the others stay, with all that they are made of."""
    out, dim = output_of(user), concatenation_dim(user)
    for index, part in enumerate(parts_of(user)):
        run = sizes.run(out, index)
        if index not in gone:
            sizes.freeze(run, user, f"part {index}")
        elif sizes.counted(run):
            sizes.size(run, 0, user, f"part {index}")
        sizes.freeze(sizes.axis(part, dim), user, f"what part {index} is made of")


def _part_gone(rewiring: Rewiring, user: Vertex, place: int) -> None:
    rewiring.remove_part(user, place)


def _summand_gone(rewiring: Rewiring, user: Vertex, stub: Stub) -> None:
    # Only now is it known what is left: the other summand may be a sum that did without the tensor before.
    _bypass(rewiring, user, other_summand(user, stub))


def _bypass(rewiring: Rewiring, gone: Vertex, other: Stub) -> None:
    """Give the users of a vertex its input; a copy, if they would change it in place for others."""
    graph, out = rewiring.graph, output_of(gone)
    if other.id == out.id:
        rewiring.remove(gone)
        return
    if _changed_for_others(graph, gone, out, other):
        name, at = new_name(graph, f"{gone.name}_clone"), graph.vertices.index(gone)
        other = output_of(rewiring.add_function(name, "clone", (other,), at, gone.path))
    rewiring.remove(gone, out, other)


def _changed_for_others(graph: Graph, gone: Vertex, out: Stub, other: Stub) -> bool:
    """Check whether later vertices change its output in place while its input has other users."""
    later = graph.vertices[graph.vertices.index(gone) + 1 :]
    if not any(contains_stub(v.output, out) for v in later):
        return False
    used = [v for v in graph if v is not gone and other.id in {stub.id for stub in tensors_of(v)}]
    return bool(used) or contains_stub([graph.output, *(v.output for v in graph.inputs)], other)


def _maker(graph: Graph, stub: Stub, user: Vertex) -> str:
    found = [maker.name for maker, other, used in edges(graph) if other is user and used.id == stub.id]
    return repr(found[0]) if found else "the network's state"
