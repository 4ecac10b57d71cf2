"""Selection of parents among the networks evaluated so far."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from naivegraph.errors import StudyError
from naivegraph.search.study import Candidate, History
from naivegraph.search.study.result_order import dominators

__all__ = ["Selection", "ageing", "elite", "nsga2", "tournament", "universal"]

Selection = Callable[[History, random.Random], Candidate]
"""Chooses a parent from a history with at least one network that keeps all limits."""


def elite(size: int = 10) -> Selection:
    """One of the best by the first objective, each as likely.

    Args:
        size: Of how many.
    """
    _check("size", size)

    def select(history: History, rng: random.Random) -> Candidate:
        """Choose a parent."""
        return rng.choice(history.ranked[:size])

    return select


def tournament(size: int = 5) -> Selection:
    """The best by the first objective of some that are drawn (Goldberg and Deb, FOGA 1991).

    Args:
        size: Of how many; more press harder.
    """
    _check("size", size)

    def select(history: History, rng: random.Random) -> Candidate:
        """Choose a parent."""
        allowed = history.allowed
        return _best(history, [rng.choice(allowed) for _ in range(size)])

    return select


def ageing(population: int = 50, sample: int = 10) -> Selection:
    """The best of some drawn from the youngest: regularised evolution.

    Real et al., "Regularized evolution for image classifier architecture search", AAAI 2019.

    Args:
        population: The number of the youngest networks, older ones have died.
        sample: The number drawn from these, with replacement.
    """
    _check("population", population)
    _check("sample", sample)

    def select(history: History, rng: random.Random) -> Candidate:
        """Choose a parent."""
        alive = history.allowed[-population:]
        return _best(history, [rng.choice(alive) for _ in range(sample)])

    return select


def universal(pressure: float = 1.8) -> Selection:
    """Chosen by place: the best is `pressure` times as likely as on average (linear ranking).

    With one parent at a time this is what stochastic universal sampling comes to (Baker, ICGA 1987).

    Args:
        pressure: From 1 (all alike) to 2 (the last never).
    """
    if not 1 <= pressure <= 2:
        raise StudyError(f"pressure={pressure}: give a number from 1 to 2")

    def select(history: History, rng: random.Random) -> Candidate:
        """Choose a parent."""
        order = history.ranked
        last = max(1, len(order) - 1)
        weights = [pressure - 2 * (pressure - 1) * place / last for place in range(len(order))]
        return rng.choices(order, weights)[0]

    return select


def nsga2(population: int = 20) -> Selection:
    """The better of two drawn from the best by fronts, of one front the one less crowded.

    Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 2002.

    Args:
        population: The number of the best to draw from.
    """
    _check("population", population)

    def select(history: History, rng: random.Random) -> Candidate:
        """Choose a parent."""
        alive = history.once(_by_fronts)[:population]
        return alive[min(rng.randrange(len(alive)), rng.randrange(len(alive)))]

    return select


def _by_fronts(history: History) -> list[Candidate]:
    allowed = history.allowed
    order = by_fronts(np.array([history.ranking.losses(each.result) for each in allowed]))
    return [allowed[index] for index in order]


def by_fronts(losses: NDArray[np.float64]) -> list[int]:
    """Indices sorted by front, within a front by crowding distance, the loneliest first.

    Args:
        losses: A row per network, of numbers that are better when smaller.

    Example:
        >>> by_fronts(np.array([[2.0, 2.0], [0.0, 1.0], [1.0, 0.0]]))
        [1, 2, 0]
    """
    worse = np.array([dominators(losses, point) for point in losses])  # by row, those that dominate it
    left = np.arange(len(losses))
    order: list[int] = []
    while left.size:
        bad = worse[np.ix_(left, left)].any(axis=1)
        front = left[~bad]
        order += front[np.argsort(-_crowding(losses[front]), kind="stable")].tolist()
        left = left[bad]
    return order


def _crowding(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The crowding distance of each row: the extent of the box around it that holds no other."""
    count, kinds = losses.shape
    out = np.zeros(count)
    for kind in range(kinds):
        order = np.argsort(losses[:, kind], kind="stable")
        values = losses[order, kind]
        extent = values[-1] - values[0]
        out[order[[0, -1]]] = np.inf
        if extent > 0 and count > 2:
            out[order[1:-1]] += (values[2:] - values[:-2]) / extent
    return out


def _best(history: History, candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda each: history.ranking.key(each.result))


def _check(name: str, value: int) -> None:
    if value < 1:
        raise StudyError(f"{name}={value}: give a number from 1 up")
