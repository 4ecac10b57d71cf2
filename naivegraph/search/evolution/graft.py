"""Crossover: a segment of one network in the place of one of another."""

from __future__ import annotations

import copy
import dataclasses
import random
import warnings
from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from naivegraph.edits.request.requests import Size as exactly
from naivegraph.edits.resize import resize
from naivegraph.edits.structure.vertices import neuron_dimension
from naivegraph.errors import CaptureError, EditError
from naivegraph.graph.run.query import edges
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.step_module import add_submodule, box_at
from naivegraph.ir.train_eval_module import TrainEvalModule
from naivegraph.network import Graph, capture
from naivegraph.search.evolution.genome import Genome
from naivegraph.search.evolution.mutation import NothingToDoError, output_shapes

__all__ = ["Segment", "graft", "segments"]


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a network with one tensor in and one out, between two vertices that every way passes.

    Attributes:
        entry: The vertex whose output comes in.
        exit: The vertex whose output goes out.
    """

    entry: str
    exit: str


def graft(one: Genome, two: Genome, rng: random.Random, attempts: int = 6) -> tuple[Genome, str]:
    """A child: the first network with a segment of the second in the place of one of its own.

    Sizes at the two seams are made equal in copies of both by the program, before the parts are joined; the
    parts keep their weights.

    Args:
        one: A parent, which gives what is around the segment, and the recipe.
        two: The other one.
        rng: Random numbers.
        attempts: The number of pairs of segments that are tried.

    Returns:
        The child, and which segments were exchanged.

    Raises:
        NothingToDoError: No pair of segments with seams alike could be joined.
    """
    mine, theirs = _seams(one.graph), _seams(two.graph)
    pairs = [
        (a, b)
        for a in segments(one.graph)
        for b in segments(two.graph)
        if _alike(mine[a.entry], theirs[b.entry]) and _alike(mine[a.exit], theirs[b.exit])
    ]
    rng.shuffle(pairs)
    reason = "no seams of the two networks are alike"
    for a, b in pairs[:attempts]:
        try:
            graph = _joined(one.graph, two.graph, a, b)
        except (EditError, CaptureError) as error:
            reason = str(error)
            continue
        if output_shapes(graph) != output_shapes(one.graph):  # the host had to give way where its output is
            reason = f"{a.exit!r} would have another size, which is that of an output"
            continue
        return Genome(graph, dict(one.recipe)), f"graft: {b.entry} to {b.exit} for {a.entry} to {a.exit}"
    raise NothingToDoError(f"graft: {reason}")


def segments(graph: Graph) -> list[Segment]:
    """The segments of a network with one output, those with something in them."""
    cuts = _cuts(graph)
    places = [graph.vertices.index(graph[name]) for name in cuts]
    found = []
    for i, entry in enumerate(cuts):
        for j in range(i + 1, len(cuts)):
            inside = graph.vertices[places[i] + 1 : places[j] + 1]
            if any(isinstance(v.target, nn.Module) and v.target._parameters for v in inside):
                found.append(Segment(entry, cuts[j]))
    return found


def _cuts(graph: Graph) -> list[str]:
    """The vertices whose single output every way from inputs to the output passes, in order."""
    vertices = graph.vertices
    place = {id(vertex): number for number, vertex in enumerate(vertices)}
    last = [0] * len(vertices)  # the last vertex that uses an output
    for maker, user, _ in edges(graph):
        last[place[id(maker)]] = max(last[place[id(maker)]], place[id(user)])
    returned = {stub.id for stub in stubs_in(graph.output)}
    if len(returned) != 1:
        return []
    cuts, reach = [], 0
    inputs = sum(vertex.kind == "input" for vertex in vertices)
    for number, vertex in enumerate(vertices):
        # Nothing before reaches past this vertex.
        if reach <= number and number >= inputs - 1 and len(stubs_in(vertex.output)) == 1:
            cuts.append(vertex.name)
        reach = max(reach, last[number])
    if inputs != 1:
        cuts = [name for name in cuts if graph[name].kind != "input"]
    ends = [n for n, v in enumerate(vertices) if {s.id for s in stubs_in(v.output)} & returned]
    return [name for name in cuts if place[id(graph[name])] <= ends[-1]]


def _seams(graph: Graph) -> dict[str, tuple[Any, ...]]:
    """By vertex of a cut: all of its output's shape but batch and neurons, and its type."""
    out: dict[str, tuple[Any, ...]] = {}
    for name in _cuts(graph):
        stub = stubs_in(graph[name].output)[0]
        dim = neuron_dimension(graph, graph[name]) if stub.shape else -1
        rest = tuple(size for place, size in enumerate(stub.shape) if place not in (0, dim))
        out[name] = (len(stub.shape), dim, rest, stub.dtype)
    return out


