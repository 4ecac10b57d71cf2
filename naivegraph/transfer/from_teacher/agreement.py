"""Agreement of two networks: their outputs on the same samples, or how alike both find these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from naivegraph.calibration import CalibrationBatch
from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.ir.pytree import pairs, stubs_in
from naivegraph.ir.values import Stub
from naivegraph.network import Graph

__all__ = ["agreement", "output_rows", "rows_of", "similarity_agreement", "thinned"]

_ROWS = 512


def agreement(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """The correlation of the outputs of two networks, each feature taken around its mean.

    1 says that they are equal but for their scale and mean.

    Args:
        mine: `[rows, features]`.
        theirs: Those of the other network, of the same shape.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
        >>> round(agreement(2 * rows, rows), 6), round(agreement(rows.flip(1), rows), 6)
        (1.0, 0.090909)
    """
    one, two = (rows.double() - rows.double().mean(0) for rows in (mine, theirs))
    size = float(one.norm() * two.norm())
    return float((one * two).sum()) / size if size else float(torch.equal(one, two))


def similarity_agreement(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """The correlation of the similarities (cosines) of all pairs of outputs in one network with the other's.

    1 says that both find the same samples alike, whatever the features of their outputs are.

    Args:
        mine: `[rows, features]`.
        theirs: Those of the other network, of as many rows.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
        >>> round(similarity_agreement(2 * rows.flip(1), rows), 6)
        1.0
    """
    one, two = _similarities(mine), _similarities(theirs)
    if float(one.std()) < 1e-9 or float(two.std()) < 1e-9:
        return 1.0 if torch.allclose(one, two, atol=1e-6) else 0.0
    return float(torch.corrcoef(torch.stack([one, two]))[0, 1])


def _similarities(rows: torch.Tensor) -> torch.Tensor:
    """The cosines of all pairs of rows."""
    unit = torch.nn.functional.normalize(rows.double() - rows.double().mean(0), dim=1)
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    return (unit @ unit.T)[first, second]


def output_rows(graph: Graph, batches: Sequence[CalibrationBatch]) -> torch.Tensor:
    """The first tensor of real numbers that a network returns, on batches: `[rows, features]`.

    A row is one sample, or one place of a sample (a token, a pixel); of many, some.

    Raises:
        EditError: It returns no tensor of real numbers.
    """
    number, dim = _first_output(graph)
    with preserved(graph.module), torch.no_grad():
        found = [rows_of(Interpreter(graph).run(dict(batch.inputs)), graph, number, dim) for batch in batches]
    return thinned(torch.cat(found))


def thinned(rows: torch.Tensor) -> torch.Tensor:
    """Some of many rows, evenly."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).long()]


def _first_output(graph: Graph) -> tuple[int, int]:
    """The number of the first real tensor that a graph returns, and the dimension of its features."""
    dims = neuron_dimensions(graph)
    for stub in stubs_in(graph.output):
        if stub.dtype.is_floating_point and len(stub.shape) > 1:
            return stub.id, dims.get(tensor_key(stub), len(stub.shape) - 1)
    raise EditError("the network returns no tensor of real numbers by sample, so there is none to compare")


def rows_of(output: Any, graph: Graph, number: int, dim: int) -> torch.Tensor:
    """The rows of one tensor of an output."""
    for stub, tensor, _ in pairs(graph.output, output):
        if isinstance(stub, Stub) and stub.id == number:
            assert isinstance(tensor, torch.Tensor)
            return tensor.movedim(dim, -1).reshape(-1, tensor.shape[dim])
    raise AssertionError("the output is another than the recorded one")
