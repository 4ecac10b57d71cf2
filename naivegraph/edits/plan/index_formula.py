"""Formulas: axes as plain data, from which indices of tensors follow for the neurons kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from naivegraph.algebra.axis import Atom, Axis

__all__ = [
    "Floats", "Formula", "Indices", "along", "formula_length", "formula_of", "from_runs", "indices",
    "others_alike", "to_runs",
]  # fmt: skip

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# An axis as plain data: a list of terms, each a list of factors: a number of fixed indices, the name of a
# width, or a nested list of terms.
Formula = list[list["int | str | Formula"]]


def formula_of(axis: Axis, names: Mapping[Atom, str]) -> Formula:
    """A resolved axis as plain data; an atom without a name is a number of fixed indices."""

    def factor(value: Atom | int | Axis) -> int | str | Formula:
        """Return a factor as plain data."""
        if isinstance(value, Axis):
            return formula_of(value, names)
        if isinstance(value, Atom):
            return names.get(value, value.length)
        return int(value)

    return [[factor(value) for value in term] for term in axis.terms]


def formula_length(formula: Formula, sizes: Mapping[str, int]) -> int:
    """The number of indices of an axis with these sizes of widths."""
    total = 0
    for term in formula:
        product = 1
        for factor in term:
            if isinstance(factor, list):
                product *= formula_length(factor, sizes)
            else:
                product *= sizes[factor] if isinstance(factor, str) else factor
        total += product
    return total


def indices(formula: Formula, sizes: Mapping[str, int], kept: Mapping[str, Indices]) -> Indices:
    """The indices of an axis that stay.

    The indices of one width may be an array [rows, k], with a row for each index of the factor directly
    outside.

    Example:
        >>> indices([["h", "d"]], {"h": 3, "d": 2}, {"h": np.array([0, 2]), "d": np.array([1])}).tolist()
        [1, 5]
        >>> rows = np.array([[1], [1], [0]])
        >>> indices([["h", "d"]], {"h": 3, "d": 2}, {"h": np.array([0, 2]), "d": rows}).tolist()
        [1, 4]
    """
    parts: list[Indices] = []
    offset = 0
    for term in formula:
        places: Indices = np.zeros(1, np.int64)
        length = 1
        for factor in term:
            if isinstance(factor, list):
                size, chosen = formula_length(factor, sizes), indices(factor, sizes, kept)
            elif isinstance(factor, str):
                size, chosen = sizes[factor], kept[factor]
            else:
                size, chosen = factor, np.arange(factor)
            if chosen.ndim == 2:
                chosen = chosen[places % len(chosen)]
            places = (places[:, None] * size + chosen).reshape(-1)
            length *= size
        parts.append(places + offset)
        offset += length
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def along(formula: Formula, sizes: Mapping[str, int], factors: Mapping[str, Floats]) -> Floats:
    """A number for every index of an axis: the product of those of its neurons, 1 for widths without any.

    Example:
        >>> along([["h", 2], ["d"]], {"h": 2, "d": 1}, {"h": np.array([1.0, 0.5])}).tolist()
        [1.0, 1.0, 0.5, 0.5, 1.0]
    """
    parts: list[Floats] = []
    for term in formula:
        product: Floats = np.ones(1)
        for factor in term:
            if isinstance(factor, list):
                own = along(factor, sizes, factors)
            elif isinstance(factor, str):
                own = factors[factor] if factor in factors else np.ones(sizes[factor])
            else:
                own = np.ones(factor)
            product = (product[:, None] * own).reshape(-1)
        parts.append(product)
    return np.concatenate(parts) if parts else np.zeros(0)


def others_alike(formula: Formula, sizes: Mapping[str, int], key: str) -> Indices:
    """A number for every index of an axis, the same for those that differ in the neurons of one width alone.

    Example:
        >>> others_alike([["h", "d"], ["d"]], {"h": 2, "d": 3}, "d").tolist()
        [0, 0, 0, 3, 3, 3, 6, 6, 6]
    """
    parts: list[Indices] = []
    offset = 0
    for term in formula:
        places: Indices = np.zeros(1, np.int64)
        length = 1
        for factor in term:
            if isinstance(factor, list):
                size, own = formula_length(factor, sizes), others_alike(factor, sizes, key)
            elif factor == key:
                size, own = sizes[key], np.zeros(sizes[key], np.int64)
            else:
                size = sizes[factor] if isinstance(factor, str) else factor
                own = np.arange(size)
            places = (places[:, None] * size + own).reshape(-1)
            length *= size
        parts.append(places + offset)
        offset += length
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def to_runs(kept: Indices) -> list[list[int]]:
    """Sorted indices as runs `[first, last + 1]`.

    Example:
        >>> to_runs(np.array([0, 1, 2, 5]))
        [[0, 3], [5, 6]]
    """
    if not len(kept):
        return []
    breaks = np.flatnonzero(np.diff(kept) != 1)
    firsts, lasts = kept[np.r_[0, breaks + 1]], kept[np.r_[breaks, len(kept) - 1]]
    return [[int(a), int(b) + 1] for a, b in zip(firsts, lasts, strict=True)]


def from_runs(runs: Sequence[Sequence[int]]) -> Indices:
    """The indices in runs `[first, last + 1]`."""
    return np.concatenate([np.arange(a, b) for a, b in runs]) if runs else np.zeros(0, np.int64)