def _alike(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    return one == two and one[1] > 0


def _joined(one: Graph, two: Graph, a: Segment, b: Segment) -> Graph:
    """The first graph with a segment of the second; both stay as they are."""
    host, donor = copy.deepcopy(one), copy.deepcopy(two)
    for here, there in ((a.entry, b.entry), (a.exit, b.exit)):
        _make_equal(host, here, donor, there)
    parts = host.to_module(), donor.to_module()
    if any(isinstance(part, TrainEvalModule) for part in parts):
        raise NothingToDoError("a network that calls other functions in train mode cannot be joined")
    module = _spliced(*parts, a, b)
    inputs = {
        node.target: host.example[node.meta["vertex"]]
        for node in module.graph.nodes
        if node.op == "placeholder" and "vertex" in node.meta
    }
    return capture(module, (), inputs, verify=False, fake=True)


def _make_equal(host: Graph, here: str, donor: Graph, there: str) -> None:
    """Give both ends of a seam one size: the host's, or if the donor cannot have that, the donor's."""
    wanted, given = host.sizes[here], donor.sizes[there]
    if wanted == given:
        return
    for graph, name, size in ((donor, there, wanted), (host, here, given)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the nearest change, which will not do
            edit = resize(graph, {name: exactly(size)})
        if graph.sizes[name] == size:
            return
        edit.undo()
    raise NothingToDoError(
        f"{there!r} of the other network has {given} neurons and cannot have {wanted}, nor {here!r} {given}"
    )


def _spliced(host: fx.GraphModule, donor: fx.GraphModule, a: Segment, b: Segment) -> fx.GraphModule:
    """The host's calls outside its segment, with the donor's calls of the other one in between."""
    made, root, nodes = fx.Graph(), nn.Module(), dict[fx.Node, fx.Node]()
    mine, other = _inside(host, a), _inside(donor, b)
    for node in host.graph.nodes:
        if node in mine.between:
            continue
        nodes[node] = _copied(made, root, host, node, nodes, "")
        if node is mine.entry:
            _let_in(made, root, host, donor, other, nodes, mine)
    found = fx.GraphModule(root, made, type(host).__name__)
    found.train(host.training)
    return found


@dataclasses.dataclass(frozen=True)
class _Inside:
    """The nodes of a segment."""

    entry: fx.Node
    exit: fx.Node
    between: frozenset[fx.Node]


def _inside(module: fx.GraphModule, segment: Segment) -> _Inside:
    nodes = list(module.graph.nodes)
    entry, exit_ = (
        next(n for n in nodes if n.meta.get("vertex") == name) for name in (segment.entry, segment.exit)
    )
    # All the exit needs that the entry does not come with: its calls, and the tensors they read.
    needed: set[fx.Node] = set()
    waiting = [exit_]
    while waiting:
        node = waiting.pop()
        if node not in needed and node is not entry and node.op != "placeholder":
            needed.add(node)
            waiting += node.all_input_nodes
    outside = [n for n in nodes if n not in needed]
    shared = {n for n in needed if any(user in outside for user in n.users) and n is not exit_}
    if any(n.op not in ("get_attr",) and not _is_size(n) for n in shared):
        raise NothingToDoError(f"what is between {segment.entry!r} and {segment.exit!r} is used elsewhere")
    return _Inside(entry, exit_, frozenset(needed - shared))


def _is_size(node: fx.Node) -> bool:
    return node.op == "call_method" and node.target == "size"


def _let_in(
    made: fx.Graph,
    root: nn.Module,
    host: fx.GraphModule,
    donor: fx.GraphModule,
    other: _Inside,
    nodes: dict[fx.Node, fx.Node],
    mine: _Inside,
) -> None:
    """Copy the donor's segment behind the host's entry; the host's exit is then the donor's."""
    placed: dict[fx.Node, fx.Node] = {other.entry: nodes[mine.entry]}
    inputs = [n for n in host.graph.nodes if n.op == "placeholder"]
    for mate, node in zip(inputs, (n for n in donor.graph.nodes if n.op == "placeholder"), strict=False):
        if mate in nodes:
            placed[node] = nodes[mate]
    for node in donor.graph.nodes:
        outside = node not in other.between and (node.op == "get_attr" or _is_size(node))
        used = any(user in other.between for user in node.users)
        if node in other.between or (outside and used and node not in placed):
            placed[node] = _copied(made, root, donor, node, placed, _prefix(host))
    nodes[mine.exit] = placed[other.exit]


def _prefix(host: fx.GraphModule) -> str:
    """A name that no layer of the host begins with."""
    taken = {name for name, _ in host.named_children()}
    return next(name for name in (f"graft{i or ''}" for i in range(len(taken) + 1)) if name not in taken)


def _copied(
    made: fx.Graph,
    root: nn.Module,
    source: fx.GraphModule,
    node: fx.Node,
    nodes: Mapping[fx.Node, fx.Node],
    prefix: str,
) -> fx.Node:
    """Copy a node; what it calls or reads goes to the new module, below a prefix."""
    missing = [n for n in node.all_input_nodes if n not in nodes]
    if missing:
        raise NothingToDoError(f"{missing[0].name!r} of the other network is needed, too")
    copied = made.node_copy(node, lambda each: nodes[each])
    if node.op in ("call_module", "get_attr"):
        path = f"{prefix}.{node.target}" if prefix else str(node.target)
        copied.target = path
        _place(root, source, str(node.target), path)
    return copied


def _place(root: nn.Module, source: nn.Module, old: str, path: str) -> None:
    """Take a layer, parameter or number of a module over to another one."""
    parent, _, name = old.rpartition(".")
    home = source.get_submodule(parent)
    value: Any = getattr(home, name)
    if isinstance(value, nn.Module):
        try:
            root.get_submodule(path)
        except AttributeError:
            add_submodule(root, path, value)
        return
    there, _, _ = path.rpartition(".")
    box = box_at(root, there)
    if name in home._parameters:
        box.register_parameter(name, value)
    elif name in home._buffers:
        box.register_buffer(name, value, persistent=name not in home._non_persistent_buffers_set)
    else:
        setattr(box, name, value)
