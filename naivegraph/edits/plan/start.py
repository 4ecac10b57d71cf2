"""The start of new neurons as combinations of old ones, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from naivegraph.edits.plan.index_formula import Floats, Indices
from naivegraph.edits.plan.plain import Plain, natural

__all__ = ["Start", "Sums"]

# Combinations of old neurons: the indices of each and their weights.
Sums = Sequence[tuple[Indices, Floats]]


@dataclasses.dataclass(frozen=True, eq=False)
class Start(Plain):
    """New neurons of a width that start, along one dimension of a tensor, as weighted sums of old neurons.

    New neurons that start alike share a sum, so that thousands of them which are the mean of thousands of
    others take no room.

    Attributes:
        tensor: The name of the tensor.
        dim: The dimension that the width lies along.
        width: The key of the width.
        sums: The sums, each as the indices of old neurons and their weights. An empty one is zero.
        chosen: For each new neuron, the place of its sum.
    """

    tensor: str
    dim: int
    width: str
    sums: tuple[tuple[Indices, Floats], ...]
    chosen: Indices

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        sums = [_to_json(old, weights) for old, weights in self.sums]
        return [self.tensor, self.dim, self.width, sums, self.chosen.tolist()]

    @classmethod
    def from_data(cls, data: Any, sizes: Mapping[str, tuple[int, int]], ranks: Mapping[str, int]) -> Start:
        """Read what `to_data` gave.

        Args:
            data: The data.
            sizes: For each width, its size before and the number of new neurons.
            ranks: The number of dimensions of each tensor that changes.

        Raises:
            ValueError: It is something else.
            KeyError: It names a tensor or width which is not there.
        """
        tensor, dim, width, sums, chosen = data
        before, new = sizes[width]
        if natural(dim) >= ranks[tensor]:
            raise ValueError(f"it names dimension {dim} of {tensor}, which has {ranks[tensor]}")
        found = tuple(_from_json(each, before) for each in sums)
        places = np.array([natural(place) for place in chosen], np.int64)
        if len(places) != new or (new and places.max() >= len(found)):
            raise ValueError(f"it says how {len(places)} of {new} new neurons of {width} start")
        return cls(str(tensor), dim, str(width), found, places)


def _to_json(old: Indices, weights: Floats) -> list[Any]:
    alike = len(weights) > 0 and bool((weights == weights[0]).all())
    return [old.tolist(), float(weights[0]) if alike else weights.tolist()]


def _from_json(data: Any, before: int) -> tuple[Indices, Floats]:
    old = np.array([natural(index) for index in data[0]], np.int64)
    if len(old) and old.max() >= before:
        raise ValueError(f"it names neuron {old.max()} of {before}")
    weights = _weights(data[1], len(old))
    if len(weights) != len(old) or not np.isfinite(weights).all():
        raise ValueError(f"it has {len(weights)} weights, or such as are no numbers, for {len(old)} neurons")
    return old, weights


def _weights(data: float | Sequence[float], count: int) -> Floats:
    if isinstance(data, (int, float)):
        return np.full(count, float(data))
    return np.array([float(each) for each in data], np.float64)
