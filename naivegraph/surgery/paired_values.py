"""Hidden values of two networks on the same data, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from naivegraph.calibration import Calibration
from naivegraph.graph.run.hidden_values import hidden_values
from naivegraph.network import Graph

__all__ = ["paired_values"]

Values = dict[str, torch.Tensor]


def paired_values(
    one: Graph, first: Sequence[str], other: Graph, second: Sequence[str], data: Any
) -> Iterator[tuple[Values, Values]]:
    """The values of vertices of two networks, batch by batch, in eval mode.

    The data is gone through once, so that shuffled and augmented batches are the same for both. Networks
    that are one are run once.

    Args:
        one: The first graph.
        first: Names of its vertices.
        other: The second graph, which may be the first.
        second: Names of its vertices.
        data: The batches, as `calibration=` takes them.

    Raises:
        EditError: There are no batches, or one does not fit the inputs of a network.
    """
    batches, theirs = Calibration(one, data, "data"), Calibration(other, [], "data")
    both = [*dict.fromkeys((*first, *second))] if other is one else [*first]
    for batch in batches:
        with torch.no_grad(), batches.evaluating():
            mine = hidden_values(one, batch.inputs, both, one.interventions)
        if other is one:
            yield {name: mine[name] for name in first}, {name: mine[name] for name in second}
            continue
        again = theirs.read(batch.number, batch.given)
        with torch.no_grad(), theirs.evaluating():
            values = hidden_values(other, again.inputs, second, other.interventions)
        yield mine, values
