"""A budget problem made small and laid out as arrays: the presolve of the budget solver.

The reductions are known from linear programming (Andersen and Andersen, "Presolving in linear programming",
Mathematical Programming 71, 1995): sizes that an equation ties become one variable (`merged_sizes`), a row on
one size becomes bounds on it, and values that another value dominates, worth less and costing no less, are
left out.
Each variable then has an arithmetic progression of values and is described by the position in it; utilities
of all values stand in one array, one variable after the other, and all costs are products of linear forms
with shared coefficients.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from naivegraph.solvers.budget.merged_sizes import MergedSizes, merged_sizes, title
from naivegraph.solvers.budget.problem import BudgetError, BudgetProblem, Floats, Ints, LinearSum, Row

_EXACT = 2.0**53  # whole numbers up to here are exact in a float


@dataclass(eq=False)
class Compact:
    """A problem over positions `0 <= x[v] < count[v]`; the value of v is `start[v] + step[v] * x[v]`.

    Args:
        merged: Sizes of the original problem in terms of the variables' values.
        start: Smallest value per variable.
        step: Distance of neighbouring values.
        count: Number of values per variable.
        base: Index of each variable's first entry in `gain` and `density`.
        gain: Utility at every value of every variable, one variable after the other.
        density: Utility per unit from each value to the next, made non-increasing (0 after the last value).
        constants: Constant of each linear form; form 0 is the number 1.
        matrix: Coefficients of the forms, forms by variables.
        weights: Coefficients of the terms, budgets by terms.
        factors: The forms each term multiplies, terms by largest degree, filled up with form 0.
        limits: Limit per budget.
        rows: Linear constraints that are left, on the values.
        rounding: Largest rounding error of each cost; 0 where it is exact.
    """

    merged: MergedSizes
    start: Ints
    step: Ints
    count: Ints
    base: Ints
    gain: Floats
    density: Floats
    constants: Floats
    matrix: Floats
    weights: Floats
    factors: Ints
    limits: Floats
    rows: list[Row]
    rounding: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        self._slopes = [self.matrix[self.factors[:, j]] for j in range(self.factors.shape[1])]

    def size(self, x: Ints) -> Floats:
        """Return the values at the positions `x`."""
        return (self.start + self.step * x).astype(np.float64)

    def lift(self, x: Ints) -> Ints:
        """Return the sizes of the original problem at the positions `x`."""
        merged = self.merged
        out: Ints = merged.scale * (self.start + self.step * x)[merged.member] + merged.offset
        return out

    def value(self, x: Ints) -> float:
        """Return the utility at the positions `x`."""
        return math.fsum(self.gain[self.base + x].tolist())

    def costs(self, k: Floats) -> Floats:
        """Return the cost of every budget at the values `k`."""
        forms = self.constants + self.matrix @ k
        out: Floats = self.weights @ forms[self.factors].prod(axis=1)
        return out

    def slopes(self, k: Floats) -> tuple[Floats, Floats]:
        """Return the cost of every budget at `k`, and its derivatives (budgets by variables).

        By the product rule the derivative of a term is the sum, over its factors, of the product of the
        others times the coefficients of that factor.
        """
        parts = (self.constants + self.matrix @ k)[self.factors]
        slope = np.zeros((len(self.weights), len(k)))
        for j, matrix in enumerate(self._slopes):
            others = np.delete(parts, j, axis=1).prod(axis=1)
            slope += (self.weights * others) @ matrix
        return self.weights @ parts.prod(axis=1), slope

    def fits(self, k: Floats) -> bool:
        """Tell whether the values `k` satisfy every budget and every row."""
        return bool(np.all(self.costs(k) <= self.limits)) and self.in_rows(k)

    def in_rows(self, k: Floats) -> bool:
        """Tell whether the values `k` satisfy every row, but for rounding."""
        for row in self.rows:
            s = float(row.coefficients @ k[row.indices])
            slack = 1e-9 * max(1.0, abs(s))
            if not row.lower - slack <= s <= row.upper + slack:
                return False
        return True


def magnitude(limits: Floats) -> Floats:
    """Return the magnitude of each limit, by which costs of other units are compared; 1 for a limit of 0."""
    out: Floats = np.where(limits == 0, 1.0, np.abs(limits))
    return out


def compact(problem: BudgetProblem) -> Compact:
    """Merge sizes that rows tie, turn rows on one size into bounds, and lay out the rest.

    Raises:
        BudgetError: A size has no value left, or a row without sizes is not satisfied.
    """
    merged = merged_sizes(problem)
    positions = [np.arange(count) for count in merged.count]
    rows = []
    for row in problem.rows:
        kept = merged.row(row)
        if len(kept.indices) > 1:
            rows.append(kept)
        elif len(kept.indices) == 1:
            v = int(kept.indices[0])
            positions[v] = _narrow(problem, merged, positions[v], kept)
        elif not kept.lower - 1e-9 <= 0 <= kept.upper + 1e-9:
            raise BudgetError(f"the row {row.name} cannot hold: it says {row.lower} <= 0 <= {row.upper}", {})
    in_rows = {int(v) for row in rows for v in row.indices}
    gains = []
    for v, group in enumerate(merged.groups):
        total = np.sum([problem.values[w][merged.sizes(w)[positions[v]]] for w in group], axis=0)
        if v not in in_rows:  # beyond its peak a size costs no less and is worth less: dominated
            peak = len(total) - 1 - int(np.argmax(total[::-1]))
            total, positions[v] = total[: peak + 1], positions[v][: peak + 1]
        gains.append(total)
    counts = np.array([len(each) for each in positions], dtype=np.int64)
    steps = merged.step
    density = [
        np.append(np.minimum.accumulate(np.diff(g) / s) if len(g) > 1 else [], 0.0)
        for g, s in zip(gains, steps, strict=True)
    ]
    constants, matrix, weights, factors = _layout(problem, merged)
    out = Compact(
        merged=merged,
        start=merged.start + steps * np.array([each[0] for each in positions], dtype=np.int64),
        step=steps,
        count=counts,
        base=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        gain=np.concatenate([*gains, np.zeros(0)]),
        density=np.concatenate([*density, np.zeros(0)]),
        constants=constants,
        matrix=matrix,
        weights=weights,
        factors=factors,
        limits=np.array([limit for _, limit in problem.costs], dtype=np.float64),
        rows=rows,
    )
    out.rounding = _rounding(out)
    return out


def _narrow(problem: BudgetProblem, merged: MergedSizes, positions: Ints, row: Row) -> Ints:
    """Return the positions that satisfy a row on one variable."""
    v = int(row.indices[0])
    scaled = row.coefficients[0] * (merged.start[v] + merged.step[v] * positions)
    kept: Ints = positions[(scaled >= row.lower - 1e-9) & (scaled <= row.upper + 1e-9)]
    if not len(kept):
        raise BudgetError(f"the row {row.name} leaves no value for {title(problem, merged.groups[v])}", {})
    return kept


def _layout(problem: BudgetProblem, merged: MergedSizes) -> tuple[Floats, Floats, Floats, Ints]:
    """Collect the different forms and terms of all budgets into arrays.

    Returns:
        Constants and coefficients of the forms, weights and factors of the terms, as in `Compact`.
    """
    n = len(merged.groups)
    forms: dict[bytes, int] = {}
    arrays: list[Floats] = []

    def form_of(form: LinearSum | None) -> int:
        """Return the index of a form, added if it is new; None is the number 1."""
        dense = np.zeros(n + 1)
        dense[n] = 1.0 if form is None else form.constant
        if form is not None:
            sizes = form.indices
            np.add.at(dense, merged.member[sizes], form.coefficients * merged.scale[sizes])
            dense[n] += form.coefficients @ merged.offset[sizes]
        key = dense.tobytes()
        if key not in forms:
            forms[key] = len(arrays)
            arrays.append(dense)
        return forms[key]

    form_of(None)
    terms: dict[tuple[int, ...], dict[int, float]] = {}
    for b, (cost, _) in enumerate(problem.costs):
        for term in cost.terms:
            key = tuple(sorted(i for i in map(form_of, term.factors) if i))
            shares = terms.setdefault(key, {})
            shares[b] = shares.get(b, 0.0) + term.coefficient
    degree = max((len(key) for key in terms), default=1) or 1
    weights = np.zeros((len(problem.costs), len(terms)))
    factors = np.zeros((len(terms), degree), dtype=np.int64)
    for t, (key, shares) in enumerate(terms.items()):
        factors[t, : len(key)] = key
        for b, coefficient in shares.items():
            weights[b, t] = coefficient
    stacked = np.array(arrays)
    return stacked[:, n].copy(), np.ascontiguousarray(stacked[:, :n]), weights, factors


def _rounding(c: Compact) -> Floats:
    """Return the rounding errors of the costs: 0 where all numbers are whole and small enough."""
    top = c.costs(c.size(c.count - 1))
    parts = (c.constants, c.matrix, c.weights)
    whole = all(bool(np.all(part == np.floor(part))) for part in parts)
    return np.where(whole & (top < _EXACT), 0.0, 1e-12 * np.maximum(np.abs(c.limits), np.abs(top) * 1e-3))
