"""The sensitivity of outputs to neurons, by SeReNe.

Tartaglione, Bragagnolo, Fiandrotti, Grangetto, "SeReNe: sensitivity-based regularization of neurons for
structured sparsity in neural networks", IEEE Transactions on Neural Networks and Learning Systems, 2021: the
sensitivity of a neuron is the mean, over outputs and samples, of the absolute derivative of an output by what
goes into the neuron's activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from naivegraph.edits.structure.vertices import neuron_dimension, output_of
from naivegraph.errors import EditError
from naivegraph.ir.pytree import leaves
from naivegraph.network import Graph
from naivegraph.tokens.networks import Networks

__all__ = ["graph_sensitivity", "sensitivity"]


def sensitivity(networks: Networks, inputs: Tensor) -> Tensor:
    """The sensitivity of the outputs to each neuron of networks.

    Args:
        networks: n networks.
        inputs: Samples for all, `[b, inputs, ...]`, or of each, `[n, b, inputs, ...]`.

    Returns:
        `[n, depth + 1, W]`; of a channel the sum over its pixels; 0 where there is no neuron.

    Raises:
        ValueError: The inputs are of another shape, or there are none.

    Example:
        >>> from naivegraph.tokens.frame import Frame
        >>> networks = Networks.empty(Frame("dense", 2, 1, depth=1, width=2), 1)
        >>> networks.operator[0, 0], networks.presence[0, 0, 0] = 1, True
        >>> networks.edges[0, 0, 0], networks.edges[0, 1, 0, 0] = True, True
        >>> networks.weights[0, 0, 0], networks.weights[0, 1, 0, 0] = 1.0, -3.0
        >>> sensitivity(networks, torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))[0].tolist()
        [[1.5, 0.0], [1.0, 0.0]]
    """
    frame = networks.frame
    followed = networks.replaced(weights=networks.weights.detach().requires_grad_())
    with torch.enable_grad():
        run = followed.run_hidden(inputs)
    count = run.outputs.shape[1]
    if count == 0:
        raise ValueError("there are no samples to take a mean over")
    found = torch.zeros_like(networks.bias)
    for output in range(frame.outputs):
        wanted = run.outputs[..., output].sum()
        slopes = torch.autograd.grad(wanted, run.hidden, retain_graph=True, allow_unused=True)
        for layer, slope in enumerate(slopes):
            if slope is not None:
                found[:, layer, : frame.width] += slope.abs().sum((1, *range(3, slope.dim()))) / count
    found[:, -1, : frame.outputs] = networks.presence[:, -1, : frame.outputs].to(found.dtype)
    return found / frame.outputs


def graph_sensitivity(graph: Graph, inputs: Any, vertices: Sequence[str] | None = None) -> dict[str, Tensor]:
    """The sensitivity of a captured network's outputs to the neurons of some vertices.

    Args:
        graph: The graph.
        inputs: One batch of inputs, as `graph.run` takes them; the first dimension is samples.
        vertices: Their names; by default all layers with parameters that give one tensor.

    Returns:
        By vertex, `[neurons]`; summed over positions. All numbers of the output count as outputs.

    Raises:
        EditError: A vertex gives no single floating tensor, or no output depends on it.
    """
    names = _layers(graph) if vertices is None else [graph[name].name for name in vertices]
    dims = {name: neuron_dimension(graph, graph[name]) for name in names}
    added: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        """An intervention that adds zeros, by which can be derived."""

        def plus_zeros(value: Tensor) -> Tensor:
            """The value, with zeros added."""
            if not value.is_floating_point():
                raise EditError(f"{name!r} gives {value.dtype}, by which nothing can be derived")
            added[name] = torch.zeros_like(value).requires_grad_()
            return value + added[name]

        return plus_zeros

    some = {name: keep(name) for name in names}
    graph.interventions.add(some)
    try:
        with torch.enable_grad():
            args = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, dict) else (inputs,)
            out = graph(*args, **(inputs if isinstance(inputs, dict) else {}))
    finally:
        graph.interventions.remove(some)
    numbers = [each for each in leaves(out) if isinstance(each, Tensor) and each.requires_grad]
    if not numbers:
        raise EditError("no output of the network can be derived by its neurons")
    outputs = torch.cat([each.reshape(len(each), -1) for each in numbers], 1)
    return _means(outputs, added, dims)


def _means(outputs: Tensor, added: dict[str, Tensor], dims: dict[str, int]) -> dict[str, Tensor]:
    """Means of absolute derivatives by neurons; each sample's outputs depend on its own values alone."""
    totals = {name: value.new_zeros(value.shape[dims[name]]) for name, value in added.items()}
    for column in outputs.unbind(1):
        slopes = torch.autograd.grad(column.sum(), list(added.values()), retain_graph=True, allow_unused=True)
        for (name, total), slope in zip(totals.items(), slopes, strict=True):
            if slope is not None:
                total += slope.abs().sum([d for d in range(slope.dim()) if d != dims[name]])
    return {name: total / outputs.numel() for name, total in totals.items()}


def _layers(graph: Graph) -> list[str]:
    """The layers with parameters that give one tensor of floating numbers."""
    found = []
    for vertex in graph.vertices:
        if vertex.kind == "layer" and any(True for _ in getattr(vertex.target, "parameters", tuple)()):
            try:
                stub = output_of(vertex)
            except EditError:
                continue
            if stub.shape:
                found.append(vertex.name)
    return found
