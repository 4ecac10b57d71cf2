"""Numbers that the vertices of a graph are called with, replaced where an attribute behind them changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from naivegraph.edits.plan.fill import NumberChange
from naivegraph.ir.pytree import map_leaves
from naivegraph.ir.vertex import Vertex

__all__ = ["replace_numbers"]


def replace_numbers(vertices: Iterable[Vertex], changes: Sequence[NumberChange]) -> None:
    """Call vertices with other numbers."""
    by_name = {vertex.name: vertex for vertex in vertices}
    for change in changes:
        vertex = by_name.get(change.vertex)
        if vertex is None:
            continue

        def other(leaf: Any, change: NumberChange = change) -> Any:
            """Return the number afterwards in place of the one before."""
            return change.after if type(leaf) is float and leaf == change.before else leaf

        vertex.args, vertex.kwargs = map_leaves(vertex.args, other), map_leaves(vertex.kwargs, other)
        vertex.stale = True
