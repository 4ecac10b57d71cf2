"""A walk as a graph: layers made, called on each other, and their shapes compared with those decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from naivegraph.errors import NaivegraphError, SchemaError
from naivegraph.graph.build.nodes import Node, input_node, layer
from naivegraph.ir.pytree import stubs_in
from naivegraph.network import Graph
from naivegraph.search.schema.drawn_step import DrawnStep
from naivegraph.search.schema.feature_shape import KnownShape
from naivegraph.search.schema.node_layers import channel_dropout
from naivegraph.search.schema.operation import NodeOperation

__all__ = ["write_graph", "write_nodes"]

_BATCH = 2


def write_graph(inputs: Mapping[str, KnownShape], steps: Sequence[DrawnStep], seed: int) -> Graph:
    """The graph of a walk, with weights of this seed; torch's random numbers are as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sources = [
            input_node(name, example=torch.randn(_BATCH, *known.sizes)) for name, known in inputs.items()
        ]
        written, names = write_nodes(sources, steps)
        ends = [written[number] for number, step in enumerate(steps) if step.end]
        graph = Graph(sources, ends)
    _check(graph, steps, names)
    return graph


def write_nodes(
    sources: Sequence[Node], steps: Sequence[DrawnStep]
) -> tuple[dict[int, Node], dict[int, str]]:
    """The value of each step (-1, -2... for the inputs), and the name of the last vertex of it.

    Raises:
        SchemaError: A layer cannot be made.
    """
    written: dict[int, Node] = {-1 - number: node for number, node in enumerate(sources)}
    names: dict[int, str] = {}
    for number, step in enumerate(steps):
        try:
            written[number], names[number] = _write(step, written)
        except NaivegraphError as error:
            raise SchemaError(f"{step.node}: {error}") from error
    return written, names


def _write(step: DrawnStep, written: dict[int, Node]) -> tuple[Node, str]:
    """Write one node of a walk; its value, and the name of the last vertex of it."""
    node, name, last = step.step.node, step.name, ""
    given = []
    for port, sources in step.sources.items():
        nodes = [written[source] for source in sources]
        value = nodes[0]
        if len(nodes) > 1:
            if node.merge is None:
                raise SchemaError(f"{name!r} takes {len(nodes)} tensors and has no merge=")
            last = f"{name}.{node.merge.word}" + (f"_{port}" if port else "")
            value = node.merge.write(nodes, step.plan.given[port].tokens, last)
        given.append(value)
    value = given[0]
    if isinstance(node.operation, NodeOperation):
        last = f"{name}.{node.operation.word}"
        value = node.operation.write(step.plan, given, last)
    for word, made in _layers(step):
        last = f"{name}.{word}"
        value = layer(made, value, name=last)
    return value, last


def _layers(step: DrawnStep) -> Sequence[tuple[str, nn.Module]]:
    """The layers after the operation."""
    node, layers = step.step.node, list[tuple[str, nn.Module]]()
    if node.norm is not None:
        layers.append(("norm", node.norm.make(step.plan.made)))
    if node.activation is not None:
        layers.append(("activation", node.activation.make(step.plan.made)))
    if node.channel_dropout:
        layers.append(("channel_dropout", channel_dropout(node.channel_dropout, step.plan.made)))
    if node.dropout:
        layers.append(("dropout", nn.Dropout(node.dropout)))
    return layers


def _check(graph: Graph, steps: Sequence[DrawnStep], names: dict[int, str]) -> None:
    """Compare the shapes of all nodes with those decided."""
    made: dict[str, KnownShape] = {names[n]: step.made for n, step in enumerate(steps) if names[n]}
    for vertex in graph.vertices:
        shape = made.get(vertex.name)
        found = [stub.shape[1:] for stub in stubs_in(vertex.output)][:1]
        if shape is not None and found and found[0] != shape.sizes:
            raise SchemaError(
                f"{vertex.name} gives {' x '.join(map(str, found[0]))}, not {shape} as its operation said: a "
                'module that changes spatial sizes needs search.module(..., spatial="measured"), one that '
                "changes channels a factory of two arguments"
            )
