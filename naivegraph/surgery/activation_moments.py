"""Correlations between the hidden values of two networks of one structure, on the same inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from naivegraph.calibration import Calibration
from naivegraph.edits.plan.index_formula import Formula, formula_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.pytree import pairs
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.surgery.joint_moments import JointMoments
from naivegraph.surgery.matching import Matrix
from naivegraph.surgery.neuron_orders import NeuronOrders
from naivegraph.widths import Widths

__all__ = ["correlations"]

ROWS = 4096  # of each hidden value, in one batch


@dataclasses.dataclass(frozen=True, eq=False)
class _Tap:
    """A hidden value whose neurons are those of widths, along one dimension alone."""

    vertex: str
    at: int
    dim: int
    formula: Formula


def _correlation(moments: JointMoments) -> Matrix:
    """[neurons, neurons]: Pearson's correlation; 0 with neurons that never change."""
    scales = []
    for mean, products in ((moments.x_mean, moments.xx), (moments.y_mean, moments.yy)):
        variance = products.diagonal() / moments.rows
        still = variance <= 1e-12 * (variance + mean.square())
        scales.append(torch.where(still, 0.0, variance.clamp_min(1e-300).rsqrt()))
    found: Matrix = (moments.xy / moments.rows * torch.outer(*scales)).numpy()
    return found


def correlations(
    one: Graph, two: Graph, widths: Widths, orders: NeuronOrders, data: Any
) -> list[tuple[Formula, Matrix]]:
    """The correlation matrix of every hidden value whose neurons are of the widths to be put in order.

    Args:
        one: The first network.
        two: The second, of the same structure.
        widths: The widths of the first.
        orders: The widths to be put in order.
        data: Batches of inputs.

    Raises:
        EditError: There are no batches, one does not fit, or the networks call different vertices.
    """
    taps = _taps(widths, orders)
    for vertex in one:
        if vertex.name not in two:
            raise EditError(
                f"the networks differ: the second calls no {vertex.name!r}, which the first calls"
            )
    moments: dict[_Tap, JointMoments] = {}
    batches = Calibration(one, data)
    with torch.no_grad(), batches.evaluating(), Calibration(two, data).evaluating():
        for batch in batches:
            first = _Watch(one, taps)
            batches.run(batch, first.interpreter)
            second = _Watch(two, taps)
            second.interpreter.run(copy_tensors(dict(batch.inputs)))
            for tap, rows in first.rows.items():
                other = second.rows[tap]
                moments.setdefault(tap, JointMoments()).add(rows, other)
    return [(tap.formula, _correlation(found)) for tap, found in moments.items()]


class _Watch:
    """Rows of hidden values, gathered while a network runs."""

    def __init__(self, graph: Graph, taps: Mapping[str, list[_Tap]]) -> None:
        self._taps = taps
        self._vertices: dict[str, Vertex] = {vertex.name: vertex for vertex in graph}
        self.rows: dict[_Tap, torch.Tensor] = {}
        self.interpreter = Interpreter(graph, watch=self._see)

    def _see(self, name: str, value: Any) -> None:
        taps = self._taps.get(name)
        if taps is None:
            return
        tensors = [t for stub, t, _ in pairs(self._vertices[name].output, value) if isinstance(stub, Stub)]
        for tap in taps:
            rows = tensors[tap.at].movedim(tap.dim, -1)
            rows = rows.reshape(-1, rows.shape[-1])
            step = max(len(rows) // ROWS, 1)
            step += step > 1 and step % 2 == 0  # so that not the same columns of an image are seen
            self.rows[tap] = rows[::step].double().cpu()


def _taps(widths: Widths, orders: NeuronOrders) -> dict[str, list[_Tap]]:
    """The hidden values to look at, by the name of their vertex."""
    found: dict[str, list[_Tap]] = {}
    for vertex in widths.graph:
        stubs = [stub for stub, _, _ in pairs(vertex.output, vertex.output) if isinstance(stub, Stub)]
        for at, stub in enumerate(stubs):
            if not stub.dtype.is_floating_point:
                continue
            axes = widths.of(stub)
            dims = [d for d, axis in enumerate(axes) if any(atom in orders.keys for atom in axis.atoms())]
            if len(dims) == 1 and len(axes) == len(stub.shape):
                tap = _Tap(vertex.name, at, dims[0], formula_of(axes[dims[0]], orders.keys))
                found.setdefault(vertex.name, []).append(tap)
    return found
