"""The list of tensors that a vertex takes, such as the parts of a concatenation."""

from __future__ import annotations

from typing import Any

from naivegraph.errors import EditError
from naivegraph.graph.mutate import changed
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.undo import UndoLog

__all__ = ["add_part", "is_empty_part", "parts_of", "remove_part"]


def parts_of(vertex: Vertex) -> list[Any]:
    """The tensors of a vertex that takes a list of them (a concatenation).

    Raises:
        EditError: It takes no list of tensors, or several.
    """
    return list(_parts(vertex)[1])


def is_empty_part(part: Stub) -> bool:
    """Tell whether a part is an empty vector, which torch lets be concatenated with tensors of any shape."""
    return tuple(part.shape) == (0,)


def _parts(vertex: Vertex) -> tuple[int | str, Any]:
    """Position or name of the one argument that is a list of tensors, and the list."""
    arguments: list[tuple[int | str, Any]] = [*enumerate(vertex.args), *vertex.kwargs.items()]
    found = [
        (key, value)
        for key, value in arguments
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Stub) for item in value)
    ]
    if len(found) != 1:
        raise EditError(f"{vertex.name!r} does not take one list of tensors")
    return found[0]


def add_part(
    graph: Recording, vertex: Vertex, part: Stub, index: int | None = None, *, undo: UndoLog | None = None
) -> None:
    """Add a tensor to the list a vertex takes, at `index` (the end by default).

    Raises:
        NaivegraphError: The vertex takes no list, or the tensor is made too late.
    """
    parts = parts_of(vertex)
    if index is not None and not 0 <= index <= len(parts):
        raise EditError(f"{vertex.name!r} has {len(parts)} parts, so there is no place {index}")
    parts.insert(len(parts) if index is None else index, part)
    _set_parts(graph, vertex, parts, undo)


def remove_part(graph: Recording, vertex: Vertex, index: int, *, undo: UndoLog | None = None) -> None:
    """Take the tensor at `index` from the list a vertex takes.

    Raises:
        NaivegraphError: The vertex takes no list, there is no such part, or it is the only one.
    """
    parts = parts_of(vertex)
    if not 0 <= index < len(parts) or len(parts) == 1:
        raise EditError(f"{vertex.name!r} has {len(parts)} parts; part {index} cannot be removed")
    del parts[index]
    _set_parts(graph, vertex, parts, undo)


def _set_parts(graph: Recording, vertex: Vertex, parts: list[Any], undo: UndoLog | None) -> None:
    key, before = _parts(vertex)
    new = tuple(parts) if isinstance(before, tuple) else parts
    with changed(graph, undo):
        if isinstance(key, str):
            vertex.kwargs = {**vertex.kwargs, key: new}
        else:
            vertex.args = (*vertex.args[:key], new, *vertex.args[key + 1 :])
