"""Insertion of a new layer into a graph."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from naivegraph.edits.apply.apply import RUN_ERRORS
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.initialise import seeded
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.save.layer_spec import layer_spec
from naivegraph.edits.structure.identity_weights import start_as_identity
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.transaction import rewire
from naivegraph.edits.structure.vertices import new_name, output_of, returns, users_of, vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.run.blocks import has_parameters
from naivegraph.graph.run.liveness import SharedMemory, written_numbers
from naivegraph.graph.run.query import edges
from naivegraph.graph.verify.shape_prop import propagate_shapes
from naivegraph.ir.pytree import contains_stub
from naivegraph.ir.values import Stub
from naivegraph.network import Graph

__all__ = ["insert"]


@graph_verb
def insert(
    model: Graph,
    layer: nn.Module | Callable[[int], nn.Module] | Sequence[nn.Module | Callable[[int], nn.Module]],
    *,
    after: str | Vertex | None = None,
    users: Sequence[str | Vertex] | None = None,
    before: str | Vertex | None = None,
    edge: tuple[str | Vertex, str | Vertex] | None = None,
    name: str | None = None,
    identity: bool = False,
    seed: int = 0,
    optimizer: Any = None,
) -> Edit:
    """Put a layer behind a vertex, in front of one, or on one edge, in place; it must keep the size.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        layer: The layer, or a function which makes it from the size of what it is put behind; or several of
            either, to come one after the other. A module of several layers is looked into, so that its calls
            are vertices of the graph. Of a function the edit's JSON says enough to make the layer again, if
            it is one of `torch.nn`, or a Sequential of these.
        after: The vertex behind which it comes: whatever used that one's output uses the layer's.
        users: With `after`: the vertices which use the layer's output instead, if not all are to; the others
            and the network's output are left alone.
        before: The vertex in front of which it comes; it takes one tensor.
        edge: Two vertices between which it comes; other users of the first one are left alone.
        name: Of the new vertex, and its path in the network; by default the layer's class in lower case,
            where the vertex it is put behind is.
        identity: Let it start as the identity: a linear layer or a convolution gets such weights; a norm
            stays as it is.
        seed: For the weights of a layer which a function makes; torch's own generator stays as it is.
        optimizer: An optimizer (or several) which gets the layer's parameters in its first group.

    Returns:
        The edit.

    Raises:
        EditError: The layer does not fit; the graph is as it was.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        >>> graph = capture(net, torch.ones(1, 4))
        >>> edit = insert(graph, torch.nn.BatchNorm1d, after="0", name="norm")
        >>> graph.sizes
        {'input': 4, '0': 8, 'norm': 8, '1': 2}
    """
    place = _place(model, after, before, edge)
    if users is not None:
        place = _for_some(model, place, users, after is not None)
    size = model.sizes.get(place.maker.name)
    if size is None:
        raise EditError(
            f"{place.maker.name!r} gives a single number, behind which there is no place for a layer"
        )
    start = zlib.crc32(f"{seed}:{place.maker.name}:{len(model)}".encode())
    if isinstance(layer, Sequence):
        layer = functools.partial(_in_a_row, list(layer))
    if not isinstance(layer, nn.Module):
        validate.function(layer, "layer", "a torch.nn.Module, or a function of a size that makes one")
    if name is not None and not isinstance(name, str):
        raise EditError(f"name={name!r}: give a string, such as 'block.norm'")
    made = layer if isinstance(layer, nn.Module) else _made(layer, size, start)
    if not isinstance(made, nn.Module):
        raise EditError(
            f"layer= gave {made!r}: give a torch.nn.Module, or a function of a size that makes one"
        )
    home = place.maker.name.rpartition(".")[0]
    wished = f"{home}.{type(made).__name__.lower()}" if home else type(made).__name__.lower()
    found = new_name(model, wished) if name is None else name
    work = _Insertion(model, made, found, place, size, identity, start)
    structure = {"verb": "insert", "name": found, "behind": place.maker.name}
    return rewire(
        model,
        Change({}, {}, [], structure=structure),
        [work.add, work.use],
        asked={"insert": found, "behind": place.maker.name},
        optimizer=optimizer,
    )


@dataclasses.dataclass(frozen=True)
class _Place:
    """Place of an insertion: the tensor that the layer takes, and the users that take its output instead.

    Attributes:
        maker: The vertex whose output the tensor is.
        stub: The tensor.
        users: The vertices that use the layer's output instead of the tensor.
        returned: Whether the network returns the layer's output instead, too.
        alone: Whether the layer may change the tensor in place, as nothing else would use it.
    """

    maker: Vertex
    stub: Stub
    users: tuple[Vertex, ...]
    returned: bool
    alone: bool


def _place(
    graph: Graph,
    after: str | Vertex | None,
    before: str | Vertex | None,
    edge: tuple[str | Vertex, str | Vertex] | None,
) -> _Place:
    if sum(value is not None for value in (after, before, edge)) != 1:
        raise EditError("say where with one of after=, before= and edge=")
    if after is not None:
        maker = vertex_of(graph, after)
        stub = output_of(maker)
        return _Place(maker, stub, tuple(users_of(graph, maker)), returns(graph, maker, stub), True)
    if before is not None:
        user = vertex_of(graph, before)
        found = list(dict.fromkeys((m, stub) for m, u, stub in edges(graph) if u is user))
        if len(found) != 1:
            raise EditError(
                f"{user.name!r} takes {len(found)} tensors: say which with edge=(a vertex, {user.name!r})"
            )
    elif edge is not None:
        if not isinstance(edge, (tuple, list)) or len(edge) != 2:
            raise EditError(f"edge={edge!r}: give two vertices, or their names")
        start, user = vertex_of(graph, edge[0]), vertex_of(graph, edge[1])
        found = list(dict.fromkeys((m, s) for m, u, s in edges(graph) if m is start and u is user))
        if not found:
            raise EditError(f"{user.name!r} does not take anything from {start.name!r}")
        if len(found) > 1:
            raise EditError(f"{user.name!r} takes {len(found)} tensors from {start.name!r}")
    maker, stub = found[0]
    alone = users_of(graph, maker) == [user] and not returns(graph, maker, stub)
    return _Place(maker, stub, (user,), False, alone)


def _for_some(graph: Graph, place: _Place, users: Sequence[str | Vertex], after: bool) -> _Place:
    """The place with some of the users alone."""
    if not after or isinstance(users, str) or not users:
        raise EditError(f"users={users!r}: give some of the vertices that use what after= names")
    chosen = tuple(vertex_of(graph, user) for user in users)
    for user in chosen:
        if not any(user is other for other in place.users):
            raise EditError(f"{user.name!r} does not take anything from {place.maker.name!r}")
    return dataclasses.replace(place, users=chosen, returned=False, alone=False)


def _in_a_row(layers: Sequence[Any], size: int) -> nn.Module:
    """Several layers, one after the other; functions among them are called with the size."""
    made = [layer if isinstance(layer, nn.Module) else layer(size) for layer in layers]
    return nn.Sequential(*made)


class _Insertion:
    """Insertion of one layer, with the checks that it fits."""

    def __init__(
        self,
        graph: Graph,
        layer: nn.Module,
        name: str,
        place: _Place,
        size: int,
        identity: bool,
        start: int,
    ) -> None:
        self.graph, self.layer, self.name, self.place, self.size = graph, layer, name, place, size
        self.identity, self.start = identity, start

    def add(self, rewiring: Rewiring) -> None:
        """Call the layer; nothing uses it yet."""
        at = max(self.graph.vertices.index(self.place.maker) + 1, self._inputs)
        at = max(at, self._after_changes(at))
        if self.identity:
            start_as_identity(self.layer, self.name, rewiring.undo)
        spec = layer_spec(self.graph.module, self.layer, self.start, self.identity)
        place = self.place
        given = rewiring.kept(self.name, place.stub, at, place.maker.path, place.users)
        at += given is not place.stub
        self.made = rewiring.add_layer(self.name, self.layer, given, at, spec, place.maker, inside=True)
        self._check(self.made)

    def _after_changes(self, start: int) -> int:
        """The position behind what changes the tensor in place before the users take it, from a start on.

        Raises:
            EditError: One user takes it before such a change, and another one after it.
        """
        vertices, place = self.graph.vertices, self.place
        places = [at for at, v in enumerate(vertices) if any(v is user for user in place.users)]
        if not places:
            return start
        memory = SharedMemory(self.graph)
        for at in range(start, places[-1]):
            vertex = vertices[at]
            if at in places or not memory.shared(written_numbers(vertex), {place.stub.id}):
                continue
            if at < places[0]:
                start = at + 1
            elif contains_stub((vertex.args, vertex.kwargs), place.stub):
                one, two = vertices[places[0]].name, vertices[places[-1]].name
                raise EditError(
                    f"{vertex.name!r} changes what {place.maker.name!r} gives in place, after {one!r} took "
                    f"it and before {two!r} does: name {vertex.name!r} among users=, too, or only such as "
                    "come before it, or after it"
                )
        return start

    @property
    def _inputs(self) -> int:
        return sum(vertex.kind == "input" for vertex in self.graph.vertices)

    def _check(self, vertex: Vertex) -> None:
        what = f"{self.name!r} ({type(self.layer).__name__})"
        try:
            propagate_shapes(self.graph, ())
        except RUN_ERRORS as error:
            raise EditError(
                f"{what} does not take what {self.place.maker.name!r} gives "
                f"({self.size} neurons in a tensor of shape {tuple(self.place.stub.shape)}): {error}"
            ) from error
        size = self.graph.sizes.get(vertex.name, 0)
        if size != self.size:
            users = ", ".join(repr(user.name) for user in self.place.users) or "the network's output"
            raise EditError(
                f"{what} gives {size} neurons, and {users} takes {self.size}: let the layer give "
                f"{self.size}, and resize it afterwards"
            )
        changed = any(
            contains_stub(new.output, self.place.stub) and f"{new.name}.".startswith(f"{self.name}.")
            for new in self.graph
        )
        if changed and not self.place.alone:
            raise EditError(
                f"{what} works in place, and others use what {self.place.maker.name!r} gives: "
                "use a layer which does not"
            )

    def use(self, rewiring: Rewiring) -> None:
        """Let the users take the layer's output."""
        old, new = self.place.stub, output_of(self.made)
        if old.id != new.id:
            writes = any(contains_stub(user.output, old) for user in self.place.users)
            if writes and not has_parameters(self.made):
                # The gradient of an activation is worked out from what it gave, which has to stay.
                at = self.graph.vertices.index(self.made) + 1
                new = rewiring.copied(self.made.name, new, at, self.made.path)
            for user in self.place.users:
                rewiring.replace(user, old, new)
            if self.place.returned:
                rewiring.give_back(old, new)


def _made(make: Callable[[int], nn.Module], size: int, start: int) -> nn.Module:
    with seeded(start):
        return make(size)
