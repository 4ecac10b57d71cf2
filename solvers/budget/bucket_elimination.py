"""The exact maximum of utility minus priced cost, one variable after the other: bucket elimination.

With a price per budget (a Lagrange multiplier, at least 0) the problem becomes

    maximise  sum_v utility_v(x_v) - sum_t weight_t * term_t(x) + sum_b price_b * limit_b,

where `weight_t` is the priced coefficient of term t. Whatever the prices, no answer within the budgets is
worth more than this maximum (weak duality), and each term involves few variables (`factor_graph`).

Bucket elimination (R. Dechter, "Bucket elimination: a unifying framework for reasoning", Artificial
Intelligence 113, 1999) maximises such a sum exactly. To remove a variable, collect the functions that involve
it, its bucket; for every choice of the other variables in them, the scope, take the maximum over the
variable; this table is a new function of the scope and replaces the bucket. When no variable is left, the sum
is a number. Back through the steps, each variable takes its best value given those removed after it. Time and
memory grow with the largest table, so the order matters: the variable whose table is smallest goes next, a
greedy choice.

Three things keep tables small:

1. A variable in which all of its terms are affine needs no axis of its own. Its neighbours matter through one
   number, the price `s` of one unit, and `max_k utility(k) - s * k` is a Legendre-Fenchel conjugate: a search
   of `s` in the marginal utilities (`elimination_tables`).
2. A variable in an equation, such as a running sum, is all but determined by the others in it: only the few
   runs that satisfy the equation are compared.
3. A variable with too many values is treated in runs of neighbouring values: the utility of the best of a run
   at the cost of its smallest. Costs never fall as values grow, so this can only raise the maximum, which
   stays an upper bound.
"""

import math
from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.elimination_order import CELLS, elimination_order
from naivegraph.solvers.budget.elimination_tables import Elimination, StepTables
from naivegraph.solvers.budget.factor_graph import FactorGraph, Runs, graded, runs_of
from naivegraph.solvers.budget.problem import Floats, Ints


@dataclass(frozen=True, eq=False)
class Maximum:
    """The result of `BucketElimination.maximise`.

    Args:
        value: The maximum at these prices, an upper bound on every answer in the box; -inf if the box has
            none.
        first: First position of the run each variable of the problem is in, at the maximum.
        last: Last position of that run.
        costs: Cost of every budget as the maximum counts it.
        marginals: For each variable removed last of its component: entry i is the bound if it were in run i.
    """

    value: float
    first: Ints
    last: Ints
    costs: Floats
    marginals: dict[int, Floats]


