"""Statistics of batch norms measured anew on data."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from naivegraph.calibration import Calibration
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.run.batch_norm_calls import BatchNormCall, batch_norm_call
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.network import Graph

__all__ = ["repair_norms"]


class _Statistics:
    """Means and variances of batches, weighted by their number of values."""

    def __init__(self, norm: BatchNormCall) -> None:
        self._mean, self._var = norm.mean, norm.var
        self._count = 0
        self._sums = [torch.zeros((), dtype=torch.float64) for _ in range(2)]

    def add(self, value: torch.Tensor) -> None:
        """Take the values of a batch in."""
        channels = value.transpose(0, 1).flatten(1).double()
        count = channels.shape[1]
        self._count += count
        for number, found in enumerate((channels.mean(1), channels.var(1))):
            self._sums[number] = self._sums[number].to(found.device) + count * found

    def write(self) -> None:
        """Make them the running statistics."""
        for running, found in zip((self._mean, self._var), self._sums, strict=True):
            if running is not None:
                running.copy_(found / self._count)


class _OfBatch(Interpreter):
    """A run in which batch norms that keep statistics normalise by those of the batch."""

    def __init__(self, graph: Graph, norms: dict[str, BatchNormCall], found: dict[int, _Statistics]) -> None:
        super().__init__(graph)
        self._norms, self._found = norms, found

    def _call(self, vertex: Vertex) -> Any:
        norm = self._norms.get(vertex.name)
        if norm is None:
            return super()._call(vertex)
        value = self._tensors[norm.input.id]
        self._found[id(norm.mean)].add(value)
        return F.batch_norm(value, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


@torch.no_grad()
def repair_norms(graph: Graph, data: Any) -> None:
    """Measure the running statistics of batch norms anew, in place.

    As in a run in train mode each norm gets what comes of the norms before it, normalised by the statistics
    of the batch.

    Args:
        graph: The graph.
        data: Batches of inputs.

    Raises:
        EditError: There is no batch norm with running statistics, or the data does not fit.
    """
    found: dict[int, _Statistics] = {}
    norms: dict[str, BatchNormCall] = {}
    for vertex in graph:
        norm = batch_norm_call(graph, vertex)
        if norm is not None and norm.mean is not None and norm.var is not None and not norm.computed:
            norms[vertex.name] = norm
            found.setdefault(id(norm.mean), _Statistics(norm))
    if not norms:
        raise EditError(
            "the network has no batch norms with running statistics, which could be measured: leave data= out"
        )
    batches = Calibration(graph, data)
    with batches.evaluating():
        for batch in batches:
            batches.run(batch, _OfBatch(graph, norms, found))
    for statistics in found.values():
        statistics.write()
