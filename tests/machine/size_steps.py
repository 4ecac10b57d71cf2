"""Steps that change sizes: requests of all kinds, utility alone, kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

import naivegraph as ng
from naivegraph.edits.structure.merges import tensors_of
from naivegraph.graph import Vertex
from naivegraph.ir.pytree import stubs_in
from naivegraph.widths import relate
from tests.machine.invariants import first

if TYPE_CHECKING:
    from tests.machine.walk import Walk

__all__ = ["request", "resize", "resize_input", "resize_kernel", "utility"]


def resize(walk: Walk) -> ng.Edit:
    """Ask for one to three sizes."""
    sizes, rng = walk.graph.sizes, walk.rng
    widths = relate(walk.graph, free_outputs=True)
    inputs = {vertex.name for vertex in walk.graph.inputs}  # which would need another example
    sizes = {name: size for name, size in sizes.items() if name not in inputs}
    free = [name for name in sizes if not widths.output_axis(walk.graph[name]).fixed]
    # What cannot change is asked for now and then, too: it must say so.
    names = free if free and rng.random() < 0.95 else list(sizes) or list(inputs)
    names = rng.sample(names, min(rng.choice([1, 1, 1, 2, 3]), len(names)))
    if rng.random() < 0.15 and (asked := _of_inputs(walk, names[0])):
        requests: dict[str, Any] = asked
    else:
        requests = {name: request(walk, name) for name in names}
    requests.update(dict.fromkeys(inputs, ng.frozen()))
    options: dict[str, Any] = {
        "utility": rng.choice(["magnitude", "magnitude", None, lambda vertex: _values(walk, vertex)]),
        "initialise": rng.choice(["layer", "layer", "duplicate"]),
        "seed": rng.randrange(100),
    }
    worth = options["utility"]
    told = {**options, "utility": "random" if callable(worth) else worth}
    walk.note("resize", {name: str(r) for name, r in requests.items()}, **told)
    walk.alike = {}
    return ng.resize(walk.graph, requests, optimizer=walk.of_optimizer(), **options)


def _of_inputs(walk: Walk, name: str) -> dict[str, Any] | None:
    """A request for one of the inputs of a vertex, asked of the vertex."""
    made = {stub.id: v.name for v in walk.graph for stub in stubs_in(v.output)[:1]}
    makers = [made.get(stub.id) for stub in tensors_of(walk.graph[name])]
    found = [maker for maker in makers if maker is not None]
    inputs = {vertex.name for vertex in walk.graph.inputs}
    sized = walk.graph.sizes.keys() - inputs
    if not found or len(found) != len(makers) or not sized.issuperset(found):
        return None
    which = walk.rng.randrange(len(found))
    entries = [request(walk, maker) if i == which else None for i, maker in enumerate(found)]
    return {name: ng.inputs(*entries)}


def request(walk: Walk, name: str) -> Any:
    """A request for the size of a vertex, which is written down as wanted."""
    size, rng = walk.graph.sizes[name], walk.rng
    delta = rng.choice([-3, -2, -1, 1, 2, 3])
    if size + delta < 1 and rng.random() < 0.9:
        delta = -delta
    kind = rng.choice(["change"] * 4 + ["relaxed"] * 3 + ["size", "between", "multiple", "frozen"])
    low = rng.randint(1, size + 2)
    bounds = (low, low + rng.randint(0, 3))
    value, made = {
        "change": (delta, delta),
        "relaxed": (delta, ng.relaxed(delta)),
        "size": (max(1, size + delta), ng.size(max(1, size + delta))),
        "between": (bounds, ng.between(*bounds)),
        "multiple": (2, ng.multiple(2)),
        "frozen": (0, ng.frozen()),
    }[kind]
    walk.wanted[name] = (kind, value)
    return made


def resize_input(walk: Walk) -> ng.Edit:
    """Ask for other channels of an input, by its name or as the input of a layer that takes it."""
    rng, graph = walk.rng, walk.graph
    vertex = rng.choice([v for v in graph.inputs if first(v).dtype.is_floating_point] or graph.inputs)
    change = rng.choice([-2, -1, 1, 2])
    size = graph.sizes.get(vertex.name, 1)
    change = abs(change) if size + change < 1 else change
    readers = [v.name for v in graph if [s.id for s in tensors_of(v)] == [first(vertex).id]]
    asked: dict[str, Any] = {vertex.name: change}
    if readers and rng.random() < 0.5:
        asked = {rng.choice(readers): ng.inputs(change)}
    elif vertex.name in graph.sizes:
        walk.wanted[vertex.name] = ("change", change)
    walk.note("input", {name: str(each) for name, each in asked.items()})
    walk.alike = {}
    return ng.resize(graph, asked, optimizer=walk.of_optimizer())


def utility(walk: Walk) -> ng.Edit:
    """Let neurons of negative utility go."""
    walk.note("utility")
    walk.alike = {}
    return ng.resize(walk.graph, utility=lambda vertex: _values(walk, vertex), optimizer=walk.of_optimizer())


def _values(walk: Walk, vertex: Vertex) -> Any:
    size = walk.graph.sizes.get(vertex.name)
    if size is None or vertex.kind != "layer":
        return None
    return np.array([walk.rng.uniform(-1.0, 1.5) for _ in range(size)])


def resize_kernel(walk: Walk) -> ng.Edit:
    """Ask for another kernel; a larger one keeps the function."""
    fit = [v for v in walk.graph if isinstance(v.target, (nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    vertex = walk.rng.choice(fit or walk.graph.vertices)
    size = walk.rng.choice([1, 2, 3, 3, 5])
    now = vertex.target.kernel_size if isinstance(vertex.target, nn.modules.conv._ConvNd) else (0,)
    walk.note("kernel", vertex.name, size)
    walk.alike = {} if size >= max(now) else None
    return ng.resize_kernel(walk.graph, {vertex.name: size}, optimizer=walk.of_optimizer())