class BucketElimination:
    """Bucket elimination in a box of positions, prepared as far as it does not depend on the prices."""

    def __init__(self, factors: FactorGraph, low: Ints, high: Ints, centres: list[Ints]) -> None:
        """Choose runs and an order for the box, and compute the tables.

        Args:
            factors: The functions of the problem.
            low: The first position of each variable.
            high: The last position of each variable.
            centres: Positions around which runs are short, for the maximum is expected there.
        """
        self.factors = factors
        spans = factors.spans(low, high)
        self.fixed = frozenset(v for v, span in enumerate(spans) if span[2] == 1)
        free = [v for v in range(factors.size) if v not in self.fixed]
        constant = len(self.fixed)
        self.steps, caps = self._fit(free, [span[2] for span in spans])
        self.crude = len(self.fixed) > constant  # some variable had to become a single run
        points = [_values(factors, centre) for centre in centres]
        self.runs: list[Runs] = []
        for v, span in enumerate(spans):
            at = [int(np.clip((p[v] - span[0]) / span[1], 0, span[2] - 1)) for p in points]
            base = int(low[v]) if v < factors.n else 0
            self.runs.append(runs_of(factors, v, span, base, graded(span[2], caps.get(v, 1), at)))
        self.forms = [
            (
                constant + sum(a * float(self.runs[v].low[0]) for v, a in parts.items() if v in self.fixed),
                {v: a for v, a in parts.items() if v not in self.fixed},
            )
            for constant, parts in factors.forms
        ]
        self.settled = [t for t, scope in enumerate(factors.scopes) if scope <= self.fixed]
        self.possible = all(self._holds(r) for r in range(len(factors.constraints)))
        self.step_tables = [self._prepare(step) for step in self.steps]

    def _fit(self, free: list[int], counts: list[int]) -> tuple[list[Elimination], dict[int, int]]:
        """Choose the order of removal and the most runs per variable, for tables of at most `CELLS` cells."""
        sizes = {v: min(counts[v], 1024 if v < self.factors.n else 4096) for v in free}
        while True:
            steps = elimination_order(self.factors, sizes, self.fixed)
            worst = max(steps, key=lambda s: s.size, default=None)
            if worst is None or worst.size <= CELLS:
                break
            # The largest table alone is coarsened; the order may change with it, so it is chosen afresh.
            involved = worst.scope if worst.linear or worst.equation is not None else (*worst.scope, worst.v)
            self._coarsen(sizes, involved, CELLS * math.prod(sizes[v] for v in involved) / worst.size)
        shared = {u for step in steps for u in step.scope} | {s.v for s in steps if not s.linear}
        return steps, {v: sizes[v] if v in shared else counts[v] for v in sizes}

    def _coarsen(self, sizes: dict[int, int], involved: tuple[int, ...], cells: float) -> None:
        """Lower the largest sizes until their product is at most `cells`; at worst to a single run."""
        # Fewer than four runs each would tell little: variables with little utility at stake become one run.
        involved = tuple(sorted(involved, key=self._stake))
        while cells < 4.0 ** len(involved):
            self.fixed |= {involved[0]}
            del sizes[involved[0]]
            involved = involved[1:]
        cap = max(sizes[v] for v in involved)
        while math.prod(min(sizes[v], cap) for v in involved) > cells:
            cap = min(cap - 1, int(cap * 0.9))
        for v in involved:
            sizes[v] = min(sizes[v], cap)

    def _stake(self, v: int) -> float:
        """Return the utility that depends on a variable; inf for running sums, which others depend on."""
        c = self.factors.c
        if v >= self.factors.n:
            return math.inf
        run = c.gain[c.base[v] : c.base[v] + c.count[v]]
        return float(run.max() - run.min())

    def _holds(self, r: int) -> bool:
        """Tell whether a constraint can be satisfied anywhere in the box."""
        constraint = self.factors.constraints[r]
        low = high = 0.0
        for v, a in constraint.parts.items():
            ends = a * float(self.runs[v].low[0]), a * float(self.runs[v].high[-1])
            low, high = low + min(ends), high + max(ends)
        return low <= constraint.high and high >= constraint.low

    def _prepare(self, step: Elimination) -> StepTables:
        """Compute the parts of a step that do not depend on the prices."""
        axes = step.scope if step.linear or step.equation is not None else (*step.scope, step.v)
        place = {v: i for i, v in enumerate(axes)}
        values = {
            v: self.runs[v].low.reshape([-1 if i == place[v] else 1 for i in range(len(axes))]) for v in axes
        }
        step_tables = StepTables(step, axes, place)
        if step.linear:
            for t in step.terms:
                slope, rest = self._split(t, step.v, values)
                step_tables.add("slope", t, slope)
                if rest is not None:
                    step_tables.add("rest", t, rest)
        elif step.equation is None:
            for t in step.terms:
                step_tables.add("rest", t, self.product(t, values))
            step_tables.choices = [(None, self._mask(step.constraints, axes, {}))]
        else:
            self._prepare_equation(step, step_tables, values)
        step_tables.stack()
        return step_tables

    def _prepare_equation(
        self, step: Elimination, step_tables: StepTables, values: dict[int, Floats]
    ) -> None:
        """Work out the runs of the variable that an equation allows for each choice of its neighbours.

        An equation `low <= a*v + sum_u b_u*u <= high`, whose ends differ by rounding at most, puts v between
        two values that follow from the runs of the others. Entry j of `choices` is the j-th run between them,
        with minus infinity where there is none.
        """
        constraint = self.factors.constraints[step.equation or 0]
        a = constraint.parts[step.v]
        # The sum of the others lies in low to high: their runs are intervals, and so is what they leave to v.
        low = high = np.zeros([1] * len(step_tables.axes))
        for u, b in constraint.parts.items():
            if u != step.v:
                ends = self._ends(u, b, step_tables.place.get(u), len(step_tables.axes))
                low, high = low + ends[0], high + ends[1]
        ends = (constraint.low - high) / a, (constraint.high - low) / a
        small, large = np.minimum(*ends), np.maximum(*ends)
        own = self.runs[step.v]
        shape = tuple(len(self.runs[u].low) for u in step_tables.axes)
        begin = np.searchsorted(own.high, small - 1e-6)
        end = np.searchsorted(own.low, large + 1e-6, side="right") - 1
        others = [r for r in step.constraints if r != step.equation]
        for offset in range(int(np.max(end - begin, initial=-1)) + 1):
            at = np.minimum(begin + offset, len(own.low) - 1)
            mask = np.where(begin + offset <= end, 0.0, -np.inf)
            mask = mask + self._mask(others, step_tables.axes, {step.v: at})
            step_tables.choices.append((at, mask))
            values[step.v] = own.low[at]
            for t in step.terms:
                step_tables.add(f"rest{offset}", t, np.broadcast_to(self.product(t, values), shape))

    def _ends(self, u: int, b: float, axis: int | None, n: int) -> tuple[Floats, Floats]:
        """Return the smallest and the largest value of `b` times a variable in each run, along `axis`.

        Args:
            u: The variable.
            b: Its coefficient.
            axis: The axis for its runs; None if it has a single run.
            n: The number of axes of the result.
        """
        shape = [1] * n
        if axis is not None:
            shape[axis] = -1
        runs = self.runs[u]
        x, y = (b * runs.low).reshape(shape), (b * runs.high).reshape(shape)
        return np.minimum(x, y), np.maximum(x, y)

    def _mask(self, constraints: list[int], axes: tuple[int, ...], at: dict[int, Ints]) -> Floats:
        """Return 0 where the constraints can be satisfied and minus infinity elsewhere.

        Args:
            constraints: Indices of the constraints.
            axes: The variable of each axis.
            at: The runs of variables that have no axis.
        """
        out = np.zeros([1] * len(axes))
        for r in constraints:
            constraint = self.factors.constraints[r]
            low = high = np.zeros([1] * len(axes))
            for u, b in constraint.parts.items():
                if u in at:
                    x, y = b * self.runs[u].low[at[u]], b * self.runs[u].high[at[u]]
                    ends = np.minimum(x, y), np.maximum(x, y)
                else:
                    ends = self._ends(u, b, axes.index(u) if u in axes else None, len(axes))
                low, high = low + ends[0], high + ends[1]
            out = out + np.where(
                (low <= constraint.high + 1e-6) & (high >= constraint.low - 1e-6), 0.0, -np.inf
            )
        return out

    def _form(self, f: int, values: dict[int, Floats]) -> Floats:
        constant, parts = self.forms[f]
        out = np.asarray(constant, dtype=np.float64)
        for v, a in parts.items():
            out = out + a * values[v]
        return out

    def product(self, t: int, values: dict[int, Floats]) -> Floats:
        """Return the product of a term's forms."""
        out = np.ones(())
        for f in self.factors.terms[t]:
            out = out * self._form(f, values)
        return out

    def _split(self, t: int, v: int, values: dict[int, Floats]) -> tuple[Floats, Floats | None]:
        """Write a term, in which v has to be in one factor only, as `slope * v + rest`; rest None for 0."""
        slope, rest = np.ones(()), None
        others = np.ones(())
        for f in self.factors.terms[t]:
            constant, parts = self.forms[f]
            if v in parts:
                slope = np.asarray(parts[v])
                left = {u: a for u, a in parts.items() if u != v}
                if constant or left:
                    rest = constant + sum((a * values[u] for u, a in left.items()), np.zeros(()))
            else:
                others = others * self._form(f, values)
        return slope * others, None if rest is None else rest * others

    def maximise(self, prices: Floats) -> Maximum:
        """Maximise utility plus `prices` times the slack of each budget over the box.

        Args:
            prices: Utility per unit of each budget, at least 0.
        """
        c = self.factors.c
        weights = prices @ c.weights
        total, tables, marginals = self._reduced(prices)
        chosen = self._trace(weights, tables)
        values = {v: self.runs[v].low[chosen[v]] for v in range(self.factors.size)}
        products = np.array([float(self.product(t, values)) for t in range(len(self.factors.terms))])
        first = np.array([self.runs[v].first[chosen[v]] for v in range(self.factors.n)], dtype=np.int64)
        last = np.array([self.runs[v].last[chosen[v]] for v in range(self.factors.n)], dtype=np.int64)
        if not (self.possible and np.isfinite(total)):
            return Maximum(-np.inf, first, last, c.weights @ products, {})
        margin = self._margin(total, prices)
        shifted = {v: m + (total - float(m.max()) + margin) for v, m in marginals.items()}
        return Maximum(total + margin, first, last, c.weights @ products, shifted)

    def tables(self, prices: Floats) -> tuple[float, list[Floats]]:
        """Return the maximum at these prices, an upper bound, and the table of every step."""
        total, tables, _ = self._reduced(prices)
        return total + self._margin(total, prices), tables

    @property
    def exact(self) -> bool:
        """True if every run is a single value."""
        return not self.crude and all(bool(np.all(runs.low == runs.high)) for runs in self.runs)

    def _reduced(self, prices: Floats) -> tuple[float, list[Floats], dict[int, Floats]]:
        """Return the maximum, the table of every step, and the marginals before the rest is added to them."""
        weights = prices @ self.factors.c.weights
        tables: list[Floats] = []
        total, marginals = 0.0, {}
        for step_tables in self.step_tables:
            own = self.runs[step_tables.step.v]
            table, marginal = step_tables.reduce(own.best, own.low, weights, tables, self.step_tables)
            tables.append(np.broadcast_to(table, [len(self.runs[u].low) for u in step_tables.step.scope]))
            if not step_tables.step.scope:
                total += float(table)
                if marginal is not None and step_tables.step.v < self.factors.n:
                    marginals[step_tables.step.v] = marginal
        total += sum(float(self.runs[v].best[0]) for v in self.fixed)
        total -= sum(weights[t] * float(self.product(t, {})) for t in self.settled)
        return total + float(prices @ self.factors.c.limits), tables, marginals

    def _margin(self, total: float, prices: Floats) -> float:
        """Return more than sums of floats may fall short of the true maximum by."""
        c = self.factors.c
        return 1e-11 * (
            abs(total) + float(prices @ np.abs(c.limits)) + float(np.abs(c.gain).max(initial=0.0))
        )

    def _trace(self, weights: Floats, tables: list[Floats]) -> list[int]:
        """Go back through the steps and return the run of every variable at the maximum."""
        chosen = [0] * self.factors.size
        values = {v: np.asarray(self.runs[v].low[0]) for v in self.fixed}
        for step_tables in reversed(self.step_tables):
            step, v = step_tables.step, step_tables.step.v
            values[v] = self.runs[v].low
            score = self.runs[v].best.copy()
            for i in step.tables:
                score += tables[i][
                    tuple(slice(None) if u == v else chosen[u] for u in self.step_tables[i].step.scope)
                ]
            for t in step.terms:
                score -= weights[t] * self.product(t, values)
            if step.constraints:
                known = {u: np.array([chosen[u]]) for u in range(self.factors.size) if u != v and u in values}
                score += self._mask(step.constraints, (v,), known)
            chosen[v] = int(np.argmax(score))
            values[v] = np.asarray(self.runs[v].low[chosen[v]])
        return chosen


def _values(factors: FactorGraph, x: Ints) -> Floats:
    """Return the values of all variables, running sums too, at the positions `x`."""
    out = [*factors.c.size(x).tolist()]
    for total in factors.running_sums:
        out.append(sum(a * out[v] for v, a in total.parts.items()))
    return np.array(out)
