"""Steps that change single vertices and edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.structure.merges import concatenation_dim, is_concatenation, tensors_of
from naivegraph.graph import Vertex
from naivegraph.graph.list_argument import parts_of
from naivegraph.graph.run.blocks import is_sum
from naivegraph.ir.pytree import stubs_in
from tests.machine.expected import Replaced
from tests.machine.invariants import first

if TYPE_CHECKING:
    from tests.machine.walk import Walk

__all__ = ["branch", "connect", "disconnect", "insert", "makers_of", "new_layer", "remove", "remove_output"]


def makers_of(walk: Walk, vertex: Vertex) -> list[str]:
    """The vertices whose tensors one takes, in the order of its arguments; "" for others."""
    made = {stub.id: v.name for v in walk.graph for stub in stubs_in(v.output)}
    return [made.get(stub.id, "") for stub in tensors_of(vertex)]


def single(vertex: Vertex) -> bool:
    """Whether a vertex gives one tensor, of its own: nothing works in place on what it takes or gives."""
    return len(stubs_in(vertex.output)) == 1 and first(vertex).id not in {s.id for s in tensors_of(vertex)}


def _each_once(walk: Walk) -> bool:
    """Whether every tensor is made by one vertex: none works in place."""
    made = [stub.id for v in walk.graph for stub in stubs_in(v.output)]
    return len(made) == len(set(made))


def insert(walk: Walk) -> ng.Edit:
    """One layer, somewhere."""
    graph, rng = walk.graph, walk.rng
    names = [v.name for v in graph]
    # A graph of which all was removed has no edge left: then one from its input to nowhere is refused.
    edges = list(graph.to_networkx().edges()) or [(names[0], names[0])]
    one = [v.name for v in graph if len(tensors_of(v)) == 1]
    after = rng.choice(names)
    users = [v.name for v in graph.outputs_of(after)]
    some = {"users": rng.sample(users, rng.randint(1, len(users)))} if users else {}
    where: dict[str, Any] = rng.choice([
        {"after": after},
        {"after": after, **some},
        {"before": rng.choice(one if one and rng.random() < 0.9 else names)},
        {"edge": rng.choice(edges)},
    ])  # fmt: skip
    kind = rng.choice(["mix", "mix", "norm", "act"])
    identity = kind == "mix" and rng.random() < 0.5
    walk.alike = {} if identity else None
    walk.note("insert", kind, where, identity)
    make = new_layer(walk, kind)
    return ng.insert(graph, make, identity=identity, optimizer=walk.of_optimizer(), **where)


def new_layer(walk: Walk, kind: str) -> Callable[[int], nn.Module]:
    """A function of a size that makes a layer: "mix", "norm" or "act"."""
    image = walk.case.look == "image" and walk.rng.random() < 0.9

    def made(size: int) -> nn.Module:
        """Make the layer."""
        if kind == "mix":
            layer: nn.Module = nn.Conv2d(size, size, 3, padding=1) if image else nn.Linear(size, size)
        elif kind == "norm":
            layer = nn.BatchNorm2d(size) if image else nn.LayerNorm(size)
            if size == 1 and not image:  # one neuron less its own mean is zero, by which a row may divide
                layer = nn.LeakyReLU()
        else:
            layer = nn.ReLU() if image else nn.LeakyReLU()  # which does not make a row of zeros, either
        return layer.double().eval()

    return made


def remove(walk: Walk) -> ng.Edit:
    """A vertex goes, and its users take what it took, or do without."""
    reconnect, users = walk.rng.random() < 0.75, walk.graph.to_networkx().successors
    fit = [
        v.name
        for v in walk.graph
        if v.kind != "input"
        and (
            reconnect
            or all(is_sum(u) or is_concatenation(u) for u in map(walk.graph.__getitem__, users(v.name)))
        )
    ]
    name = walk.rng.choice(fit if fit and walk.rng.random() < 0.8 else [v.name for v in walk.graph])
    walk.note("remove", name, reconnect=reconnect)
    if reconnect:
        walk.alike = passed_on(walk, walk.graph[name])
    return ng.remove(walk.graph, name, reconnect=reconnect, optimizer=walk.of_optimizer())


def remove_output(walk: Walk) -> ng.Edit:
    """What made an output of the network goes; what fed it is the output then."""
    returned = {stub.id for stub in stubs_in(walk.graph.output)}
    ends = [v for v in walk.graph if any(stub.id in returned for stub in stubs_in(v.output))]
    vertex = walk.rng.choice(ends or walk.graph.vertices)
    walk.note("remove output", vertex.name)
    walk.alike = passed_on(walk, vertex)
    return ng.remove(walk.graph, vertex.name, optimizer=walk.of_optimizer())


def passed_on(walk: Walk, vertex: Vertex) -> Replaced | None:
    """What the network does where a vertex of one input gives that on, or where that is not clear None."""
    makers, users = makers_of(walk, vertex), walk.graph.outputs_of(vertex)
    if len(makers) != 1 or not makers[0] or not _each_once(walk) or not single(walk.graph[makers[0]]):
        return None
    returned = first(vertex).id in {stub.id for stub in stubs_in(walk.graph.output)}
    if first(vertex).shape != tensors_of(vertex)[0].shape and not (returned and not users):
        return None
    if any(is_sum(user) for user in users):  # the last of a residual branch goes from its sum
        return None
    return {vertex.name: lambda found: found[makers[0]]}


def connect(walk: Walk) -> ng.Edit:
    """A sum or a concatenation takes one more tensor."""
    graph, rng = walk.graph, walk.rng
    names = [v.name for v in graph if stubs_in(v.output)]
    joints = [v.name for v in graph if is_sum(v) or is_concatenation(v)]
    target = rng.choice(joints if joints and rng.random() < 0.7 else names)
    later = {target, *(v.name for v in graph.descendants(target))}
    rank = len(first(graph[target]).shape)
    fit = [n for n in names if n not in later and len(first(graph[n]).shape) == rank]
    source = rng.choice(fit if fit and rng.random() < 0.9 else names)
    listed = is_concatenation(graph[target])
    position = rng.randint(0, len(parts_of(graph[target]))) if listed and rng.random() < 0.5 else None
    joins = target in joints
    merge: Literal["sum", "concat"] | None = None
    if not joins and rng.random() < 0.8:
        merge = rng.choice(["sum", "concat"])
    walk.note("connect", source, target, position=position, merge=merge)
    if merge is not None:
        walk.alike = _merged(walk, source, target, merge)
    elif is_concatenation(graph[target]) and concatenation_dim(graph[target]) == 1 + (rank == 3):
        walk.alike = {}
    elif is_sum(graph[target]) and _each_once(walk) and _early(walk, source, target):
        walk.alike = _summed(walk, target, source)
    return ng.connect(graph, source, target, position=position, merge=merge, optimizer=walk.of_optimizer())


def _merged(walk: Walk, source: str, target: str, merge: str) -> Replaced | None:
    """What the network does where a vertex's output is followed by a sum or concatenation with another."""
    if not _each_once(walk) or not single(walk.graph[target]):
        return None
    if merge == "concat":
        return {}
    if not _early(walk, source, target):
        return None
    return {target: lambda found: found[target] + found[source]}  # which is what every user takes


