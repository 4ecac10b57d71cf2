"""Snapshots of a graph, to take back a change of it."""

from __future__ import annotations

from naivegraph.ir.recording import Recording
from naivegraph.undo import Undo

__all__ = ["snapshot"]


def snapshot(graph: Recording) -> Undo:
    """A function that restores vertices, their arguments, the state's names and the output as they are now.

    It is cheap, as values are shared: changes of a graph replace values and never change them. The module's
    tensors, attributes and submodules are not part of it.
    """
    vertices = list(graph.vertices)
    inside = [
        (v, v.name, v.target, v.path, v.args, v.kwargs, v.output, v.operations, v.where, v.stale)
        for v in vertices
    ]
    attributes = {name: value for name, value in vars(graph).items() if name != "vertices"}
    listed, inputs = graph.vertices, list(graph.inputs)

    def restore() -> None:
        """Restore the graph."""
        for vertex, name, target, path, args, kwargs, output, operations, where, stale in inside:
            vertex.name, vertex.target, vertex.path, vertex.where = name, target, path, where
            vertex.args, vertex.kwargs, vertex.output, vertex.operations = args, kwargs, output, operations
            vertex.stale = stale
        for name in vars(graph).keys() - attributes.keys() - {"vertices"}:
            del vars(graph)[name]
        vars(graph).update(attributes)
        listed[:] = vertices
        graph.vertices = listed
        graph.inputs[:] = inputs

    return restore
