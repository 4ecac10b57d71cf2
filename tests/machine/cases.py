"""Starts of walks: random graphs, and networks around each layer and function of the operators' tables."""

from __future__ import annotations

import random

import torch

from naivegraph.network import capture
from tests.machine.random_graphs import Case, random_case
from tests.operators import images, tokens, vectors
from tests.operators.table import Entry, between

__all__ = ["FREE", "table_case", "walk_case"]

# Rows through which all neurons may change; with a repeatable result, unlike those that draw numbers, and
# which torch can copy after training, unlike masks and old norms of weights that hooks work out; nor those
# that choose by all neurons together (a codebook), or have no derivative.
_LEFT_OUT = ("floor_divide", "random", "torch.nn.utils.prune", " old", "AdaptiveLogSoftmax", "vq")
FREE: tuple[Entry, ...] = tuple(
    row
    for row in (*images.ROWS, *vectors.ROWS, *tokens.ROWS)
    if row.expected == "free" and not any(word in row.name for word in _LEFT_OUT)
)


def walk_case(rng: random.Random) -> Case:
    """A random graph, or now and then the network of a row of the tables."""
    return table_case(rng, rng.choice(FREE)) if rng.random() < 0.2 else random_case(rng)


def table_case(rng: random.Random, row: Entry) -> Case:
    """The network of a row: a layer, what the row has, and a layer."""
    seed = rng.randrange(2**31)
    net, x = between(row, torch.float64)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.is_floating_point() and parameter.dim() > 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return Case(capture(net, x), x, "row", f"row {row.name}")
