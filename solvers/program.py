"""A mixed-integer program as named arrays."""

from __future__ import annotations

import copy as copying
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from naivegraph.solvers.arrays import Arrays, FloatArray, GrowingArray, IntArray, Rows
from naivegraph.solvers.tangents import Concave, check_concave


class Program:
    """Columns with bounds, linear constraints on them (rows), and an objective, which is always maximised.

    Rows may carry the name of a request; `irreducible_infeasible_set` tells which requests contradict each
    other.

    >>> import numpy as np
    >>> from naivegraph.solvers import Program, solve
    >>> program = Program()
    >>> a = program.column("a", 0, 3)
    >>> b = program.column("b", 0, 3, objective=2.0)
    >>> _ = program.concave("utility of a", a, np.array([0.0, 5.0, 6.0, 6.5]))
    >>> _ = program.row("room", [a, b], [1.0, 1.0], upper=4)
    >>> solution = solve(program)
    >>> solution["a"], solution["b"], solution.objective
    (1.0, 3.0, 11.0)
    """

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._lower, self._upper = GrowingArray(np.float64), GrowingArray(np.float64)
        self._cost, self._integer = GrowingArray(np.float64), GrowingArray(np.bool_)
        self._row_names: list[str] = []
        self._row_requests: list[str | None] = []
        self._lengths, self._indices = GrowingArray(np.int64), GrowingArray(np.int64)
        self._values = GrowingArray(np.float64)
        self._row_lower, self._row_upper = GrowingArray(np.float64), GrowingArray(np.float64)
        self._terms: list[Concave] = []
        self._auxiliaries: set[int] = set()

    def __repr__(self) -> str:
        integers = int(self._integer.array().sum())
        return (
            f"Program({len(self._index)} columns, {integers} of them integer, {len(self._row_names)} rows, "
            f"{len(self._terms)} concave terms, {len(self.requests)} requests)"
        )

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order; auxiliary columns of concave terms among them."""
        return tuple(self._index)

    @property
    def row_names(self) -> tuple[str, ...]:
        """The names of the rows, in order."""
        return tuple(self._row_names)

    @property
    def requests(self) -> tuple[str, ...]:
        """The names of the requests that rows belong to, in the order they first appear."""
        return tuple(dict.fromkeys(name for name in self._row_requests if name is not None))

    @property
    def terms(self) -> tuple[Concave, ...]:
        """The concave terms, in order."""
        return tuple(self._terms)

    def index(self, name: str) -> int:
        """The index of the column called `name`.

        Raises:
            KeyError: no column has that name.
        """
        if name not in self._index:
            raise KeyError(f"no column is named {name!r}")
        return self._index[name]

    def column(
        self, name: str, lower: float, upper: float, *, integer: bool = True, objective: float = 0.0
    ) -> int:
        """Add a column and return its index.

        Args:
            name: its name, which no other column has.
            lower: its least value; -inf for none.
            upper: its largest value; inf for none.
            integer: whether only whole numbers are allowed.
            objective: its coefficient in the objective.

        Raises:
            ValueError: the name is taken, a number is nan, the objective infinite or the bounds contradict.
        """
        return self.columns([name], lower, upper, integer=integer, objective=objective)[0]

    def columns(
        self,
        names: Sequence[str],
        lower: ArrayLike,
        upper: ArrayLike,
        *,
        integer: ArrayLike = True,
        objective: ArrayLike = 0.0,
    ) -> range:
        """Add many columns and return the range of their indices; arguments are arrays or single numbers.

        Raises:
            ValueError: as for `column`; nothing is added then.
        """
        first, count = len(self._index), len(names)
        low, high = _spread(lower, count, "lower"), _spread(upper, count, "upper")
        cost = _spread(objective, count, "objective")
        whole = np.broadcast_to(np.asarray(integer, dtype=np.bool_), (count,))
        _blame(names, np.isnan(low) | (low == np.inf), "column {!r} has the lower bound {}", low)
        _blame(names, np.isnan(high) | (high == -np.inf), "column {!r} has the upper bound {}", high)
        _blame(names, low > high, "column {!r} has its lower bound {} above its upper bound {}", low, high)
        _blame(names, ~np.isfinite(cost), "column {!r} has the objective coefficient {}", cost)
        added = {name: first + i for i, name in enumerate(names)}
        if len(added) < count or not added.keys().isdisjoint(self._index):
            twice = next(
                name for i, name in enumerate(names) if name in self._index or added[name] != first + i
            )
            raise ValueError(f"column {twice!r} exists already; every column needs a name of its own")
        self._index.update(added)
        for series, values in ((self._lower, low), (self._upper, high), (self._cost, cost)):
            series.extend(values)
        self._integer.extend(whole)
        return range(first, first + count)

    def row(
        self,
        name: str,
        indices: Sequence[int] | NDArray[Any],
        coefficients: ArrayLike,
        *,
        lower: float = -np.inf,
        upper: float = np.inf,
        request: str | None = None,
    ) -> int:
        """Add the row `lower <= sum of coefficients * columns <= upper` and return its index.

        Args:
            name: its name in messages.
            indices: the columns; one named twice counts with the sum of its coefficients.
            coefficients: one per index, or one number for all.
            lower: least value of the sum; -inf for none.
            upper: largest value of the sum; inf for none.
            request: the user's request this row belongs to. Several rows may share one. Rows without one
                are structure, and never part of an `irreducible_infeasible_set`.

        Raises:
            ValueError: an index names no column, a number is nan, a coefficient infinite, the bounds
                contradict, or the auxiliary column of a concave term would have to stay small.
        """
        numbers = np.array(indices, dtype=np.int64, ndmin=1)
        values = _spread(coefficients, len(numbers), f"coefficients of row {name!r}")
        return self.rows([0, len(numbers)], numbers, values, [lower], [upper], [name], requests=[request])[0]

    def rows(
        self,
        starts: ArrayLike,
        indices: ArrayLike,
        values: ArrayLike,
        lower: ArrayLike,
        upper: ArrayLike,
        names: Sequence[str],
        *,
        requests: Sequence[str | None] | str | None = None,
    ) -> range:
        """Add many rows in compressed form and return the range of their indices.

        Args:
            starts: one number more than rows; row i holds the entries `starts[i]` to `starts[i + 1]`.
            indices: the column of each entry.
            values: the coefficient of each entry.
            lower: least value per row, or one number for all; -inf for none.
            upper: largest value per row, or one number for all; inf for none.
            names: one name per row.
            requests: the request of each row, or one for all; see `row`.

        Raises:
            ValueError: as for `row`; nothing is added then.
        """
        first, count = len(self._row_names), len(names)
        begin, columns = np.array(starts, dtype=np.int64), np.array(indices, dtype=np.int64)
        coefficients = np.array(values, dtype=np.float64)
        if begin.shape != (count + 1,) or begin[0] != 0 or (np.diff(begin) < 0).any():
            raise ValueError(f"{count} rows need {count + 1} starts that begin at 0 and never fall")
        if not len(columns) == len(coefficients) == begin[-1]:
            raise ValueError(
                f"the rows hold {begin[-1]} entries, but there are {len(columns)} indices "
                f"and {len(coefficients)} values"
            )
        owners = [requests] * count if requests is None or isinstance(requests, str) else list(requests)
        if len(owners) != count:
            raise ValueError(f"{count} rows need {count} requests, not {len(owners)}")
        low, high = _spread(lower, count, "lower"), _spread(upper, count, "upper")
        block = Rows(begin, columns, coefficients, low, high)
        self._check_rows(block, names)
        block = block.tidied(len(self._index))
        self._row_names.extend(names)
        self._row_requests.extend(owners)
        self._lengths.extend(np.diff(block.starts))
        self._indices.extend(block.indices)
        self._values.extend(block.values)
        self._row_lower.extend(low)
        self._row_upper.extend(high)
        return range(first, first + count)

    def _check_rows(self, rows: Rows, names: Sequence[str]) -> None:
        """Raise ValueError about the first row with bad bounds, indices or coefficients."""
        low, high = rows.lower, rows.upper
        _blame(names, np.isnan(low) | (low == np.inf), "row {!r} has the lower bound {}", low)
        _blame(names, np.isnan(high) | (high == -np.inf), "row {!r} has the upper bound {}", high)
        _blame(names, low > high, "row {!r} has its lower bound {} above its upper bound {}", low, high)
        owners = rows.owners
        wrong = np.flatnonzero((rows.indices < 0) | (rows.indices >= len(self._index)))
        if len(wrong):
            raise ValueError(
                f"row {names[owners[wrong[0]]]!r} names column {rows.indices[wrong[0]]}, "
                f"but there are {len(self._index)} columns"
            )
        wrong = np.flatnonzero(~np.isfinite(rows.values))
        if len(wrong):
            raise ValueError(
                f"row {names[owners[wrong[0]]]!r} has the coefficient {rows.values[wrong[0]]} "
                f"for column {self.column_names[rows.indices[wrong[0]]]!r}"
            )
        if self._terms:
            self._check_auxiliaries(rows, names)

    def _check_auxiliaries(self, rows: Rows, names: Sequence[str]) -> None:
        """Raise ValueError where a row requires an auxiliary column to be small, for that is not concave."""
        owners = rows.owners
        auxiliary = np.isin(rows.indices, list(self._auxiliaries))
        capped = (rows.values > 0) & np.isfinite(rows.upper[owners])
        floored = (rows.values < 0) & np.isfinite(rows.lower[owners])
        wrong = np.flatnonzero(auxiliary & (capped | floored))
        if len(wrong):
            raise ValueError(
                f"row {names[owners[wrong[0]]]!r} asks concave term "
                f"{self.column_names[rows.indices[wrong[0]]]!r} to stay small, which no linear program can "
                "express; a row may only ask such a term to be large"
            )

    def concave(self, name: str, column: int, values: ArrayLike) -> int:
        """Add `F(x)` to the objective, where x is a column, and return the index of the column for `F(x)`.

        Args:
            name: the name of the auxiliary column.
            column: the index of x, whose bounds lie within 0 and n.
            values: `F(0)` to `F(n)`; straight lines between them. Each step must gain no more than the one
                before.

        Raises:
            ValueError: the values are not concave or not finite, or the column may leave 0 to n.
        """
        points = np.array(values, dtype=np.float64)
        if points.ndim != 1 or not len(points):
            raise ValueError(f"concave term {name!r} needs a list of at least one value")
        if not np.isfinite(points).all():
            raise ValueError(f"concave term {name!r} has the value {points[~np.isfinite(points)][0]}")
        if not 0 <= column < len(self._index):
            raise ValueError(
                f"concave term {name!r} names column {column}, but there are {len(self._index)} columns"
            )
        if column in self._auxiliaries:
            raise ValueError(f"concave term {name!r} cannot be a function of another concave term")
        low, high = float(self._lower.array()[column]), float(self._upper.array()[column])
        if low < 0 or high > len(points) - 1:
            raise ValueError(
                f"concave term {name!r} has values for 0 to {len(points) - 1}, "
                f"but column {self.column_names[column]!r} may be {low:g} to {high:g}"
            )
        check_concave(name, points)
        # A concave function is least at an end of the range.
        ends = np.interp([low, high], np.arange(len(points)), points)
        auxiliary = self.column(name, float(ends.min()), float(points.max()), integer=False, objective=1.0)
        self._terms.append(Concave(name, int(column), auxiliary, points))
        self._auxiliaries.add(auxiliary)
        return auxiliary

    def set_objective(self, indices: Sequence[int] | NDArray[Any], coefficients: ArrayLike) -> None:
        """Replace the linear objective: all other columns get coefficient 0; concave terms stay.

        Raises:
            ValueError: an index names no column or a concave term, or a coefficient is not finite.
        """
        numbers = np.array(indices, dtype=np.int64, ndmin=1)
        values = _spread(coefficients, len(numbers), "coefficients")
        auxiliaries = list(self._auxiliaries)
        wrong = numbers[(numbers < 0) | (numbers >= len(self._index)) | np.isin(numbers, auxiliaries)]
        if len(wrong):
            raise ValueError(
                f"column {wrong[0]} cannot get an objective coefficient: no column has that index, or it "
                "belongs to a concave term"
            )
        names = self.column_names
        _blame(
            [names[i] for i in numbers],
            ~np.isfinite(values),
            "column {!r} has the objective coefficient {}",
            values,
        )
        cost = np.zeros(len(self._index))
        np.add.at(cost, numbers, values)
        cost[auxiliaries] = 1.0
        self._cost = GrowingArray(np.float64)
        self._cost.extend(cost)

    def arrays(self) -> Arrays:
        """The program as arrays: with auxiliary columns, but without tangents of the concave terms."""
        starts: IntArray = np.concatenate([[0], np.cumsum(self._lengths.array())]).astype(np.int64)
        rows = Rows(
            starts,
            self._indices.array(),
            self._values.array(),
            self._row_lower.array(),
            self._row_upper.array(),
        )
        return Arrays(
            self._cost.array(), self._lower.array(), self._upper.array(), self._integer.array(), rows
        )

    def copy(self) -> Program:
        """A program equal to this one; changing either leaves the other as it is."""
        other = copying.copy(self)
        other._index, other._auxiliaries = dict(self._index), set(self._auxiliaries)
        for name in ("_row_names", "_row_requests", "_terms"):
            setattr(other, name, list(getattr(self, name)))
        for name, value in vars(self).items():
            if isinstance(value, GrowingArray):
                setattr(other, name, value.copy())
        return other

    def without(self, requests: Collection[str]) -> Program:
        """A copy without the rows of these requests.

        Raises:
            ValueError: a request is not among `requests` of this program.
        """
        unknown = sorted(set(requests) - set(self.requests))
        if unknown:
            raise ValueError(f"no row belongs to the request {unknown[0]!r}")
        gone = set(requests)
        keep = np.array([name not in gone for name in self._row_requests], dtype=np.bool_)
        rows = self.arrays().rows.only(keep)
        other = self.copy()
        other._row_names = [name for name, stays in zip(self._row_names, keep, strict=True) if stays]
        other._row_requests = [name for name, stays in zip(self._row_requests, keep, strict=True) if stays]
        other._lengths, other._indices = GrowingArray(np.int64), GrowingArray(np.int64)
        other._values = GrowingArray(np.float64)
        other._row_lower, other._row_upper = GrowingArray(np.float64), GrowingArray(np.float64)
        other._lengths.extend(np.diff(rows.starts))
        other._indices.extend(rows.indices)
        other._values.extend(rows.values)
        other._row_lower.extend(rows.lower)
        other._row_upper.extend(rows.upper)
        return other


def _spread(values: ArrayLike, count: int, what: str) -> FloatArray:
    """`values` as `count` floats, a single number repeated."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (count,)):
        raise ValueError(f"{what}: expected {count} numbers or one, not an array of shape {array.shape}")
    return np.broadcast_to(array, (count,))


def _blame(names: Sequence[str], wrong: NDArray[np.bool_], message: str, *values: FloatArray) -> None:
    """Raise ValueError about the first name where `wrong` is true, if any, with its values in the message."""
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(message.format(names[at], *(float(value[at]) for value in values)))
