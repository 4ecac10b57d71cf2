"""A compact problem as a factor graph: forms of at most two variables, constraints on at most three.

A factor graph (Kschischang, Frey and Loeliger, "Factor graphs and the sum-product algorithm", IEEE
Transactions on Information Theory 47, 2001) writes a function of many variables as functions of few. What
bucket elimination costs depends on how few. A form over many variables (the input of a densely connected
layer is the sum of the sizes of all layers before it) would put all of them into one table. It is replaced by
a variable of its own, the last of a chain of running sums `s = s' + a*x`, each of which is defined by a
constraint on three variables and shared by all forms that begin in the same way.
"""

import math
from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.compact import Compact
from naivegraph.solvers.budget.problem import Floats, Ints

Parts = dict[int, float]


@dataclass(frozen=True, eq=False)
class SumConstraint:
    """The constraint `low <= sum_v parts[v] * value_v <= high` on at most three variables."""

    parts: Parts
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class RunningSum:
    """A variable that stands for the sum of at most two others; `whole` if it is always a whole number."""

    parts: Parts
    whole: bool


class FactorGraph:
    """The functions a compact problem is made of.

    Args:
        c: The problem. Its variables keep their numbers; running sums get the numbers that follow.

    Attributes:
        n: The number of the problem's variables.
        size: The number of all variables, running sums included.
        totals: The running sums, in an order in which each only needs earlier variables.
        forms: Per form its constant and its at most two parts.
        terms: Per term the forms it multiplies.
        scopes: Per term the variables it involves.
        constraints: Definitions of the running sums, and the rows.
    """

    def __init__(self, c: Compact) -> None:
        self.c = c
        self.n = len(c.count)
        self.running_sums: list[RunningSum] = []
        self.constraints: list[SumConstraint] = []
        self._known: dict[tuple[tuple[int, float], ...], int] = {}
        dense = [{int(v): float(row[v]) for v in np.flatnonzero(row)} for row in c.matrix]
        for parts in sorted((p for p in dense if len(p) > 2), key=len):
            self._total(parts)
        self.forms = [
            (float(constant), self._shorten(parts))
            for constant, parts in zip(c.constants, dense, strict=True)
        ]
        for row in c.rows:
            parts = {int(v): float(a) for v, a in zip(row.indices, row.coefficients, strict=True)}
            slack = 1e-9 * max(1.0, *(abs(b) for b in (row.lower, row.upper) if math.isfinite(b)))
            self.constraints.append(
                SumConstraint(self._chain(parts, 3), row.lower - slack, row.upper + slack)
            )
        self.terms = [tuple(int(f) for f in row if f) for row in c.factors]
        self.scopes = [frozenset(v for f in term for v in self.forms[f][1]) for term in self.terms]
        self.size = self.n + len(self.running_sums)

    def affine(self, term: int, v: int) -> bool:
        """Tell whether the term is affine in the variable: whether just one of its factors involves it."""
        return sum(v in self.forms[f][1] for f in self.terms[term]) == 1

    def spans(self, low: Ints, high: Ints) -> list[tuple[float, float, int]]:
        """Return first value, step and number of values of every variable from position `low` to `high`."""
        c = self.c
        out = [
            (float(c.start[v] + c.step[v] * low[v]), float(c.step[v]), int(high[v] - low[v] + 1))
            for v in range(self.n)
        ]
        for total in self.running_sums:
            ends = [
                sorted((a * out[v][0], a * (out[v][0] + out[v][1] * (out[v][2] - 1))))
                for v, a in total.parts.items()
            ]
            first, last = sum(e[0] for e in ends), sum(e[1] for e in ends)
            moving = [(v, a) for v, a in total.parts.items() if out[v][2] > 1]
            if not moving:
                out.append((first, 1.0, 1))
            elif total.whole:
                step = math.gcd(*(int(abs(a) * out[v][1]) for v, a in moving))
                out.append((first, float(step), round((last - first) / step) + 1))
            else:
                out.append((first, (last - first) / 1023, 1024))
        return out

    def _shorten(self, parts: Parts) -> Parts:
        """Write a sum as the running sum that equals it, if there is one."""
        key = tuple(sorted(parts.items()))
        return {self._known[key]: 1.0} if key in self._known else parts

    def _total(self, parts: Parts) -> int:
        """Return the variable that stands for the whole sum, adding running sums as needed."""
        key = tuple(sorted(parts.items()))
        if key not in self._known:
            short = self._chain(parts, 2)
            self._known[key] = self._define(short)
        return self._known[key]

    def _chain(self, parts: Parts, most: int) -> Parts:
        """Write a sum with at most `most` parts.

        The chain starts at the longest running sum that is part of it, so that forms share their beginnings,
        and takes the remaining parts one by one.
        """
        if len(parts) <= most:
            return parts
        inside = [
            key for key in self._known if len(key) < len(parts) and all(parts.get(v) == a for v, a in key)
        ]
        rest = list(parts.items())
        head: Parts = {}
        if inside:
            key = max(inside, key=len)
            head = {self._known[key]: 1.0}
            covered = dict(key)
            rest = [(v, a) for v, a in rest if v not in covered]
            seen = list(key)
        else:
            head, seen, rest = dict(rest[:1]), rest[:1], rest[1:]
        while len(head) + len(rest) > most:
            item = rest.pop(0)
            seen.append(item)
            key = tuple(sorted(seen))
            if key not in self._known:
                self._known[key] = self._define({**head, item[0]: item[1]})
            head = {self._known[key]: 1.0}
        return {**head, **dict(rest)}

    def _define(self, parts: Parts) -> int:
        """Add a running sum with the constraint that defines it, and return its number."""
        v = self.n + len(self.running_sums)
        whole = all(a == int(a) for a in parts.values()) and all(
            u < self.n or self.running_sums[u - self.n].whole for u in parts
        )
        self.running_sums.append(RunningSum(parts, whole))
        self.constraints.append(SumConstraint({v: -1.0, **parts}, 0.0, 0.0))
        return v


