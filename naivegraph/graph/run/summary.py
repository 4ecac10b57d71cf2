"""A graph as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from naivegraph.graph.torch_utils.torch_functions import function_name
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.vertex import Vertex
from naivegraph.tables import Column, TextTable, as_html

__all__ = ["summary", "summary_html", "target_name"]

_HEADER = ("name", "what", "output", "parameters")


def summary(graph: Recording) -> str:
    """A line per vertex (name, what it calls, shapes of its outputs, parameters), then the checks."""
    rows = [_HEADER, *(_row(vertex) for vertex in graph.vertices)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *_below(graph)])


def summary_html(graph: Recording) -> str:
    """The same as HTML."""
    rows = [_row(vertex) for vertex in graph.vertices]
    columns = [Column(heading, right=heading == "parameters") for heading in _HEADER]
    return as_html([TextTable(columns, rows), *_below(graph)])


def _below(graph: Recording) -> Iterator[str]:
    total = sum(parameter.numel() for parameter in graph.module.parameters())
    yield f"{len(graph.vertices)} vertices, {total:,} parameters"
    for check, result in graph.checks.items():
        yield f"{check}: {result}"


def _row(vertex: Vertex) -> tuple[str, str, str, str]:
    shapes = ["x".join(map(str, stub.shape)) or "scalar" for stub in stubs_in(vertex.output)]
    parameters = ""
    if isinstance(vertex.target, nn.Module):
        count = sum(parameter.numel() for parameter in vertex.target.parameters())
        parameters = f"{count:,}" if count else ""
    return vertex.name, target_name(vertex.target), ", ".join(shapes), parameters


def target_name(target: Any) -> str:
    """The name of the layer's class or of the function that a vertex calls; "input" for none."""
    if target is None:
        return "input"
    return type(target).__name__ if isinstance(target, nn.Module) else function_name(target)
