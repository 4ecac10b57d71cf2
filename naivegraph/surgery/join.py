"""Two parts of networks and a layer between them as one network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from naivegraph.errors import EditError
from naivegraph.graph.export.placeholder import placeholder
from naivegraph.graph.run.hidden_values import needed_for
from naivegraph.graph.run.state_users import state_of_vertex
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph, capture
from naivegraph.surgery.cut import cut, name_vertices
from naivegraph.surgery.cut_recording import crossing

__all__ = ["BACK", "FRONT", "STITCH", "back_part", "front_part", "join"]

FRONT, STITCH, BACK = "front", "stitch", "back"


def front_part(graph: Graph, name: str) -> Graph:
    """The part of a network that leads to a vertex."""
    inputs = [vertex.name for vertex in needed_for(graph, [name]) if vertex.kind == "input"]
    return cut(graph, inputs, [name])


def back_part(graph: Graph, name: str) -> Graph:
    """The part of a network that leads from a vertex to its output.

    Masks and positions, which are worked out from the network's inputs without parameters, are in it as well,
    and with them these inputs.

    Raises:
        EditError: A shortcut goes around the vertex.
    """
    around = crossing(graph, name)
    before = {id(v): v for other in around for v in (graph[other], *graph.ancestors(other))}
    for vertex in before.values():
        if any(isinstance(tensor, nn.Parameter) for tensor in state_of_vertex(graph, vertex)):
            raise EditError(
                f"what follows {name!r} takes more than what that gives: {', '.join(map(repr, around))}, "
                f"made with the parameters of {vertex.name!r}; stitch where no shortcut goes around"
            )
    inputs = [vertex.name for vertex in graph.inputs if id(vertex) in before]
    return cut(graph, [name, *inputs])


def join(front: Graph, layer: nn.Module, back: Graph) -> Graph:
    """One network of two parts and the layer between what the first gives and the first input of the second.

    Its parts are `front`, `stitch` and `back`; the vertices of the parts have these names before their own.
    Further inputs of the second part are inputs of the first by name, or new ones.
    """
    root = nn.Module()
    root.training = front.module.training and back.module.training
    for name, module in ((FRONT, front.module), (STITCH, layer), (BACK, back.module)):
        root.add_module(name, module)
    example = {vertex.name: front.example[vertex.name] for vertex in front.inputs}
    further = [vertex.name for vertex in back.inputs[1:]]
    example.update({name: back.example[name] for name in further if name not in example})
    graph = fx.Graph()
    nodes = {name: placeholder(graph, name) for name in example}
    hidden = graph.call_module(FRONT, tuple(nodes[vertex.name] for vertex in front.inputs))
    stitched = graph.call_module(STITCH, (hidden,))
    graph.output(graph.call_module(BACK, (stitched, *(nodes[name] for name in further))))
    module = fx.GraphModule(root, graph, "Stitched")
    module.training = root.training
    made = capture(module, tuple(example.values()))
    training: list[Vertex] | None = None
    if made.training is not None:
        one, other = front.in_train_mode.vertices, back.in_train_mode.vertices
        training = _like(made.training.vertices, one, other)
    name_vertices(made, _like(made.vertices, front.vertices, back.vertices), training)
    return made


def _like(joined: Sequence[Vertex], front: Sequence[Vertex], back: Sequence[Vertex]) -> list[Vertex]:
    """Vertices of the names that those of a joined network are to have."""
    inputs = [vertex for vertex in joined if vertex.kind == "input"]
    before, after = _named(front, FRONT), _named(back, BACK)
    between: Any = joined[len(inputs) + len(before) : len(joined) - len(after)]
    return [*inputs, *before, *between, *after]


def _named(part: Sequence[Vertex], prefix: str) -> list[Vertex]:
    return [dataclasses.replace(v, name=f"{prefix}.{v.name}") for v in part if v.kind != "input"]
