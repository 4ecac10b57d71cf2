"""Alignment of two trained networks of one structure, so that they can be averaged."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import EditError
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.ir.signature import nested_arguments
from naivegraph.network import Graph, capture
from naivegraph.surgery.activation_moments import correlations
from naivegraph.surgery.example_outputs import example_outputs
from naivegraph.surgery.matching import WeightMatch, matched
from naivegraph.surgery.neuron_orders import NeuronOrders
from naivegraph.surgery.paired_state import StatePair, network_of, paired_state
from naivegraph.undo import UndoLog
from naivegraph.widths import Width, Widths, constraints_of

__all__ = ["align", "graph_of"]


def align(
    one: nn.Module | Graph,
    two: nn.Module | Graph,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    data: Any = None,
    optimizer: Any = None,
) -> Edit:
    """Put the neurons of a network into the order of those that do the same in another, in place.

    The second network computes what it did, but for rounding, and is edited: its weights, and the state of
    optimizers, are in other places. The neurons that must move together, through residual streams,
    concatenations, heads and groups, are the widths of the graph; nothing has to be specified. Widths whose
    order matters to the network stay, of which notes of the edit tell.

    Args:
        one: The network whose order is taken, or its graph.
        two: The network that is put into that order, or its graph.
        example: An example of the inputs of both, as `ng.capture` takes it; not with a graph among them.
        kwargs: Keyword inputs of the example.
        data: Batches of inputs, on which activations are compared; see `naivegraph.calibration`. By default
            weights are.
        optimizer: An optimizer of the second network (or several) which follows.

    Returns:
        The edit of the second network; falsy if all neurons are in place.

    Raises:
        EditError: The networks differ in structure (the message names the first tensor or vertex), share
            parameters, or the data does not fit; all is as it was.
        MissingPackageError: scipy is not installed.

    Example:
        >>> import copy, naivegraph as ng
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> graph, order = ng.capture(net, torch.ones(1, 4)), torch.randperm(8)
        >>> other = copy.deepcopy(graph)
        >>> for tensor, dim in zip(other.parameters(), (0, 0, 1)):
        ...     tensor.data = tensor.data.index_select(dim, order)
        >>> edit = ng.surgery.align(graph, other)
        >>> all(map(torch.equal, graph.parameters(), other.parameters()))
        True
    """
    pairs = paired_state(network_of("surgery.align", one), network_of("surgery.align", two))
    if any(pair.one is pair.two for pair in pairs):
        raise EditError("the networks share parameters: align a copy (copy.deepcopy)")
    first, second = (graph_of("surgery.align", each, (one, two), example, kwargs) for each in (one, two))
    widths = second.widths
    chosen, notes = _symmetric(second, widths)
    orders = NeuronOrders(widths, chosen)
    weights = _weights(pairs, orders)
    before = weights.cosine()
    found = None if data is None else correlations(first, second, widths, orders, data)
    best = matched(weights, found).orders
    moved = {
        orders.widths[key]: order
        for key, order in best.orders.items()
        if not np.array_equal(order, np.arange(len(order)))
    }
    every = {width: np.arange(width.size) for width in moved}
    change = plan(widths, constraints_of(widths), every, order=moved)
    target = two if isinstance(two, Graph) else second.module
    after = _weights(pairs, best).cosine()
    told = f"The cosine of the angle between the weights went from {before:.3f} to {after:.3f}."
    asked = {"align": type(first.module).__name__, "by": "weights" if data is None else "activations"}
    return apply(change, target, optimizer=optimizer, asked=asked, notes=(told, *notes))


def graph_of(
    verb: str, model: nn.Module | Graph, both: tuple[Any, ...], example: Any, kwargs: Mapping[str, Any] | None
) -> Graph:
    """The graph of a network: itself, captured with the example of another graph, or with the one given.

    Raises:
        EditError: There is no example, or one beside a graph.
    """
    graphs = [each for each in both if isinstance(each, Graph)]
    if graphs and (example is not None or kwargs is not None):
        raise EditError("a graph has its example already: leave example= and kwargs= out")
    if isinstance(model, Graph):
        return model
    if graphs:
        flat = {**graphs[0].constants, **placed(graphs[0], copy_tensors(graphs[0].example))}
        return capture(model, *nested_arguments(graphs[0].module, flat))
    if example is None and kwargs is None:
        raise EditError(f"{verb} needs an example: ng.{verb}(one, two, x) where one(x) runs, or graphs")
    return capture(model, () if example is None else example, kwargs)


def _weights(pairs: list[StatePair], orders: NeuronOrders) -> WeightMatch:
    known = [pair for pair in pairs if pair.parameter and pair.name in orders.tensors]
    return WeightMatch({p.name: p.one for p in known}, {p.name: p.two for p in known}, orders)


def _symmetric(graph: Graph, widths: Widths) -> tuple[list[Width], list[str]]:
    """The widths whose neurons may come in any order, and why others stay.

    An operator in which the order of neurons matters, though some of them may go, is found by trying: with
    the neurons of a width in a random order the network must give the same.
    """
    ordered: dict[Any, str] = {}
    for axis, name in widths.relation.ordered:
        for atom in widths.relation.algebra.resolve(axis).atoms():
            ordered.setdefault(atom, name)
    notes = [
        f"{width.name} stays in order, which {ordered[width.atom]} reads."
        for width in widths
        if width.atom in ordered
    ]
    tried = [width for width in widths if width.atom not in ordered and width.size > 1]
    expected = example_outputs(graph)
    if _same_in_random_order(graph, widths, tried, expected):
        return tried, notes
    kept = []
    for width in tried:
        if _same_in_random_order(graph, widths, [width], expected):
            kept.append(width)
        else:
            notes.append(f"{width.name} stays in order: in another one the network gives something else.")
    return kept, notes


def _same_in_random_order(
    graph: Graph, widths: Widths, some: list[Width], expected: list[torch.Tensor]
) -> bool:
    orders, rng = NeuronOrders(widths, some), np.random.default_rng(0)
    for key, size in orders.sizes.items():
        orders.put(key, rng.permutation(size))
    with _in_order(graph.module, orders):
        found = example_outputs(graph)
    return all(_close(one, two) for one, two in zip(found, expected, strict=True))


@contextlib.contextmanager
def _in_order(module: nn.Module, orders: NeuronOrders) -> Iterator[None]:
    """Run a block with the neurons of a network in other orders."""
    state, undo = tensors_of(module), UndoLog()
    try:
        for name in orders.tensors:
            tensor = state[name]
            undo.push(functools.partial(setattr, tensor, "data", tensor.data))
            tensor.data = orders.permuted(name, tensor.data)
        yield
    finally:
        undo.undo()


def _close(one: torch.Tensor, two: torch.Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, two)
    scale = float(two.abs().max()) if two.numel() else 0.0
    precision = min(float(torch.finfo(one.dtype).eps) * 1e4, 0.05)
    return bool(((one - two).abs() <= precision * scale).all())