@dataclass(frozen=True, eq=False)
class Runs:
    """One variable's values in runs of neighbours: run i is the positions `first[i]` to `last[i]`.

    `low` and `high` are the smallest and largest value of each run, `best` the highest utility in it.
    """

    first: Ints
    last: Ints
    low: Floats
    high: Floats
    best: Floats

    @property
    def exact(self) -> bool:
        """True if every run is a single value."""
        return bool(np.all(self.first == self.last))


def graded(count: int, most: int, centres: list[int]) -> Ints:
    """Return the first position of each of at most `most` runs, short near the centres and longer elsewhere.

    Args:
        count: The number of positions.
        most: The largest number of runs.
        centres: The positions around which runs are short.

    Examples:
        >>> graded(100, 20, [50]).tolist()
        [0, 16, 27, 35, 40, 44, 46, 48, 49, 50, 51, 52, 54, 57, 61, 66, 75, 87]
    """
    if count <= most:
        return np.arange(count, dtype=np.int64)
    if most < 16:
        return np.unique(np.linspace(0, count, most, endpoint=False).astype(np.int64))
    near = np.min(np.abs(np.arange(count)[:, None] - np.array(centres or [count // 2])[None, :]), axis=1)
    growth = 1.0 / most
    while True:
        # One run per 1 + growth * distance positions, so lengths grow in proportion to the distance.
        runs = np.floor(np.cumsum(1.0 / (1.0 + growth * np.maximum(0, near - 1))))
        begins = np.flatnonzero(np.diff(runs, prepend=-1.0) > 0)
        if len(begins) <= most:
            return begins.astype(np.int64)
        growth *= 1.5


def runs_of(factors: FactorGraph, v: int, span: tuple[float, float, int], low: int, begins: Ints) -> Runs:
    """Lay out the runs of variable `v`, whose values are `span`; `low` is the position its box begins at."""
    first_value, step, count = span
    ends = np.append(begins[1:] - 1, count - 1)
    lows: Floats = first_value + step * begins.astype(np.float64)
    highs: Floats = first_value + step * ends.astype(np.float64)
    if v >= factors.n:
        # Sums of numbers that are not whole lie between grid points: each run is widened by one step.
        if not factors.running_sums[v - factors.n].whole and count > 1:
            lows, highs = np.maximum(lows - step, first_value), highs + step
        return Runs(begins, ends, lows, highs, np.zeros(len(begins), dtype=np.float64))
    c = factors.c
    run = c.gain[c.base[v] + low : c.base[v] + low + count]
    return Runs(begins + low, ends + low, lows, highs, np.maximum.reduceat(run, begins))
