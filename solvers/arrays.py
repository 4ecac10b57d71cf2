"""A program as plain arrays, the form that backends take, and its change of units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


_T = TypeVar("_T", bound=np.generic)


class GrowingArray(Generic[_T]):
    """An array that grows in blocks and is joined when it is read."""

    def __init__(self, dtype: type[_T]) -> None:
        self._dtype = dtype
        self._parts: list[NDArray[_T]] = []

    def extend(self, values: ArrayLike) -> None:
        """Add values at the end."""
        self._parts.append(np.array(values, dtype=self._dtype, ndmin=1))

    def array(self) -> NDArray[_T]:
        """All values; the caller must not write to them."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate(self._parts) if self._parts else np.zeros(0, self._dtype)]
        return self._parts[0]

    def copy(self) -> GrowingArray[_T]:
        """An array that grows on its own from here."""
        other = GrowingArray(self._dtype)
        other._parts = list(self._parts)
        return other


@dataclass(frozen=True)
class Rows:
    """Rows `lower <= A x <= upper` in compressed form; row i holds entries starts[i] to starts[i + 1]."""

    starts: IntArray
    indices: IntArray
    values: FloatArray
    lower: FloatArray
    upper: FloatArray

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.lower)

    @property
    def owners(self) -> IntArray:
        """The row of each entry."""
        return np.repeat(np.arange(self.count), np.diff(self.starts))

    def activity(self, x: FloatArray) -> FloatArray:
        """Activity of each row, `A x`."""
        return self._sums(self.values * x[self.indices])

    def weight(self, x: FloatArray) -> FloatArray:
        """Magnitude of each row's terms, `|A| |x|`, in proportion to which rounding errors add up."""
        return self._sums(np.abs(self.values * x[self.indices]))

    def _sums(self, entries: FloatArray) -> FloatArray:
        """Sums of the entries, one per row."""
        return np.asarray(np.bincount(self.owners, entries, minlength=self.count), dtype=np.float64)

    def joined(self, other: Rows) -> Rows:
        """These rows followed by `other`."""
        return Rows(
            np.concatenate([self.starts, other.starts[1:] + self.starts[-1]]),
            np.concatenate([self.indices, other.indices]),
            np.concatenate([self.values, other.values]),
            np.concatenate([self.lower, other.lower]),
            np.concatenate([self.upper, other.upper]),
        )

    def tidied(self, width: int) -> Rows:
        """The rows without zeros, and with entries of one column summed, for solvers refuse repeated ones.

        Args:
            width: the number of columns.
        """
        keys = self.owners * width + self.indices
        unique, inverse = np.unique(keys, return_inverse=True)
        if len(unique) == len(keys) and self.values.all():
            return self
        values = np.bincount(inverse, self.values, minlength=len(unique))
        unique, values = unique[values != 0], values[values != 0]
        owners, indices = np.divmod(unique, max(width, 1))
        counts = np.bincount(owners, minlength=self.count)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Rows(starts, indices, values, self.lower, self.upper)

    def only(self, keep: BoolArray) -> Rows:
        """The rows where `keep` is true."""
        entries = keep[self.owners]
        starts = np.concatenate([[0], np.cumsum(np.diff(self.starts)[keep])]).astype(np.int64)
        return Rows(starts, self.indices[entries], self.values[entries], self.lower[keep], self.upper[keep])


@dataclass(frozen=True)
class Arrays:
    """Maximise `cost x` over `lower <= x <= upper` and the rows, with `x` whole where `integer` is true."""

    cost: FloatArray
    lower: FloatArray
    upper: FloatArray
    integer: BoolArray
    rows: Rows

    def with_rows(self, more: Rows) -> Arrays:
        """The same program with more rows at the end."""
        return replace(self, rows=self.rows.joined(more))

    def relaxed(self) -> Arrays:
        """The same program with every column continuous."""
        return replace(self, integer=np.zeros_like(self.integer))

    def without_cost(self) -> Arrays:
        """The same program with nothing to maximise."""
        return replace(self, cost=np.zeros_like(self.cost))


