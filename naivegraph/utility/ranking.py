"""Ranking of the neurons of one width by their values, and the best of them for any number."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from naivegraph.operators.constraints import RequiredNeurons

__all__ = ["TINY", "NeuronRanking", "required"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# The cost of a new neuron where nothing tells the values of neurons.
TINY = 1e-3


class NeuronRanking:
    """Values of the neurons of one width, sorted once, as they may be very many.

    Args:
        values: One number per neuron, or an array [rows, neurons] where each row keeps its own: the width's
            neurons are then, from the best on, the best of each row, the second best of each, and so on.
        stay: Neurons that are kept before all others.
        go: Neurons that are kept after all others.

    Attributes:
        negative: The number of neurons with a negative value.
        largest: The largest absolute value of a neuron, of those in rows of one in one row.
        cost: The cost of a new neuron (one in every row).
        cost_of_one: The cost of a new neuron in one row.
        sums: The total value of the best neurons, by their number: concave, and exact from as many as must
            stay to as many as may.

    Example:
        >>> ranking = NeuronRanking(np.array([3.0, 1.0, 2.0]), stay=[1])
        >>> ranking.best(2).tolist(), ranking.sums[1:].tolist()
        ([0, 1], [1.0, 4.0, 6.0])
        >>> ranking = NeuronRanking(np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]]))
        >>> ranking.best(2).tolist(), ranking.sums[1:].tolist()
        ([[0, 2], [1, 2]], [8.0, 14.0, 15.0])
    """

    def __init__(self, values: Floats, stay: Iterable[int] = (), go: Iterable[int] = ()) -> None:
        ranked = _ranked(values)
        below, upto = np.searchsorted(ranked, 0.0), np.searchsorted(ranked, 0.0, side="right")
        self.negative = int(below)
        self.largest = float(np.abs(values).max(initial=0.0))
        beside = np.abs(np.concatenate([ranked[max(below - 1, 0) : below], ranked[upto : upto + 1]]))
        # A new neuron costs a tenth of the least utility, so that none is added without need.
        self.cost = 0.1 * float(beside.min()) if len(beside) else TINY
        some = np.abs(values[values != 0]) if values.ndim == 2 else beside
        self.cost_of_one = 0.1 * float(some.min()) if len(some) else TINY
        self._keys, self._ranked = values, ranked
        first, last = list(stay), list(go)
        if first or last:
            self._keys = np.array(values, dtype=np.float64)
            self._keys[..., last], self._keys[..., first] = -np.inf, np.inf
            self._ranked = _ranked(self._keys)
        self.sums = self._sums(float(values[..., first].sum()), len(first))

    def _sums(self, least: float, count: int) -> Floats:
        """The total value by number, which is `least` for the first `count` neurons."""
        steps = self._ranked[::-1]
        finite = steps[np.isfinite(steps)]
        if len(finite) < len(steps):
            ends = (finite[0], finite[-1]) if len(finite) else (0.0, 0.0)
            steps = np.where(steps == np.inf, ends[0], np.where(steps == -np.inf, ends[1], steps))
        sums = np.concatenate([[0.0], np.cumsum(steps)])
        return sums + (least - sums[count]) if count else sums

    def best(self, count: int) -> Indices:
        """The `count` neurons of largest value (of each row), in order; among equals the first."""
        if self._keys.ndim == 2:
            return np.stack([_best(row, count) for row in self._keys])
        return _best(self._keys, count)


def _ranked(keys: Floats) -> Floats:
    """Values in ascending order; of rows the sums over them."""
    ranked: Floats = np.sort(keys, axis=-1)
    return ranked if ranked.ndim == 1 else ranked.sum(axis=0)


def _best(keys: Floats, count: int) -> Indices:
    if count == 0:
        return np.zeros(0, np.int64)
    least = np.partition(keys, len(keys) - count)[len(keys) - count]
    chosen = keys > least
    equal = np.flatnonzero(keys == least)
    chosen[equal[: count - int(chosen.sum())]] = True
    return np.flatnonzero(chosen)


def required(requirements: Iterable[RequiredNeurons] | None) -> list[int]:
    """All neurons that requirements are about, in order."""
    return sorted({index for each in requirements or () for index in each.indices})
