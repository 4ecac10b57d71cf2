"""Removal of a vertex, a block or an edge from a graph."""

from __future__ import annotations

import functools
from typing import Any

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize_program.strategy import Strategy
from naivegraph.edits.structure.align_sizes import AlignmentProgram, first_feasible
from naivegraph.edits.structure.block_removal import BlockRemoval, blocks_named
from naivegraph.edits.structure.bypass import bypass
from naivegraph.edits.structure.merges import concatenation_dim, is_concatenation, tensors_of
from naivegraph.edits.structure.parting import Programs, hold_other_parts, parted
from naivegraph.edits.structure.planned_sizes import Step
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
from naivegraph.graph.list_argument import parts_of
from naivegraph.graph.run.blocks import Block, Uses, is_sum
from naivegraph.graph.run.query import edges
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.solvers import Backend
from naivegraph.utility import Utility
from naivegraph.utility.scores import Loss

__all__ = ["disconnect", "remove"]


@graph_verb
def remove(
    model: Graph,
    what: str | Vertex | Block | tuple[str | Vertex, str | Vertex],
    *,
    reconnect: bool = True,
    utility: Utility = None,
    loss: Loss | None = None,
    strategy: Strategy | None = None,
    backend: str | Backend = "highs",
    optimizer: Any = None,
) -> Edit:
    """Take a vertex or a block out and join what it took to what used it, in place; sizes are made to fit.

    Of a residual block (`x + f(x)`, and what comes before and after in the block) all goes, and its users
    take `x`. Where something is around the branches, as a convolution in `shortcut(x) + f(x)`, that stays, as
    does what comes before and after on the way; only the branches go. A block that is itself the branch of a
    sum goes from the sum. What was the network's output is then the output of what came before, of its own
    size. What nothing needs any more leaves the graph, too; undo brings it back.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        what: A vertex or its name; or a block: the path of a module, a pattern of names or paths (with `*`,
            `?` or `[...]`; then all that match), the first and the last vertex, or one of `graph.blocks()`
            or its name. It gives one tensor. If a vertex takes several, its users are sums or
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
    name, blocks = blocks_named(model, what)
    asked = {"remove": name, "reconnect": reconnect}
    structure = {"verb": "remove", "vertex": name, "reconnect": reconnect}
    if blocks is not None:
        work: _Removal | BlockRemoval = BlockRemoval(model, name, blocks)
    else:
        work = _Removal(model, model[name])
    programs, steps = work.reconnected() if reconnect else work.dropped()
    sizes, answer = first_feasible(programs, f"{name!r} cannot be removed", choice)
    return sizes.planned(answer, structure).rewire(steps, asked=asked, optimizer=optimizer)


class _Removal:
    """Removal of one vertex: the sizes to align and the steps of either way to do it."""

    def __init__(self, graph: Graph, gone: Vertex) -> None:
        if gone.kind == "input":
            raise EditError(f"the input {gone.name!r} of the network cannot be removed")
        self.graph, self.gone = graph, gone
        self.out = output_of(gone)
        self.users = users_of(graph, gone)

    def reconnected(self) -> tuple[Programs, list[Step]]:
        """Give its inputs to its users."""
        sources = list(dict.fromkeys(tensors_of(self.gone)))
        if not sources:
            raise EditError(f"{self.gone.name!r} takes no tensor that could go to its users in its place")
        for stub in sources:
            if len(stub.shape) != len(self.out.shape) and self.users:
                raise EditError(
                    f"{self.gone.name!r} makes a tensor of {len(self.out.shape)} dimensions of one of "
                    f"{len(stub.shape)}, so its users cannot take that in its place"
                )
        if len(sources) > 1:
            self._check_joints(f"takes {len(sources)} tensors", "take several")
            return self._several(sources)
        if any(self._twice(user, sources[0]) for user in self.users):
            return self.dropped()
        if sources[0].id == self.out.id:  # it works in place
            programs: Programs = [functools.partial(AlignmentProgram, self.graph, [], [])]
            return programs, [lambda rewiring: rewiring.remove(self.gone)]
        return [functools.partial(self._joined, sources[0])], [
            functools.partial(bypass, gone=self.gone, other=sources[0])
        ]

    def _joined(self, source: Stub) -> AlignmentProgram:
        """The program in which its input takes its place."""
        sizes = self._cut()
        self._release(sizes)
        if self.users:
            self._align(sizes, source, sizes.axis(source, self.dim))
        return sizes

    def _twice(self, user: Vertex, source: Stub) -> bool:
        """Check whether the vertex is the last of a residual branch, so that `x + x` would be left."""
        uses = Uses(self.graph)
        others = [stub for stub in tensors_of(user) if stub.id != self.out.id]
        if self.users != [user] or not is_sum(user) or len(others) != 1 or source.id == self.out.id:
            return False
        return uses.origin(self.gone, source) == uses.origin(user, others[0])

    def _release(self, sizes: AlignmentProgram) -> None:
        """Let the network's output have the size of what comes in place of the vertex's output."""
        if not self.out.shape:
            return
        axis = sizes.axis(self.out, self.dim)
        if returns(self.graph, self.gone, self.out) or not sizes.counted(axis):
            sizes.release(axis)

    @functools.cached_property
    def dim(self) -> int:
        """The dimension of its neurons."""
        return neuron_dimension(self.graph, self.gone)

    def _cut(self) -> AlignmentProgram:
        return AlignmentProgram(self.graph, [self.gone], [(self.out, self.dim, [self.out.shape[self.dim]])])

    def _align(self, sizes: AlignmentProgram, source: Stub, axis: Any) -> None:
        maker = _maker(self.graph, source, self.gone)
        names = (f"what {self.gone.name!r} takes from {maker}", "what it gives")
        # A concatenation can lose neurons, or get some, and nothing but what uses it has to follow.
        listed = hold_other_parts(sizes, self.users, self.out, self.dim)
        preferred = axis.length if listed else None
        sizes.equal(axis, sizes.axis(self.out, self.dim), self.gone, names, preferred)

    def _check_joints(self, why: str, what: str) -> None:
        if returns(self.graph, self.gone, self.out):
            raise EditError(f"{self.gone.name!r} {why}, and the network returns what it gives")
        for user in self.users:
            if not is_sum(user) and not is_concatenation(user):
                raise EditError(
                    f"{self.gone.name!r} {why}, and its user {user.name!r} is neither a sum nor a "
                    f"concatenation, which could {what}"
                )

    def _several(self, sources: list[Stub]) -> tuple[Programs, list[Step]]:
        if self.out.id in [stub.id for stub in sources]:
            raise EditError(
                f"{self.gone.name!r} takes {len(sources)} tensors and changes one of them in place"
            )
        steps: list[Step] = [
            functools.partial(self._summed if is_sum(user) else self._listed, user=user, sources=sources)
            for user in self.users
        ]
        programs = [functools.partial(self._all_joined, sources)]
        return programs, [*steps, lambda rewiring: rewiring.remove(self.gone)]

    def _all_joined(self, sources: list[Stub]) -> AlignmentProgram:
        """The program in which all of its inputs take its place, added or listed."""
        sizes = self._cut()
        axes = [sizes.axis(stub, self.dim) for stub in sources]
        for user in self.users:
            if not is_sum(user) and concatenation_dim(user) == self.dim:
                self._align(sizes, sources[0], sizes.together(axes))
            else:
                for stub, axis in zip(sources, axes, strict=True):
                    self._align(sizes, stub, axis)
        return sizes

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

    def dropped(self) -> tuple[Programs, list[Step]]:
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
        programs, steps = parted(self.graph, self.users, self.out, places)
        return programs, [*steps, lambda rewiring: rewiring.remove(self.gone)]


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
    edge: int = -1,
) -> Edit:
    """Take one edge away: a summand of a sum, or a part of a concatenation with the neurons it gave.

    Whatever used a concatenation loses exactly the neurons that came over that edge. Where that cannot be, as
    the network's output or a summand that cannot change holds its size, the other parts grow instead.

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
        edge: Which of the edges from one to the other, if there are several, in the order in which the target
            takes them, from 0; by default the last one.

    Returns:
        The edit.

    Raises:
        EditError: There is no such edge, or what it leads to cannot do without; the graph is as it was.
        InfeasibleError: The sizes that would have to follow cannot; the graph is as it was.
    """
    choice = SizeChoice(utility, loss, strategy, backend)
    start, end = vertex_of(model, source), vertex_of(model, target)
    made = {stub.id for maker, user, stub in edges(model) if maker is start and user is end}
    if not made:
        raise EditError(f"{end.name!r} does not take anything from {start.name!r}")
    places: dict[int, list[int]] = {}
    if is_concatenation(end):
        taken = parts_of(end)
    elif is_sum(end):
        taken = tensors_of(end)
    else:
        raise EditError(
            f"{end.name!r} is neither a sum nor a concatenation: it cannot do without {start.name!r}"
        )
    found = [index for index, stub in enumerate(taken) if stub.id in made]
    index = found[_edge(edge, len(found), start, end)]
    if is_concatenation(end):
        places[id(end)] = [index]
    programs, steps = parted(model, [end], taken[index], places)
    what = f"{start.name!r} cannot be disconnected from {end.name!r}"
    sizes, answer = first_feasible(programs, what, choice)
    structure = {"verb": "disconnect", "source": start.name, "target": end.name}
    asked = {"disconnect": [start.name, end.name], **({} if edge == -1 else {"edge": edge})}
    return sizes.planned(answer, structure).rewire(steps, asked=asked, optimizer=optimizer)


def _edge(edge: Any, count: int, start: Vertex, end: Vertex) -> int:
    """The number of one of several edges, negative ones from the last on."""
    if isinstance(edge, bool) or not isinstance(edge, int) or not -count <= edge < count:
        several = f"are {count} edges" if count > 1 else "is one edge"
        raise EditError(
            f"edge={edge!r}: there {several} from {start.name!r} to {end.name!r}; give its number, from 0"
        )
    return edge


def _maker(graph: Graph, stub: Stub, user: Vertex) -> str:
    found = [maker.name for maker, other, used in edges(graph) if other is user and used.id == stub.id]
    return repr(found[0]) if found else "the network's state"
