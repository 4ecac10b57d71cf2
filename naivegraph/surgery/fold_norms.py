"""Folding of batch norms into the layers before them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.structure.fold import Folding, folding_of, is_norm
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.transaction import rewire
from naivegraph.edits.structure.vertices import output_of, vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.network import Graph
from naivegraph.surgery.example_outputs import example_outputs

__all__ = ["fold_norms"]


@graph_verb
def fold_norms(
    model: Graph, norms: str | Vertex | Sequence[str | Vertex] | None = None, *, optimizer: Any = None
) -> Edit:
    """Fold batch norms into the convolutions and linear layers before them, in place.

    In eval mode such a layer then computes what both did, but for rounding; a bias comes where there was
    none. Layers and functions alike are folded, transposed and grouped convolutions, too.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        norms: Vertices or patterns of their names. By default all batch norms that can be folded; notes of
            the edit tell why others stay.
        optimizer: An optimizer (or several) which follows: scales and shifts leave it, biases come.

    Returns:
        The edit; `edit.asked["fold_norms"]` has the layer that each norm went into.

    Raises:
        EditError: One of the norms asked for (without any: all of them) cannot be folded: it is in train
            mode, has no running statistics, something else uses what the layer gives, its weight is shared
            or worked out from others, or what comes before is no such layer. All is as it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8)).eval()
        >>> graph = ng.capture(net, torch.randn(2, 3, 8, 8))
        >>> edit = ng.surgery.fold_norms(graph)
        >>> edit.asked["fold_norms"], [name for name, _ in graph.to_module().named_parameters()]
        ({'1': '0'}, ['0.weight', '0.bias'])
        >>> edit.undo()
        >>> [name for name, _ in net.named_parameters()]
        ['0.weight', '1.weight', '1.bias']
    """
    foldings, notes = _foldings(model, norms)
    asked = {each.norm.vertex.name: each.layer.name for each in foldings}
    names = [f"{norm} into {layer}" for norm, layer in asked.items()]
    what = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    before = _outputs(model)
    edit = rewire(
        model,
        Change({}, {}, [], structure={"verb": "fold", "what": what}),
        [functools.partial(_fold, vertex=each.norm.vertex) for each in foldings],
        asked={"fold_norms": asked},
        optimizer=optimizer,
        notes=tuple(notes),
    )
    difference = _difference(before, _outputs(model))
    if difference is not None:
        edit.undo()
        raise EditError(
            f"with {what} folded the outputs on the example change by {difference:.1e} of the largest: is "
            "there a hook on a layer, or a value far too large? All is as it was"
        )
    return edit


def _fold(rewiring: Rewiring, vertex: Vertex) -> None:
    layer = folding_of(rewiring.graph, vertex, trained=False).layer
    rewiring.fold(vertex)
    rewiring.remove(vertex, output_of(vertex), output_of(layer))


def _foldings(graph: Graph, norms: Any) -> tuple[list[Folding], list[str]]:
    """The foldings to make, and why other norms stay."""
    if norms is not None:
        listed = [norms] if isinstance(norms, (str, Vertex)) else list(norms)
        wanted = dict.fromkeys(vertex for each in listed for vertex in _named(graph, each))
        return [folding_of(graph, vertex) for vertex in wanted], []
    found: list[Folding] = []
    reasons: list[str] = []
    for vertex in graph:
        if is_norm(graph, vertex):
            try:
                found.append(folding_of(graph, vertex))
            except EditError as error:
                reasons.append(str(error))
    if not found:
        raise EditError("; ".join(reasons) or "the network calls no batch norm that could be folded")
    return found, [f"{reason}." for reason in reasons]


def _named(graph: Graph, name: str | Vertex) -> list[Vertex]:
    """The vertices of a name, or the batch norms among those that fit a pattern."""
    if isinstance(name, Vertex) or not any(sign in name for sign in "*?["):
        return [vertex_of(graph, name)]
    found = [vertex for vertex in graph.find(name) if is_norm(graph, vertex)]
    if not found:
        raise EditError(f"{name!r} fits no batch norm of the graph")
    return found


def _outputs(graph: Graph) -> list[torch.Tensor]:
    """The tensors of real numbers that the graph gives for its example; none if it cannot run."""
    if any(parameter.is_meta for parameter in graph.parameters()) or not graph.example:
        return []
    return [out for out in example_outputs(graph) if out.is_floating_point()]


def _difference(before: list[torch.Tensor], after: list[torch.Tensor]) -> float | None:
    """The largest difference, relative to the largest value, if it is more than rounding makes."""
    for one, two in zip(before, after, strict=True):
        scale = float(one.abs().max()) if one.numel() else 0.0
        difference = float((one - two).abs().max()) / scale if scale else 0.0
        if difference > min(1e4 * torch.finfo(one.dtype).eps, 0.1):
            return difference
    return None