@dataclass(frozen=True)
class Units:
    """Powers of two between a program and its scaled form.

    With a prime for what is scaled, `x = x' * column` and `objective' = objective * cost`; row i is
    multiplied by `row[i]`.
    """

    column: FloatArray
    row: FloatArray
    cost: float

    def scaled(self, arrays: Arrays) -> Arrays:
        """The program in these units."""
        rows = arrays.rows
        owners = rows.owners
        return Arrays(
            arrays.cost * self.column * self.cost,
            arrays.lower / self.column,
            arrays.upper / self.column,
            arrays.integer,
            Rows(
                rows.starts,
                rows.indices,
                rows.values * self.row[owners] * self.column[rows.indices],
                rows.lower * self.row,
                rows.upper * self.row,
            ),
        )


def choose_units(arrays: Arrays, auxiliaries: IntArray, slopes: FloatArray) -> Units:
    """Choose units that bring a program's numbers into the range that solvers' tolerances are made for.

    Solvers compare with absolute tolerances near 1e-6 and drop coefficients below 1e-9, so a program with
    utilities of 1e-9 or 1e12 is answered wrongly as it stands. Integer columns keep their unit. Everything
    else is measured by them: a row by the geometric mean of its integer columns' coefficients, a continuous
    column by the rows it shares with integer ones, and so on outwards. The objective is brought to a median
    coefficient of 1, and the auxiliary columns of concave terms are measured in the unit of the objective.
    All factors are powers of two, so the change of units loses no bit.

    Args:
        arrays: the program in the user's units.
        auxiliaries: indices of the auxiliary columns of concave terms.
        slopes: the slopes of all concave terms which count in the objective.
    """
    ordinary = np.ones(len(arrays.cost), dtype=np.bool_)
    ordinary[auxiliaries] = False
    column, row = np.zeros(len(arrays.cost)), np.zeros(arrays.rows.count)
    column[arrays.integer] = 1.0
    _spread(arrays.rows, column, row, ordinary)
    unit = np.where(column > 0, column, 1.0)
    coefficients = np.abs(np.concatenate([(arrays.cost * unit)[ordinary], slopes]))
    coefficients = coefficients[coefficients > 0]
    cost = float(np.exp2(-np.round(np.log2(np.median(coefficients))))) if len(coefficients) else 1.0
    column[auxiliaries] = 1 / cost
    _spread(arrays.rows, column, row, ordinary)
    column[column == 0] = 1.0
    _measure_rows(arrays.rows, column, row)
    row[row == 0] = 1.0
    return Units(column, row, cost)


def _spread(rows: Rows, column: FloatArray, row: FloatArray, ordinary: BoolArray) -> None:
    """Measure rows by columns of known units and ordinary columns by such rows, until nothing changes."""
    owners = rows.owners
    while True:
        _measure_rows(rows, column, row)
        entries = (row[owners] > 0) & (column[rows.indices] == 0) & ordinary[rows.indices]
        if not entries.any():
            return
        sizes = np.abs(rows.values[entries]) * row[owners[entries]]
        mean = _geometric_means(rows.indices[entries], sizes, len(column))
        column[mean > 0] = 1 / mean[mean > 0]


def _measure_rows(rows: Rows, column: FloatArray, row: FloatArray) -> None:
    """Set, in place, the unit of each row that has none by its columns that have one."""
    owners = rows.owners
    entries = (row[owners] == 0) & (column[rows.indices] > 0)
    sizes = np.abs(rows.values[entries]) * column[rows.indices[entries]]
    mean = _geometric_means(owners[entries], sizes, rows.count)
    row[mean > 0] = 1 / mean[mean > 0]


def _geometric_means(groups: IntArray, sizes: FloatArray, count: int) -> FloatArray:
    """The geometric mean of each group's sizes as a power of two; 0 for a group without any."""
    number = np.bincount(groups, minlength=count)
    total = np.bincount(groups, np.log2(sizes), minlength=count)
    result = np.zeros(count)
    some = number > 0
    result[some] = np.exp2(np.round(total[some] / number[some]))
    return result
