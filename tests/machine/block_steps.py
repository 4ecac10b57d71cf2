"""Steps on blocks: taken out, doubled, put in; and what is told of them before."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.structure.merges import tensors_of
from naivegraph.graph.run.blocks import is_sum
from naivegraph.ir.pytree import stubs_in
from tests.machine.expected import Replaced, computed
from tests.machine.invariants import first
from tests.machine.state import same
from tests.machine.structure_steps import makers_of, new_layer, single

if TYPE_CHECKING:
    from tests.machine.walk import Walk

__all__ = ["ask", "duplicate", "insert_block", "remove_block"]


def remove_block(walk: Walk) -> ng.Edit:
    """A block goes, by what `blocks()` lists, by its name, its first and last vertex, or a pattern."""
    graph, rng = walk.graph, walk.rng
    blocks = graph.blocks()
    if not blocks or rng.random() < 0.15:
        paths = [path for path, _ in walk.modules()] or [v.name for v in graph]
        what: Any = rng.choice([rng.choice(paths), f"{rng.choice(paths)}*"])
        walk.note("remove path", what)
        return ng.remove(graph, what, optimizer=walk.of_optimizer())
    block = rng.choice(blocks)
    what = rng.choice([block, block, (block.vertices[0], block.vertices[-1])])
    walk.note("remove block", what)
    if what is block:
        walk.alike = _without_branches(walk, block)
    return ng.remove(graph, what, optimizer=walk.of_optimizer())


def _plain(walk: Walk, block: ng.Block) -> bool:
    """Whether no vertex works in place, and every vertex of a block, and what comes in, gives one tensor."""
    made = [stub.id for v in walk.graph for stub in stubs_in(v.output)]
    names = [*block.vertices, block.source]
    return len(made) == len(set(made)) and all(name and single(walk.graph[name]) for name in names)


def _without_branches(walk: Walk, block: ng.Block) -> Replaced | None:
    """What the network does where a block gives on what comes in, or what its shortcut makes of that."""
    graph = walk.graph
    if not _plain(walk, block):
        return None
    end, source = graph[block.vertices[-1]], block.source
    if any(is_sum(user) for user in graph.outputs_of(end)):  # a branch of another block, perhaps
        return None
    if not block.shortcut:
        if first(end).shape != first(graph[source]).shape:
            return None
        return {end.name: lambda found: found[source]}
    sums = [name for name in block.vertices if is_sum(graph[name])]
    around = block.shortcut[-1]
    if len(sums) != 1 or around not in makers_of(walk, graph[sums[0]]):
        return None
    if first(graph[around]).shape != first(graph[sums[0]]).shape:
        return None
    return {sums[0]: lambda found: found[around]}


def duplicate(walk: Walk) -> ng.Edit:
    """A module is called once more on what it gives, on a copy with the same weights or as the identity."""
    graph, rng = walk.graph, walk.rng
    blocks = {block.name: block for block in graph.blocks()}
    listed = [name for name in blocks if ".." not in name]
    paths = [path for path in dict.fromkeys(v.path for v in graph) if path] or [graph.vertices[0].name]
    name = rng.choice(listed if listed and rng.random() < 0.7 else paths)
    identity = rng.random() < 0.5
    walk.note("duplicate", name, identity=identity)
    if identity:
        walk.alike = {}
    elif name in blocks and name not in graph and _plain(walk, blocks[name]):
        walk.alike = _twice(walk, blocks[name].source, blocks[name].vertices[-1])
    elif name in graph and len(tensors_of(graph[name])) == 1 and _is_plain_layer(walk, name):
        walk.alike = _twice(walk, makers_of(walk, graph[name])[0], name)
    return ng.duplicate(graph, name, identity=identity, optimizer=walk.of_optimizer())


def _is_plain_layer(walk: Walk, name: str) -> bool:
    made = [stub.id for v in walk.graph for stub in stubs_in(v.output)]
    (source,) = makers_of(walk, walk.graph[name])
    calls = [v for v in walk.graph if v.path == name]
    return len(made) == len(set(made)) and len(calls) == 1 and bool(source) and single(walk.graph[source])


def _twice(walk: Walk, source: str, end: str) -> Replaced | None:
    """What the network does where what is between two vertices is done once more on its own result."""
    given, returned = first(walk.graph[source]), first(walk.graph[end])
    if (given.shape, given.dtype) != (returned.shape, returned.dtype):
        return None
    once = computed(walk.graph, walk.x, {}, end)[end]
    try:
        twice = computed(walk.graph, walk.x, {source: lambda _: once}, end)[end]
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # a matrix twice as this may have no root
        twice = torch.full(returned.shape, torch.nan, dtype=returned.dtype)
    return {end: lambda _: twice}


def insert_block(walk: Walk) -> ng.Edit:
    """Several layers at once: a list, a Sequential, a function of the size; perhaps as the identity."""
    graph, rng = walk.graph, walk.rng
    after = rng.choice([v.name for v in graph])
    kinds = rng.choice([["mix", "act"], ["mix", "norm"], ["mix", "mix"], ["norm", "act", "mix"], ["mix"]])
    identity = rng.random() < 0.5
    makers = [new_layer(walk, kind) for kind in kinds]
    how = rng.choice(["list", "sequential", "function", "mixed"])
    walk.note("insert block", after, kinds, how, identity=identity)
    if identity and "act" not in kinds:
        norm = "norm" in kinds
        # Batch norms divide by a little more than one; layer norms are no identity.
        walk.alike = {} if not norm or walk.case.look == "image" else None
        walk.exact = not norm
        if norm and not isinstance(makers[kinds.index("norm")](2), nn.BatchNorm2d):
            walk.alike = None
    size = graph.sizes.get(after, 1)
    made: Any = {
        "list": makers,
        "sequential": nn.Sequential(*(make(size) for make in makers)),
        "function": lambda n: nn.Sequential(*(make(n) for make in makers)),
        "mixed": [makers[0], *(make(size) for make in makers[1:])],
    }[how]
    name = f"given_{len(walk.given)}" if how in ("sequential", "mixed") else None
    edit = ng.insert(graph, made, after=after, name=name, identity=identity, optimizer=walk.of_optimizer())
    if name is not None and name in dict(graph.module.named_modules()):
        walk.given[name] = copy.deepcopy(graph.module.get_submodule(name))
    return edit


def ask(walk: Walk) -> None:
    """`ng.can` says what the edit then does, and changes nothing; no block that is listed is unknown."""
    graph, rng = walk.graph, walk.rng
    names = [v.name for v in graph]
    before = walk.everything()
    blocks = graph.blocks()
    for block in blocks:
        assert set(block.vertices) <= set(names)
        assert not block.source or block.source in names
    verb = rng.choice(["remove", "connect", "disconnect", "duplicate", "resize", "insert"])
    inputs = {vertex.name for vertex in graph.inputs}  # which would need another example
    inner = [name for name in names if name not in inputs] or names
    one, two = rng.choice(inner), rng.choice(names)
    args: tuple[Any, ...] = {
        "remove": (rng.choice([*blocks, one]),),
        "connect": (one, two),
        "disconnect": (one, two),
        "duplicate": (one,),
        "resize": ({one: rng.choice([-1, 1])},),
        "insert": (nn.ReLU(),),
    }[verb]
    options = {"after": one} if verb == "insert" else {}
    walk.note("ask", verb, *args)
    found = ng.can(graph, verb, *args, **options)
    same(before, walk.everything(), f"asked {walk.log[-1]}")
    walk.tally[f"ask: {bool(found)}"] += 1
    if rng.random() < 0.5:
        _hold_to(walk, found, verb, args, options)
        same(before, walk.everything(), f"done and undone {walk.log[-1]}")


def _hold_to(walk: Walk, found: ng.Feasibility, verb: str, args: Any, options: Any) -> None:
    edits: dict[str, Callable[..., ng.Edit]] = {
        "remove": ng.remove, "connect": ng.connect, "disconnect": ng.disconnect, "duplicate": ng.duplicate,
        "resize": ng.resize, "insert": ng.insert,
    }  # fmt: skip
    if verb == "resize":
        options = {"strategy": ng.strategy.Solve()}
    if not found:
        with pytest.raises(ng.NaivegraphError, match=re.escape(found.reason)):
            edits[verb](walk.graph, *args, **options)
        return
    edit = edits[verb](walk.graph, *args, **options)
    with torch.no_grad():
        walk.graph(walk.x)
    edit.undo()
