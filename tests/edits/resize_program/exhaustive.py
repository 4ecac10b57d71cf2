"""Resizing by trying everything: every choice of neurons and every number of new ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from naivegraph.solvers import Outcome
from tests.edits.resize_program.dense import Dense, Found, RequestLike
from tests.machine.correspond import Floats, Integers, Structure

__all__ = ["away", "choices", "exhaustive"]


def choices(values: Floats, most_new: int, cost: float) -> tuple[Integers, Floats]:
    """The size and the worth of every choice for one bundle: a subset of its neurons and some new ones."""
    sizes, worth = [], []
    for stays in itertools.product((0, 1), repeat=len(values)):
        for new in range(most_new + 1):
            sizes.append(sum(stays) + new)
            worth.append(float(np.dot(stays, values)) - cost * new)
    return np.array(sizes), np.array(worth)


def away(terms: Sequence[tuple[Integers, float, float]], count: int) -> Floats:
    """0.1 of the sum and 0.8 of the largest of weighted distances: (sizes, target, weight) each."""
    each = [weight * np.abs(sizes - target) for sizes, target, weight in terms] or [np.zeros(count)]
    result: Floats = 0.1 * np.sum(each, axis=0) + 0.8 * np.max(each, axis=0)
    return result


def exhaustive(dense: Dense, most_new: int) -> Found | None:
    """The best of all answers with at most so many new neurons in each bundle; None if none is allowed.

    Args:
        dense: The resize; only what it is about is used, not its program.
        most_new: The most new neurons of one bundle.
    """
    structure = dense.structure
    states = [_states(dense, bundle, most_new) for bundle in range(len(structure.bundles))]
    grids = np.meshgrid(*(np.arange(len(sizes)) for sizes, _ in states), indexing="ij")
    chosen = [grid.ravel() for grid in grids]
    sizes = [size[which] for (size, _), which in zip(states, chosen, strict=True)]
    worth = np.sum([total[which] for (_, total), which in zip(states, chosen, strict=True)], axis=0)

    def size_of(index: int, entries: int | None = None) -> Integers:
        parts = [
            count * (sizes[bundle] if bundle >= 0 else np.full_like(sizes[0], last - first))
            for first, last, bundle, count in structure.runs[index]
            if entries is None or first < entries
        ]
        return np.array(np.sum(parts, axis=0), dtype=np.int64)

    allowed = _allowed(dense, sizes, size_of)
    if not allowed.any():
        return None
    missed = [(size_of(one.node), _target(structure, one), 1.0) for one in dense.asked if one.relaxed]
    worth -= away([(size_of(i, part), t, w) for i, part, w, t in dense.size_terms()], len(worth))
    misses = np.where(allowed, away(missed, len(worth)), np.inf)
    least = float(misses.min())
    return Found(Outcome.OPTIMAL, -least, float(worth[misses <= least + 1e-9].max()))


def _states(dense: Dense, bundle: int, most_new: int) -> tuple[Integers, Floats]:
    count = len(dense.structure.bundles[bundle])
    counts = dense.utilities is not None and bundle in dense.part
    values = dense.utilities[bundle] if counts and dense.utilities is not None else np.zeros(count)
    if bundle in dense.held:
        return np.array([count]), np.array([values.sum()])
    some = np.abs(values[values != 0])
    return choices(values, 0 if dense.new == 0 else most_new, 0.1 * some.min() if len(some) else 1e-3)


def _target(structure: Structure, one: RequestLike) -> int:
    target = one.target(int(structure.counts[one.node].sum()))
    if target is None:
        raise ValueError(f"{one} has no target")
    return target


def _allowed(
    dense: Dense, sizes: Sequence[Integers], size_of: Callable[[int], Integers]
) -> npt.NDArray[np.bool_]:
    """Which combinations meet all that must be."""
    structure = dense.structure
    fine = np.all([size_of(index) >= 1 for index in range(len(structure.nodes))], axis=0)
    for node, half, _ in structure.equal:
        difference = np.zeros_like(sizes[0])
        for first, last, bundle, _ in structure.runs[node]:
            size = sizes[bundle] if bundle >= 0 else last - first
            difference += size if first < len(half) else -size
        fine &= difference == 0
    for asked in dense.asked:
        now, size = int(structure.counts[asked.node].sum()), size_of(asked.node)
        target = _target(structure, asked)
        if not asked.relaxed:
            fine &= size == target
        elif target != now:
            fine &= size != now
    return np.asarray(fine)
