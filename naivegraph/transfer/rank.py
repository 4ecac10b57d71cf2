"""Another rank of two linear maps in a row, such as the pairs of low-rank adapters."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.start import Start
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize import carry_out
from naivegraph.edits.resize_program.strategy import Decision
from naivegraph.edits.structure.vertices import vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.network import Graph
from naivegraph.solvers.budget import Certificate
from naivegraph.transfer.linear_pair import LinearPair, linear_pair
from naivegraph.transfer.rearrange import check
from naivegraph.widths import Width, constraints_of, relate

__all__ = ["rank"]

Weights = torch.Tensor


@graph_verb
def rank(model: Graph, ranks: Mapping[Any, int], *, optimizer: Any = None, seed: int = 0) -> Edit:
    """Change the number of neurons between two linear layers without a function between them, in place.

    More neurons start without effect. Fewer are combinations of all of them, by which the product of the two
    weights stays as near as can be: its truncated singular value decomposition (Eckart and Young, "The
    approximation of one matrix by another of lower rank", Psychometrika 1936), rather than some of its rows.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        ranks: The number of neurons by vertex, the first layer of each pair, or by a pattern of names such
            as `"*.lora_A.*"`; a later one wins.
        optimizer: An optimizer (or several) whose state follows; that of combined neurons starts anew.
        seed: For the weights of new neurons.

    Returns:
        The edit. Its notes tell how far each product of weights is from what it was, relative to its size.

    Raises:
        EditError: A vertex is not the first of such a pair, or a pattern matches none; everything is as it
            was.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(6, 4, bias=False), torch.nn.Linear(4, 5))
        >>> x = torch.randn(3, 6)
        >>> net[0].weight.data[3] = net[0].weight.data[:3].sum(0)  # the product has a rank of three
        >>> before = net(x)
        >>> edit = ng.transfer.rank(net, x, {"0": 3})
        >>> net[0].out_features, torch.allclose(net(x), before, atol=1e-5)
        (3, True)
    """
    asked = validate.mapping(ranks, "ranks", "by vertex, as in {'lora_A': 4}")
    widths = relate(model, free_outputs=True)
    constraints = constraints_of(widths)
    kept: dict[Width, Any] = {}
    new: dict[Width, int] = {}
    smaller: list[tuple[LinearPair, int]] = []
    for vertex, number in _by_vertex(model, asked):
        size = validate.whole(number, f"the rank of {vertex.name}", 1)
        pair = linear_pair(widths, vertex)
        more = size - pair.width.size
        kept[pair.width] = np.arange(pair.width.size) if more >= 0 else np.zeros(0, np.int64)
        new[pair.width] = more if more >= 0 else size
        if more < 0:
            smaller.append((pair, size))
    check(widths, constraints, kept, new)
    found = [(pair, *_truncated(model, pair, size)) for pair, size in smaller]
    edit = carry_out(
        model,
        widths,
        constraints,
        Decision(kept, new, Certificate(0.0, 0.0), weighed=False),
        {str(getattr(key, "name", key)): number for key, number in asked.items()},
        optimizer=optimizer,
        seed=seed,
        adjust=functools.partial(_with_starts, found=found),
    )
    told = tuple(
        f"The product of the weights at {pair.vertex.name} differs by {error:.2g} of its size: "
        f"{pair.width.size} neurons became {len(one[0])} combinations of them."
        for pair, one, _, error in found
    )
    return dataclasses.replace(edit, notes=(*edit.notes, *told)) if told else edit


def _by_vertex(graph: Graph, ranks: Mapping[Any, Any]) -> list[tuple[Vertex, Any]]:
    """The ranks of single vertices."""
    found: dict[str, Any] = {}
    for key, number in ranks.items():
        several = isinstance(key, str) and key not in graph and any(sign in key for sign in "*?[")
        vertices = graph.find(key) if several else [vertex_of(graph, key)]
        if not vertices:
            raise EditError(f"no vertex has a name like {key!r}; see graph.summary() for names")
        found.update({vertex.name: number for vertex in vertices})
    return [(graph[name], number) for name, number in found.items()]


def _rows(graph: Graph, pair: LinearPair) -> tuple[Weights, Weights]:
    """The weights (and bias) of the first layer, and those of the second one, a row for each neuron."""
    parts = []
    for entries in (pair.writers, pair.readers):
        tensors = [graph.tensor(name).detach().double().movedim(dim, 0) for name, dim in entries]
        parts.append(torch.cat([tensor.reshape(len(tensor), -1) for tensor in tensors], 1).cpu())
    return parts[0], parts[1]


def _truncated(graph: Graph, pair: LinearPair, size: int) -> tuple[Weights, Weights, float]:
    """For each old neuron (row) and new one (column) its weight in the first and in the second layer.

    Also the error: what the product of weights loses, relative to its size.
    """
    first, second = _rows(graph, pair)  # the product is second.T @ first
    r, s = torch.linalg.qr(first.T).R, torch.linalg.qr(second.T).R
    u, values, v = torch.linalg.svd(s @ r.T, full_matrices=False)
    whole = float(values.norm())
    error = float(values[size:].norm()) / whole if whole else 0.0
    root = values[:size].sqrt()
    # What has no effect keeps a direction in the first layer, so that it can learn.
    idle = values[:size] <= 1e-12 * whole
    scale = torch.where(idle, first.norm() / len(first) ** 0.5, root)
    inverse_r, inverse_s = torch.linalg.pinv(r), torch.linalg.pinv(s)
    own = inverse_r @ (v.T[:, :size] * scale)
    return own, inverse_s @ (u[:, :size] * torch.where(idle, 0.0, root)), error


def _with_starts(change: Change, found: list[tuple[LinearPair, Weights, Weights, float]]) -> Change:
    keys = {each.name: key for key, each in change.widths.items()}
    starts = [
        start
        for pair, first, second, _ in found
        for entries, weights in ((pair.writers, first), (pair.readers, second))
        for start in _starts(entries, weights, keys[pair.width.name])
    ]
    outgoing = tuple(each for each in change.outgoing if not _combined(each.widths, found, keys))
    return dataclasses.replace(change, starts=(*change.starts, *starts), outgoing=outgoing)


def _combined(
    named: tuple[str, ...], found: list[tuple[LinearPair, Weights, Weights, float]], keys: Mapping[str, str]
) -> bool:
    """Tell whether entries are those of neurons that became combinations, which act from the start."""
    return any(keys[pair.width.name] in named for pair, *_ in found)


def _starts(entries: tuple[tuple[str, int], ...], weights: Weights, key: str) -> Iterator[Start]:
    every, columns = np.arange(len(weights)), weights.T.numpy()
    for name, dim in entries:
        sums = tuple((every, np.array(column)) for column in columns)
        yield Start(name, dim, key, sums, np.arange(len(columns)))
