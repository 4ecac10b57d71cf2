"""Matching of the neurons of one network to those of another, one width after the other.

Ainsworth, Hayase and Srinivasa, "Git Re-Basin: merging models modulo permutation symmetries", ICLR 2023,
match weights by coordinate descent: with all other orders held, the order of one width that makes the inner
product of the weights largest is a linear assignment. Beside their start, the order that there is, another
one is tried: each width by itself, by the sorted weights of its neurons, which no order of other widths
changes. A copy whose neurons were shuffled is recovered exactly by it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.edits.plan.index_formula import Formula, Indices, indices
from naivegraph.optional_package import optional_package
from naivegraph.surgery.neuron_orders import NeuronOrders, Occurrence, occurrences

__all__ = ["ActivationMatch", "Match", "WeightMatch", "matched"]

Matrix = npt.NDArray[np.float64]
M = TypeVar("M", bound="Match")
_PASSES = 100
_TIE = 1e-6  # the share of the weights where activations tell neurons apart as well


class Match(Protocol):
    """A measure of how well two networks fit, in the orders of the second one's neurons."""

    orders: NeuronOrders

    def value(self, key: str) -> float:
        """The measure, as far as the order of a width changes it."""

    def gain(self, key: str) -> Matrix:
        """[neurons, neurons]: the worth of each neuron of the second network in each place."""

    def put(self, key: str, order: Indices) -> None:
        """Put the neurons of a width, as they are in order now, into another order."""


class WeightMatch:
    """The inner product of the parameters of two networks.

    Args:
        one: The parameters of the first, by name.
        two: Those of the second.
        orders: The orders to begin with.
    """

    def __init__(
        self, one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor], orders: NeuronOrders
    ) -> None:
        self.orders = orders
        self._one = {name: tensor.detach().double().cpu() for name, tensor in one.items()}
        self._two = {
            name: orders.permuted(name, tensor.detach().double().cpu()) for name, tensor in two.items()
        }
        self._places = {
            key: [place for place in orders.places(key) if place.tensor in self._one] for key in orders.sizes
        }

    def value(self, key: str) -> float:
        """The inner product of all parameters that a width is in."""
        names = dict.fromkeys(place.tensor for place in self._places[key])
        return float(sum((self._one[name] * self._two[name]).sum() for name in names))

    def cosine(self) -> float:
        """The cosine of the angle between the parameters of the two networks."""
        product = sum(float((self._one[name] * self._two[name]).sum()) for name in self._one)
        norms = [
            sum(float(tensor.square().sum()) for tensor in every.values()) for every in (self._one, self._two)
        ]
        return product / max(float(np.sqrt(norms[0] * norms[1])), 1e-300)

    def gain(self, key: str) -> Matrix:
        """The inner product of the weights of each two neurons, as all others are in order now."""
        return self._summed(key, sort=False)

    def signatures(self, key: str) -> Matrix:
        """The inner product of the sorted weights of each two neurons."""
        return self._summed(key, sort=True)

    def _summed(self, key: str, *, sort: bool) -> Matrix:
        size = self.orders.sizes[key]
        found = torch.zeros(size, size, dtype=torch.float64)
        for place in self._places[key]:
            one, two = (_rows(tensors[place.tensor], place) for tensors in (self._one, self._two))
            if sort:
                one, two = one.sort(1).values, two.sort(1).values
            found += one @ two.T
        return np.asarray(found.numpy())

    def put(self, key: str, order: Indices) -> None:
        """Put the neurons of a width, as they are in order now, into another order."""
        self.orders.put(key, order)
        for name in dict.fromkeys(place.tensor for place in self._places[key]):
            self._two[name] = self.orders.permuted(name, self._two[name], {key: order})


def _rows(tensor: torch.Tensor, place: Occurrence) -> torch.Tensor:
    """[neurons, entries]: all entries of each neuron at one place of its width."""
    rows = tensor.movedim(place.dim, 0)[torch.from_numpy(place.table)]  # [others, neurons, ...]
    return rows.movedim(1, 0).reshape(place.table.shape[1], -1)


