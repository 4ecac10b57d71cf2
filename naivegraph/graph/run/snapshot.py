"""Remembering what a graph is made of, so that a change of it can be taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from naivegraph.ir.recording import Recording

__all__ = ["all_or_nothing", "snapshot"]


def snapshot(graph: Recording) -> Callable[[], None]:
    """What puts vertices, their arguments, the state's names and the output back as they are now.

    It is cheap: values are shared, and whatever changes a graph replaces them and never changes them. The
    module's tensors, attributes and submodules are not part of it.
    """
    vertices = list(graph.vertices)
    inside = [
        (v, v.name, v.target, v.path, v.args, v.kwargs, v.output, v.operations, v.where) for v in vertices
    ]
    attributes = {name: value for name, value in vars(graph).items() if name != "vertices"}
    listed, inputs = graph.vertices, list(graph.inputs)

    def restore() -> None:
        for vertex, name, target, path, args, kwargs, output, operations, where in inside:
            vertex.name, vertex.target, vertex.path, vertex.where = name, target, path, where
            vertex.args, vertex.kwargs, vertex.output, vertex.operations = args, kwargs, output, operations
        for name in vars(graph).keys() - attributes.keys() - {"vertices"}:
            del vars(graph)[name]
        vars(graph).update(attributes)
        listed[:] = vertices
        graph.vertices = listed
        graph.inputs[:] = inputs

    return restore


@contextlib.contextmanager
def all_or_nothing(graph: Recording) -> Iterator[Callable[[], None]]:
    """A block that changes a graph; gives what undoes it. If the block fails it is undone at once."""
    restore = snapshot(graph)
    try:
        yield restore
    except BaseException:
        restore()
        raise
