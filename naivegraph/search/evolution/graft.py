"""Crossover: a segment of one network in the place of one of another."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx, nn

from naivegraph.edits.request.requests import Size as exactly
from naivegraph.edits.resize import resize
from naivegraph.errors import CaptureError, EditError
from naivegraph.ir.step_module import add_submodule, box_at
from naivegraph.ir.train_eval_module import TrainEvalModule
from naivegraph.network import Graph, capture
from naivegraph.search.evolution.genome import Genome
from naivegraph.search.evolution.graft_segments import Seam, Segment, seams, segments
from naivegraph.search.evolution.mutation import NothingToDoError, output_shapes

__all__ = ["graft"]


def graft(one: Genome, two: Genome, rng: random.Random, attempts: int = 6) -> tuple[Genome, str]:
    """A child: the first network with a segment of the second in the place of one of its own.

    A segment has one tensor going out and up to three coming in. Sizes at the seams are made equal in copies
    of both by the program, before the parts are joined; the parts keep their weights.

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
    reason = "no seams of the two networks are alike"
    for a, b in itertools.islice(_pairs(one.graph, two.graph, rng), attempts):
        try:
            graph = _joined(one.graph, two.graph, a, b)
        except (EditError, CaptureError) as error:
            reason = str(error)
            continue
        if output_shapes(graph) != output_shapes(one.graph):  # the host had to give way where its output is
            reason = f"{a.exit!r} would have another size, which is that of an output"
            continue
        return Genome(graph, dict(one.recipe)), f"graft: {b} for {a}"
    raise NothingToDoError(f"graft: {reason}")


def _pairs(one: Graph, two: Graph, rng: random.Random) -> Iterator[tuple[Segment, Segment]]:
    """Pairs of segments whose seams are alike, each of the first network once, in an order of chance.

    What comes in at alike seams is paired in an order of chance, too.
    """
    mine, theirs = seams(one), seams(two)
    known: dict[tuple[Seam, ...], list[Segment]] = {}
    for segment in segments(two):
        kind = _kind(segment, theirs)
        if kind is not None:
            known.setdefault(kind, []).append(segment)
    wanted = [(segment, _kind(segment, mine)) for segment in segments(one)]
    rng.shuffle(wanted)
    for segment, kind in wanted:
        if kind is not None and kind in known:
            yield _by_seam(segment, mine, rng), _by_seam(rng.choice(known[kind]), theirs, rng)


def _kind(segment: Segment, known: Mapping[str, Seam]) -> tuple[Seam, ...] | None:
    """The seams of a segment, those of entries in one order; None where a tensor has no neurons."""
    if not all(name in known for name in (*segment.entries, segment.exit)):
        return None
    return (*sorted(known[name] for name in segment.entries), known[segment.exit])


def _by_seam(segment: Segment, known: Mapping[str, Seam], rng: random.Random) -> Segment:
    """The segment with its entries ordered by their seams, alike ones by chance."""
    entries = rng.sample(segment.entries, len(segment.entries))
    return Segment(tuple(sorted(entries, key=known.__getitem__)), segment.exit)


def _joined(one: Graph, two: Graph, a: Segment, b: Segment) -> Graph:
    """The first graph with a segment of the second; both stay as they are."""
    host, donor = copy.deepcopy(one), copy.deepcopy(two)
    pairs = list(zip((*a.entries, a.exit), (*b.entries, b.exit), strict=True))
    for here, there in pairs:
        _make_equal(host, here, donor, there)
    for here, there in pairs:  # sizes of several seams may be tied to each other
        if host.sizes[here] != donor.sizes[there]:
            raise NothingToDoError(f"{here!r} and {there!r} of the other network cannot have one size")
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
    waiting = {*mine.entries}  # behind the last of them comes what the donor gives
    for node in host.graph.nodes:
        if node in mine.between:
            continue
        nodes[node] = _copied(made, root, host, node, nodes, "")
        waiting.discard(node)
        if not waiting and mine.exit not in nodes:
            _let_in(made, root, host, donor, other, nodes, mine)
    found = fx.GraphModule(root, made, type(host).__name__)
    found.train(host.training)
    return found


@dataclasses.dataclass(frozen=True)
class _Inside:
    """The nodes of a segment."""

    entries: tuple[fx.Node, ...]
    exit: fx.Node
    between: frozenset[fx.Node]


def _inside(module: fx.GraphModule, segment: Segment) -> _Inside:
    nodes = list(module.graph.nodes)
    *entries, exit_ = (
        next(n for n in nodes if n.meta.get("vertex") == name) for name in (*segment.entries, segment.exit)
    )
    # All the exit needs that the entries do not come with: its calls, and the tensors they read.
    needed: set[fx.Node] = set()
    waiting = [exit_]
    while waiting:
        node = waiting.pop()
        if node not in needed and node not in entries and node.op != "placeholder":
            needed.add(node)
            waiting += node.all_input_nodes
    outside = [n for n in nodes if n not in needed]
    shared = {n for n in needed if any(user in outside for user in n.users) and n is not exit_}
    if any(n.op not in ("get_attr",) and not _is_size(n) for n in shared):
        raise NothingToDoError(f"what is in the segment {segment} is used elsewhere")
    return _Inside(tuple(entries), exit_, frozenset(needed - shared))


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
    """Copy the donor's segment behind the host's entries; the host's exit is then the donor's."""
    inputs = [n for n in host.graph.nodes if n.op == "placeholder"]
    mates = zip((n for n in donor.graph.nodes if n.op == "placeholder"), inputs, strict=False)
    placed: dict[fx.Node, fx.Node] = {node: nodes[mate] for node, mate in mates if mate in nodes}
    placed.update((there, nodes[here]) for there, here in zip(other.entries, mine.entries, strict=True))
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