class ActivationMatch:
    """The correlation of the activations of two networks on the same inputs.

    Args:
        correlations: [neurons of the first, neurons of the second] along an axis, with its formula.
        orders: The orders to begin with.
        weights: The match of their weights, which decides where activations do not.
    """

    def __init__(
        self, correlations: Sequence[tuple[Formula, Matrix]], orders: NeuronOrders, weights: WeightMatch
    ) -> None:
        self.orders, self._weights = orders, weights
        self._maps = [(formula, matrix.copy()) for formula, matrix in correlations]
        self._tables = {
            key: [
                (number, table)
                for number, (formula, _) in enumerate(self._maps)
                for table in occurrences(formula, orders.sizes, key)
            ]
            for key in orders.sizes
        }

    def value(self, key: str) -> float:
        """The sum of the correlations of matched neurons, and a trace of that of their weights."""
        numbers = dict.fromkeys(number for number, _ in self._tables[key])
        found = sum(float(np.trace(self._maps[number][1])) for number in numbers)
        return found + _TIE * self._weights.value(key)

    def gain(self, key: str) -> Matrix:
        """The correlation of each two neurons, as all others are in order now."""
        found = _TIE * self._weights.gain(key)
        for number, table in self._tables[key]:
            matrix = self._maps[number][1]
            found += sum(matrix[np.ix_(row, row)] for row in table)
        return found

    def put(self, key: str, order: Indices) -> None:
        """Put the neurons of a width, as they are in order now, into another order."""
        every: dict[str, Indices] = {name: np.arange(size) for name, size in self.orders.sizes.items()}
        every[key] = order
        for number in dict.fromkeys(number for number, _ in self._tables[key]):
            formula, matrix = self._maps[number]
            self._maps[number] = formula, matrix[:, indices(formula, self.orders.sizes, every)]
        self._weights.put(key, order)


def matched(weights: WeightMatch, correlations: Sequence[tuple[Formula, Matrix]] | None) -> Match:
    """The best match found, by activations if there are any, else by weights."""
    by_sorted = copy.deepcopy(weights)
    for key in by_sorted.orders.sizes:
        by_sorted.put(key, _assigned(by_sorted.signatures(key)))
    starts = [by_sorted, weights]
    if correlations is not None:
        best = max(starts, key=WeightMatch.cosine)
        return _descended(_activations(correlations, best))
    return max((_descended(start) for start in starts), key=WeightMatch.cosine)


def _activations(correlations: Sequence[tuple[Formula, Matrix]], weights: WeightMatch) -> ActivationMatch:
    """The match of activations whose second network is in the orders of a match of weights."""
    orders = weights.orders
    ordered = [
        (formula, matrix[:, indices(formula, orders.sizes, orders.orders)])
        for formula, matrix in correlations
    ]
    return ActivationMatch(ordered, orders, weights)


def _descended(match: M) -> M:
    """A match improved width by width, until none can be improved alone."""
    for _ in range(_PASSES):
        improved = False
        for key in match.orders.sizes:
            order = _assigned(match.gain(key))
            if np.array_equal(order, np.arange(len(order))):
                continue
            before = match.value(key)
            match.put(key, order)
            # Where a tensor has the width twice, the assignment is that of a tangent: it may lead downwards.
            if match.value(key) > before + 1e-9 * abs(before):
                improved = True
            else:
                match.put(key, np.argsort(order))
        if not improved:
            break
    return match


def _assigned(gain: Matrix) -> Indices:
    """The neuron in each place, so that the sum of gains is largest; that which is there if it is as good."""
    optimize: Any = optional_package("scipy.optimize", "surgery", "ng.surgery.align")
    rows, columns = optimize.linear_sum_assignment(gain, maximize=True)
    best, now = float(gain[rows, columns].sum()), float(np.trace(gain))
    scale = float(np.abs(gain).max()) if gain.size else 0.0
    if best <= now + 1e-12 * scale * len(gain):
        return np.arange(len(gain))
    return np.asarray(columns, np.int64)