def branch(walk: Walk) -> ng.Edit:
    """A layer of one vertex joins what another gives, starting with zeros."""
    graph, rng = walk.graph, walk.rng
    names = [v.name for v in graph]
    target = rng.choice(names)
    later = {v.name for v in graph.descendants(target)}
    source = rng.choice([name for name in names if name not in later] or names)
    merge: Literal["sum", "concat"] = rng.choice(["sum", "concat"])
    walk.note("branch", source, target, merge=merge)
    if single(graph[target]) and _each_once(walk):
        walk.alike = {}
    make = _branch_layer(walk, merge)
    return ng.branch(graph, source, target, make, merge=merge, optimizer=walk.of_optimizer())


def _branch_layer(walk: Walk, merge: str) -> Callable[[int, int], nn.Module]:
    image, width = walk.case.look == "image" and walk.rng.random() < 0.9, walk.rng.randint(1, 4)

    def made(taken: int, given: int) -> nn.Module:
        """Make the layer."""
        size = width if merge == "concat" else given
        layer: nn.Module = nn.Conv2d(taken, size, 1) if image else nn.Linear(taken, size)
        return layer.double()

    return made


def _early(walk: Walk, source: str, target: str) -> bool:
    """Whether a vertex runs before another, as recorded, and both give tensors of one shape."""
    names = [v.name for v in walk.graph]
    alike = first(walk.graph[source]).shape == first(walk.graph[target]).shape
    return alike and names.index(source) < names.index(target) and single(walk.graph[source])


def _summed(walk: Walk, target: str, source: str) -> Replaced | None:
    makers = makers_of(walk, walk.graph[target])
    if len(makers) != 2 or not all(name and single(walk.graph[name]) for name in makers):
        return None
    return {target: lambda found: found[makers[0]] + found[makers[1]] + found[source]}


def disconnect(walk: Walk) -> ng.Edit:
    """A sum or a concatenation does without one of its tensors."""
    graph, rng = walk.graph, walk.rng
    start = graph.vertices[0].name
    edges = list(graph.to_networkx().edges()) or [(start, start)]
    joints = [(a, b) for a, b in edges if is_sum(graph[b]) or is_concatenation(graph[b])]
    source, target = rng.choice(joints if joints and rng.random() < 0.9 else edges)
    count = makers_of(walk, graph[target]).count(source) if is_concatenation(graph[target]) else 0
    edge = rng.randrange(count) if count and rng.random() < 0.5 else -1
    walk.note("disconnect", source, target, edge=edge)
    if _each_once(walk) and (is_sum(graph[target]) or is_concatenation(graph[target])):
        walk.alike = _without(walk, source, target)
    return ng.disconnect(graph, source, target, edge=edge, optimizer=walk.of_optimizer())


def _without(walk: Walk, source: str, target: str) -> Replaced | None:
    """A sum of what is left; a concatenation with zeros for what is not."""
    vertex = walk.graph[target]
    makers = makers_of(walk, vertex)
    if makers.count(source) != 1 or not all(name and single(walk.graph[name]) for name in makers):
        return None
    if is_sum(vertex):
        if len(makers) != 2 or {len(s.shape) for s in tensors_of(vertex)} != {len(first(vertex).shape)}:
            return None
        (other,) = [name for name in makers if name != source]
        return {target: lambda found: found[other]}
    dim = concatenation_dim(vertex)
    if len(parts_of(vertex)) != len(makers) or dim is None:
        return None
    return {
        target: lambda found: torch.cat(
            [torch.zeros_like(found[name]) if name == source else found[name] for name in makers], dim
        )
    }
