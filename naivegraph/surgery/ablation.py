"""Interventions to be made at a vertex: its value replaced, added to, or some of its neurons ablated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from naivegraph.calibration import Calibration
from naivegraph.edits.structure.vertices import neuron_dimension, output_of
from naivegraph.errors import EditError
from naivegraph.graph.run.interventions import Intervention
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph

__all__ = ["Ablate", "Add", "Replace", "ablate", "add", "intervention_at", "replace"]


@dataclasses.dataclass(frozen=True, eq=False)
class Replace:
    """Another value in the place of a vertex's own."""

    value: Any

    def at(self, graph: Graph, vertex: Vertex) -> Intervention:
        """The intervention at a vertex."""
        return lambda value: self.value


@dataclasses.dataclass(frozen=True, eq=False)
class Add:
    """Something added to the tensor of a vertex."""

    value: torch.Tensor | float

    def at(self, graph: Graph, vertex: Vertex) -> Intervention:
        """The intervention at a vertex.

        Raises:
            EditError: It gives several tensors, or none.
        """
        output_of(vertex)
        return lambda value: value + self.value


@dataclasses.dataclass(frozen=True, eq=False)
class Ablate:
    """Neurons of a vertex without what tells samples apart."""

    neurons: tuple[int, ...] | None
    by: str | float
    data: Any

    def at(self, graph: Graph, vertex: Vertex) -> Intervention:
        """The intervention at a vertex; means of data are worked out now.

        Raises:
            EditError: The vertex gives no single tensor with such neurons, or the data does not fit.
        """
        dim, size = neuron_dimension(graph, vertex), graph.sizes[vertex.name]
        for neuron in self.neurons or ():
            if not -size <= neuron < size:
                raise EditError(f"{vertex.name!r} has {size} neurons, so there is no neuron {neuron}")
        known = None if self.by != "mean" or self.data is None else _mean(graph, vertex, dim, self.data)
        return lambda value: self._ablated(value, dim, known)

    def _ablated(self, value: torch.Tensor, dim: int, known: torch.Tensor | None) -> torch.Tensor:
        if self.by != "mean":
            fill = torch.full((), float(self.by), dtype=value.dtype, device=value.device)
        else:
            others = [d for d in range(value.dim()) if d != dim]
            fill = value.mean(others, keepdim=True) if others else value
            if known is not None:
                fill = known.to(value).reshape(fill.shape)
        if self.neurons is None:
            return fill.expand_as(value)
        gone = torch.zeros(value.shape[dim], dtype=torch.bool, device=value.device)
        gone[list(self.neurons)] = True
        return torch.where(gone.reshape([-1 if d == dim else 1 for d in range(value.dim())]), fill, value)


def replace(value: Any) -> Replace:
    """Put another value in the place of a vertex's own; a tensor alone means the same.

    Args:
        value: A value of the same structure, shapes and types as the vertex gives.
    """
    return Replace(value)


def add(value: torch.Tensor | float) -> Add:
    """Add something to what a vertex gives, such as a direction that steers a network.

    Args:
        value: A number, or a tensor that broadcasts to the vertex's: `[neurons]` where these are last.

    Raises:
        EditError: It is neither.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.Tensor)):
        raise EditError(f"surgery.add takes a tensor or a number, not {value!r}")
    return Add(value)


def ablate(
    neurons: Sequence[int] | int | None = None, *, by: str | float = "zero", data: Any = None
) -> Ablate:
    """Ablate neurons of a vertex: all of its values for them become one number.

    Args:
        neurons: Their numbers, as counted by `graph.sizes`, from 0 or, negative, from the end; by default
            all of them.
        by: "zero"; "mean": the mean of each neuron over all samples and places; or a number.
        data: For "mean": batches of inputs, over which the mean is taken when the block begins, in eval mode;
            see `naivegraph.calibration`. By default it is taken over each batch that is run.

    Raises:
        EditError: An argument makes no sense.
    """
    if isinstance(by, bool) or not (by in ("zero", "mean") or isinstance(by, (int, float))):
        raise EditError(f"surgery.ablate: by={by!r}: give 'zero', 'mean' or a number")
    if data is not None and by != "mean":
        raise EditError(f"surgery.ablate: data= is for by='mean', not for by={by!r}")
    numbers = None if neurons is None else (neurons,) if isinstance(neurons, int) else tuple(neurons)
    for number in numbers or ():
        if isinstance(number, bool) or not isinstance(number, int):
            raise EditError(f"surgery.ablate takes the numbers of neurons, not {number!r}")
    if numbers == ():
        raise EditError("surgery.ablate was given no neuron; leave neurons= out for all of them")
    return Ablate(numbers, 0.0 if by == "zero" else by, data)


def _mean(graph: Graph, vertex: Vertex, dim: int, data: Any) -> torch.Tensor:
    """The mean of each neuron over all samples and places of some data, in eval mode."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    batches = Calibration(graph, data)
    with torch.no_grad(), batches.evaluating():
        for batch in batches:
            value = graph.run(dict(batch.inputs), [vertex.name])[vertex.name].double()
            others = [d for d in range(value.dim()) if d != dim]
            total = total.to(value.device) + value.sum(others)
            count += value.numel() // value.shape[dim]
    return total / count


def intervention_at(graph: Graph, vertex: Vertex, given: Any) -> Intervention:
    """The intervention at a vertex, from what a user gave.

    Raises:
        EditError: It is nothing that could be done there.
    """
    if isinstance(given, (Replace, Add, Ablate)):
        return given.at(graph, vertex)
    if isinstance(given, torch.Tensor):
        return Replace(given).at(graph, vertex)
    if callable(given):
        function: Callable[[Any], Any] = given
        return function
    raise EditError(
        f"at {vertex.name!r} there is a {type(given).__name__}: give a tensor, a function of the value, "
        "or one of ng.surgery.replace, add and ablate"
    )
