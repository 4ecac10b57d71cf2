"""Rows of whole numbers over integer columns, which are checked in exact integers.

A solver compares with a tolerance relative to a row's coefficients, so it takes a budget of two thousand
million for met when it is exceeded by one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from naivegraph.solvers.arrays import Arrays, FloatArray, IntArray, Rows

_UNRESOLVED, _ROOM = 1e8, 4e-9  # from which sums on, and by how much relative to them
_EXACT = 2.0**53  # sums of whole numbers up to here are exact in float64


@dataclasses.dataclass(frozen=True)
class WholeRows:
    """Some of a program's rows, in the user's units, and the numbers they have there."""

    rows: Rows
    numbers: IntArray


def whole_rows(arrays: Arrays) -> WholeRows:
    """The rows of a program in which all is whole: integer columns with whole coefficients."""
    rows = arrays.rows
    other = ~arrays.integer[rows.indices] | (rows.values != np.round(rows.values))
    keep = np.bincount(rows.owners, other, minlength=rows.count) == 0
    return WholeRows(rows.only(keep), np.flatnonzero(keep))


def with_slack(arrays: Arrays, whole: WholeRows) -> Arrays:
    """The program with some room in the whole rows that tolerances cannot tell from their neighbours.

    There a solver may also refuse what meets the row exactly. With room it takes more than it should, which
    `broken_row` finds and `cover_cuts` cut off.
    """
    rows, room = arrays.rows, np.zeros(arrays.rows.count)
    for limits in (whole.rows.lower, whole.rows.upper):
        size = np.where(np.isfinite(limits), np.abs(limits), 0.0)
        room[whole.numbers] = np.maximum(
            room[whole.numbers], np.where(size >= _UNRESOLVED, _ROOM * size, 0.0)
        )
    return dataclasses.replace(
        arrays, rows=dataclasses.replace(rows, lower=rows.lower - room, upper=rows.upper + room)
    )


def broken_row(whole: WholeRows, values: FloatArray) -> int | None:
    """The number of a row that whole values break; None without one."""
    for i in _broken(whole.rows, values):
        return int(whole.numbers[i])
    return None


def _broken(rows: Rows, values: FloatArray) -> list[int]:
    activity, large = rows.activity(values), rows.weight(values) >= _EXACT
    broken = (activity < rows.lower) | (activity > rows.upper)
    for i in np.flatnonzero(large):
        entries = slice(rows.starts[i], rows.starts[i + 1])
        pairs = zip(rows.values[entries].tolist(), values[rows.indices[entries]].tolist(), strict=True)
        exact = sum(int(a) * int(x) for a, x in pairs)
        broken[i] = exact < rows.lower[i] or exact > rows.upper[i]  # Python compares int and float exactly
    return [int(i) for i in np.flatnonzero(broken)]


def cover_cuts(whole: WholeRows, values: FloatArray, lower: FloatArray, upper: FloatArray) -> Rows:
    """Rows that cut off whole values which break a row at an end of their columns' ranges.

    Where the row's sum is too large although every column with a positive coefficient is at its largest value
    and every other at its least, not all of them can be: the cover inequality of knapsacks (Balas, "Facets of
    the knapsack polytope", 1975). Columns elsewhere in their range do not
    count: the sum must be too large with these as small as can be.

    Args:
        whole: The rows.
        values: One value per column, whole.
        lower: The columns' least values.
        upper: Their largest values.
    """
    cuts: list[tuple[IntArray, FloatArray, float]] = []
    for i in _broken(whole.rows, values):
        cut = _cover(whole.rows, i, values, lower, upper)
        if cut is not None:
            cuts.append(cut)
    lengths = [len(indices) for indices, _, _ in cuts]
    return Rows(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *(indices for indices, _, _ in cuts)]),
        np.concatenate([np.zeros(0), *(signs for _, signs, _ in cuts)]),
        np.full(len(cuts), -np.inf),
        np.array([most for _, _, most in cuts], dtype=np.float64),
    )


def _cover(
    rows: Rows, i: int, values: FloatArray, lower: FloatArray, upper: FloatArray
) -> tuple[IntArray, FloatArray, float] | None:
    """The columns, their signs and the most that their signed sum may be; None where there is no cover."""
    entries = slice(rows.starts[i], rows.starts[i + 1])
    indices, factors = rows.indices[entries], [int(a) for a in rows.values[entries]]
    total = sum(a * int(values[j]) for a, j in zip(factors, indices, strict=True))
    above = total > rows.upper[i]
    limit = rows.upper[i] if above else -rows.lower[i]
    signed = [a if above else -a for a in factors]
    ends = [
        (upper[j], lower[j]) if a > 0 else (lower[j], upper[j]) for a, j in zip(signed, indices, strict=True)
    ]
    if not np.isfinite(np.array(ends)).all():
        return None
    # The sum with columns that are not at their end as small as can be: only if it is still too large do the
    # others make a cover.
    cover = [int(values[j]) == int(end) != int(other) for j, (end, other) in zip(indices, ends, strict=True)]
    least = sum(
        a * int(end if inside else other) for a, (end, other), inside in zip(signed, ends, cover, strict=True)
    )
    if not least > limit or not any(cover):
        return None
    chosen = np.array(cover)
    signs = np.where(np.array([a > 0 for a in signed]), 1.0, -1.0)[chosen]
    most = float((signs * np.array([end for end, _ in ends])[chosen]).sum()) - 1.0
    return indices[chosen], signs, most


def split_box(
    whole: WholeRows, values: FloatArray, lower: FloatArray, upper: FloatArray
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The boxes that a box of columns is split into around whole values in it that break a row.

    One column of the row is less, more or as it was in the values; nothing is left where all of the row's
    columns are fixed. Arguments as for `cover_cuts`.
    """
    row = next(iter(_broken(whole.rows, values)))
    entries = slice(whole.rows.starts[row], whole.rows.starts[row + 1])
    free = [j for j in whole.rows.indices[entries] if lower[j] < upper[j]]
    if not free:
        return
    weights = dict(zip(whole.rows.indices[entries], np.abs(whole.rows.values[entries]), strict=True))
    column = max(free, key=lambda j: weights[j])
    value = values[column]
    for low, high in ((lower[column], value - 1), (value + 1, upper[column]), (value, value)):
        if low <= high:
            least, most = lower.copy(), upper.copy()
            least[column], most[column] = low, high
            yield least, most


def tightened(whole: WholeRows, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """The smallest box that rows of whole numbers leave of one, in exact integers; None if nothing is left.

    Bound propagation (Savelsbergh, "Preprocessing and probing techniques for mixed integer programming
    problems", 1994), each row by itself until none changes.
    """
    lower, upper, rows = lower.copy(), upper.copy(), whole.rows
    changed = True
    while changed:
        changed = False
        for i in range(rows.count):
            entries = slice(rows.starts[i], rows.starts[i + 1])
            terms = [
                (int(j), int(a)) for j, a in zip(rows.indices[entries], rows.values[entries], strict=True)
            ]
            for sign, limit in ((1, rows.upper[i]), (-1, -rows.lower[i])):
                if math.isinf(limit):
                    continue
                signed = [(j, sign * a) for j, a in terms]
                found = _tighten_row(signed, math.floor(limit), lower, upper)
                if found is None:
                    return None
                changed |= found
    return lower, upper


def _tighten_row(
    terms: list[tuple[int, int]], limit: int, lower: FloatArray, upper: FloatArray
) -> bool | None:
    """Tighten columns, in place, by a row of at most `limit`; whether one changed, None if none is left."""
    least = [lower[j] if a > 0 else upper[j] for j, a in terms]
    if not all(math.isfinite(each) for each in least):
        return False
    room = limit - sum(a * int(each) for (_, a), each in zip(terms, least, strict=True))
    if room < 0:
        return None
    changed = False
    for (j, a), each in zip(terms, least, strict=True):
        steps = room // abs(a)
        if a > 0 and int(each) + steps < upper[j]:
            upper[j], changed = int(each) + steps, True
        elif a < 0 and int(each) - steps > lower[j]:
            lower[j], changed = int(each) - steps, True
    return changed
