"""What neurons are worth, told vertex by vertex."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.utility.scores import weights
from naivegraph.utility.utility import Floats, by_row, collect, per_atom, utilities
from naivegraph.widths import Width, Widths

__all__ = ["neuron_values"]


def neuron_values(widths: Widths, utility: Any) -> dict[Width, Floats]:
    """One number per neuron of every width, of a width in `widths.outer` an array [rows, neurons].

    Args:
        widths: The widths of a graph.
        utility: "magnitude" (the mean absolute weight) or another criterion's name; a number for every
            neuron; a function of a vertex, or a dict by vertex name, which gives an array of the vertex's
            output size, a number, or None for "nothing to say". What several vertices say of the same
            neurons is added up.

    Raises:
        EditError: A value is not finite or has the wrong length, or a name is unknown.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> from naivegraph.widths import relate
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
        >>> found = neuron_values(relate(capture(net, torch.ones(1, 2))), {"0": [1.0, 5.0, 2.0]})
        >>> [values.tolist() for values in found.values()]
        [[1.0, 5.0, 2.0]]
    """
    if utility == "magnitude":
        return collect(widths, weights(widths.graph.module), how="mean")
    if isinstance(utility, str):
        return utilities(widths, utility)
    if isinstance(utility, numbers.Real):
        return {w: by_row(widths, w, np.full(w.size, float(utility))) for w in widths.widths}
    if isinstance(utility, Mapping):
        unknown = utility.keys() - {vertex.name for vertex in widths.graph.vertices}
        if unknown:
            raise EditError(f"utility= names {min(unknown)!r}, and the graph has no vertex of that name")
        return _told(widths, lambda vertex: utility.get(vertex.name))
    if callable(utility):
        return _told(widths, utility)
    raise EditError(
        f"utility= is a name, a number, a function of a vertex or a dict, not {type(utility).__name__}"
    )


def _told(widths: Widths, ask: Callable[[Vertex], Any]) -> dict[Width, Floats]:
    out = {width: by_row(widths, width, np.zeros(width.size)) for width in widths.widths}
    for vertex in widths.graph.vertices:
        given = ask(vertex)
        if given is None:
            continue
        axis = widths.output_axis(vertex)
        values = np.asarray(given, np.float64)
        values = np.full(axis.length, float(values)) if values.ndim == 0 else values
        if values.shape != (axis.length,):
            raise EditError(f"the utility of {vertex.name} has shape {values.shape}, not ({axis.length},)")
        if not np.isfinite(values).all():
            raise EditError(f"the utility of {vertex.name} is not finite")
        for atom, part in per_atom(axis, values, widths.outer).items():
            if atom in widths.by_atom:
                out[widths.by_atom[atom]] += part
    return out
