"""The average of two networks of one structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.network import Graph
from naivegraph.surgery.align import graph_of
from naivegraph.surgery.paired_state import network_of, paired_state
from naivegraph.surgery.repaired_norms import repair_norms

__all__ = ["average"]

Model = TypeVar("Model", bound="nn.Module | Graph")


@torch.no_grad()
def average(
    one: Model,
    two: nn.Module | Graph,
    weight: float = 0.5,
    *,
    data: Any = None,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Model:
    """Average two networks of one structure in a new one; `align` puts them in one order before.

    The hidden values of an average vary less than those of either network, which the statistics of batch
    norms do not know of. With data they are measured anew (Jordan, Sedghi, Saukh, Entezari and Neyshabur,
    "REPAIR: renormalizing permuted activations for interpolation repair", ICLR 2023, of networks with batch
    norms).

    Args:
        one: A network, or its graph.
        two: Another one of the same structure.
        weight: The share of the second, from 0 to 1; others extrapolate.
        data: Batches of inputs for the statistics of batch norms; see `naivegraph.calibration`. Without, they
            are averaged, too.
        example: An example of the inputs, where data is given and no graph.
        kwargs: Keyword inputs of the example.

    Returns:
        A network like the first (or a graph of one), with its flags, and its whole numbers in buffers.

    Raises:
        EditError: The networks differ in structure, `weight` is no number, or the data does not fit or
            finds no batch norms.

    Example:
        >>> import naivegraph as ng
        >>> one, two = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> middle = ng.surgery.average(one, two, 0.25)
        >>> torch.allclose(middle.weight, 0.75 * one.weight + 0.25 * two.weight)
        True
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise EditError(f"weight= is the share of the second network, a number, not {weight!r}")
    first, second = network_of("surgery.average", one), network_of("surgery.average", two)
    paired_state(first, second)
    graph: Graph | None = one if isinstance(one, Graph) else None
    if data is not None and graph is None:
        graph = graph_of("surgery.average", one, (one, two), example, kwargs)
    made = None if graph is None else deep_copy(graph)
    module = deep_copy(first) if made is None else made.module
    for pair in paired_state(module, second):
        if pair.one.is_floating_point() or pair.one.is_complex():
            pair.one.copy_((1 - weight) * pair.one + weight * pair.two.to(pair.one))
    if data is not None and made is not None:
        repair_norms(made, data)
    result: Any = made if isinstance(one, Graph) else module
    return result  # type: ignore[no-any-return]
