"""Inputs of the network that requests are about, and which may change for that reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from naivegraph.edits.request.requests import Frozen, Inputs, RequestLike, as_mapping
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.operators.relation import InputTensor, tensors_in

__all__ = ["asked_inputs"]


def asked_inputs(graph: Graph, requests: Mapping[Any, RequestLike] | None) -> set[InputTensor]:
    """The tensors of inputs that requests would change, by an input's name or as the inputs of a vertex.

    Raises:
        EditError: One holds integers, which are indices into a table.
    """
    places = {
        stub.id: (vertex.name, index)
        for vertex in graph.inputs
        for index, stub in enumerate(tensors_in(vertex.output))
    }
    found: set[InputTensor] = set()
    for stub in _asked(graph, requests):
        if stub.id not in places:
            continue
        if not (stub.dtype.is_floating_point or stub.dtype.is_complex):
            kind = str(stub.dtype).removeprefix("torch.")
            raise EditError(
                f"the input {places[stub.id][0]!r} cannot be resized: it holds numbers of type {kind}, such "
                "as places in a table, which are no neurons; resize the layer that reads it, such as an "
                "embedding"
            )
        found.add(places[stub.id])
    return found


def _asked(graph: Graph, requests: Mapping[Any, RequestLike] | None) -> Iterator[Stub]:
    """The tensors that requests would change; none of vertices that do not exist, which is told later."""
    for key, asked in as_mapping(requests).items():
        name = key.name if isinstance(key, Vertex) else key
        if name not in graph:
            continue
        vertex = graph[name]
        for request in asked:
            if isinstance(request, Inputs):
                sources = tensors_in([vertex.args, vertex.kwargs])
                entries = zip(sources, request.entries, strict=False)
                yield from (
                    source for source, entry in entries if not isinstance(entry, (Frozen, type(None)))
                )
            elif not isinstance(request, Frozen):
                yield from tensors_in(vertex.output)[:1]
