"""The exact maximum of utility minus priced cost, one variable after the other (bucket elimination).

With prices on the budgets, what is left is a sum of small functions. A variable is removed by maximising over
it for every choice of its neighbours (Dechter, "Bucket elimination", 1999). Where all costs are linear in it,
that maximum depends on one number, the price of one unit, and a search in its marginal utilities replaces the
table. A variable with too many values for the tables is treated in runs of values: the utility of the best of
a run at the cost of the cheapest, which can only raise the maximum, so that it stays an upper bound.
"""

import math
from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.elimination_tables import Elimination, Tables
from naivegraph.solvers.budget.factor_graph import Bins, Factors, bins_of, graded
from naivegraph.solvers.budget.problem import Floats, Ints

CELLS = 400_000  # cells of the largest table


def plan(factors: Factors, sizes: dict[int, int], fixed: frozenset[int]) -> list[Elimination]:
    """Choose the order in which to remove the variables in `sizes`: smallest table first."""
    links: list[tuple[str, int, frozenset[int]]] = []
    for t, scope in enumerate(factors.scopes):
        links.append(("term", t, scope - fixed))
    for r, relation in enumerate(factors.relations):
        links.append(("relation", r, frozenset(relation.parts) - fixed))
    touching: dict[int, set[int]] = {v: set() for v in sizes}
    for i, (_, _, scope) in enumerate(links):
        for v in scope:
            touching[v].add(i)
    offers = {v: _offer(factors, v, sizes, [links[i] for i in touching[v]]) for v in sizes}
    steps: list[Elimination] = []
    while offers:
        v = min(offers, key=lambda u: (offers[u].size, u))
        step = offers.pop(v)
        gone = touching.pop(v)
        links.append(("table", len(steps), frozenset(step.scope)))
        for u in step.scope:
            touching[u] = (touching[u] - gone) | {len(links) - 1}
        for u in step.scope:
            offers[u] = _offer(factors, u, sizes, [links[i] for i in touching[u]])
        steps.append(step)
    return steps


def _offer(
    factors: Factors, v: int, sizes: dict[int, int], links: list[tuple[str, int, frozenset[int]]]
) -> Elimination:
    """Return how the variable would be removed now."""
    scope = sorted(set().union(*(s for _, _, s in links)) - {v})
    terms = [i for kind, i, _ in links if kind == "term"]
    relations = [i for kind, i, _ in links if kind == "relation"]
    tables = [i for kind, i, _ in links if kind == "table"]
    linear = (
        not relations
        and all(len(s) == 1 for kind, _, s in links if kind == "table")
        and all(factors.affine(t, v) for t in terms)
    )
    exact = [r for r in relations if factors.relations[r].high - factors.relations[r].low < 1e-6 and scope]
    size = math.prod(sizes[u] for u in scope)
    if not linear:
        size *= 2 if exact else sizes[v]
    return Elimination(
        v, tuple(scope), sorted(terms), relations, tables, linear, exact[0] if exact else None, size
    )


@dataclass(frozen=True, eq=False)
class Maximum:
    """What `Grid.maximise` found.

    Args:
        value: The upper bound at these prices.
        first: First position of the run each variable of the problem is in.
        last: Last position of that run.
        costs: Cost of every budget as the maximum counts it.
        marginals: For some variables: the bound if the variable were in run i, for all i.
    """

    value: float
    first: Ints
    last: Ints
    costs: Floats
    marginals: dict[int, Floats]


class Grid:
    """All tables for a box of positions, ready to be maximised at any prices."""

    def __init__(self, factors: Factors, low: Ints, high: Ints, centres: list[Ints]) -> None:
        self.factors = factors
        spans = factors.spans(low, high)
        self.fixed = frozenset(v for v, span in enumerate(spans) if span[2] == 1)
        free = [v for v in range(factors.size) if v not in self.fixed]
        constant = len(self.fixed)
        self.steps, caps = self._fit(free, [span[2] for span in spans])
        self.crude = len(self.fixed) > constant  # some variable had to become a single run
        points = [_values(factors, centre) for centre in centres]
        self.bins: list[Bins] = []
        for v, span in enumerate(spans):
            at = [int(np.clip((p[v] - span[0]) / span[1], 0, span[2] - 1)) for p in points]
            base = int(low[v]) if v < factors.n else 0
            self.bins.append(bins_of(factors, v, span, base, graded(span[2], caps.get(v, 1), at)))
        self.forms = [
            (
                constant + sum(a * float(self.bins[v].low[0]) for v, a in parts.items() if v in self.fixed),
                {v: a for v, a in parts.items() if v not in self.fixed},
            )
            for constant, parts in factors.forms
        ]
        self.settled = [t for t, scope in enumerate(factors.scopes) if scope <= self.fixed]
        self.possible = all(self._holds(r) for r in range(len(factors.relations)))
        self._ready = [self._prepare(step) for step in self.steps]

    def _fit(self, free: list[int], counts: list[int]) -> tuple[list[Elimination], dict[int, int]]:
        """Choose the number of runs per variable so that no table is too large, and the order of removal."""
        sizes = {v: min(counts[v], 1024 if v < self.factors.n else 4096) for v in free}
        while True:
            steps = plan(self.factors, sizes, self.fixed)
            worst = max(steps, key=lambda s: s.size, default=None)
            if worst is None or worst.size <= CELLS:
                break
            involved = worst.scope if worst.linear or worst.by is not None else (*worst.scope, worst.v)
            self._coarsen(sizes, involved, CELLS * math.prod(sizes[v] for v in involved) / worst.size)
        shared = {u for step in steps for u in step.scope} | {s.v for s in steps if not s.linear}
        return steps, {v: sizes[v] if v in shared else counts[v] for v in sizes}

    def _coarsen(self, sizes: dict[int, int], involved: tuple[int, ...], cells: float) -> None:
        """Lower the largest sizes until their product is at most `cells`; at worst to a single run."""
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
        """Return how much utility hangs on a variable; running sums come last, for others hang on them."""
        c = self.factors.c
        if v >= self.factors.n:
            return math.inf
        run = c.gain[c.base[v] : c.base[v] + c.count[v]]
        return float(run.max() - run.min())

    def _holds(self, r: int) -> bool:
        """Tell whether a relation can hold anywhere in the box."""
        relation = self.factors.relations[r]
        low = high = 0.0
        for v, a in relation.parts.items():
            ends = a * float(self.bins[v].low[0]), a * float(self.bins[v].high[-1])
            low, high = low + min(ends), high + max(ends)
        return low <= relation.high and high >= relation.low

    def _prepare(self, step: Elimination) -> Tables:
        """Compute whatever of a step does not depend on the prices."""
        axes = step.scope if step.linear or step.by is not None else (*step.scope, step.v)
        place = {v: i for i, v in enumerate(axes)}
        values = {
            v: self.bins[v].low.reshape([-1 if i == place[v] else 1 for i in range(len(axes))]) for v in axes
        }
        ready = Tables(step, axes, place)
        if step.linear:
            for t in step.terms:
                slope, rest = self._split(t, step.v, values)
                ready.add("slope", t, slope)
                if rest is not None:
                    ready.add("rest", t, rest)
        elif step.by is None:
            for t in step.terms:
                ready.add("rest", t, self._product(t, values))
            ready.open = [(None, self._mask(step.relations, axes, {}))]
        else:
            self._prepare_by(step, ready, values)
        ready.stack()
        return ready

    def _prepare_by(self, step: Elimination, ready: Tables, values: dict[int, Floats]) -> None:
        """Work out which runs of the variable an equation leaves open for each choice of its neighbours."""
        relation = self.factors.relations[step.by or 0]
        a = relation.parts[step.v]
        low = high = np.zeros([1] * len(ready.axes))
        for u, b in relation.parts.items():
            if u != step.v:
                ends = self._ends(u, b, ready.place.get(u), len(ready.axes))
                low, high = low + ends[0], high + ends[1]
        ends = (relation.low - high) / a, (relation.high - low) / a
        small, large = np.minimum(*ends), np.maximum(*ends)
        own = self.bins[step.v]
        shape = tuple(len(self.bins[u].low) for u in ready.axes)
        begin = np.searchsorted(own.high, small - 1e-6)
        end = np.searchsorted(own.low, large + 1e-6, side="right") - 1
        others = [r for r in step.relations if r != step.by]
        for offset in range(int(np.max(end - begin, initial=-1)) + 1):
            at = np.minimum(begin + offset, len(own.low) - 1)
            mask = np.where(begin + offset <= end, 0.0, -np.inf)
            mask = mask + self._mask(others, ready.axes, {step.v: at})
            ready.open.append((at, mask))
            values[step.v] = own.low[at]
            for t in step.terms:
                ready.add(f"rest{offset}", t, np.broadcast_to(self._product(t, values), shape))

    def _ends(self, u: int, b: float, axis: int | None, n: int) -> tuple[Floats, Floats]:
        """Return smallest and largest of `b` times a variable, along its axis."""
        shape = [1] * n
        if axis is not None:
            shape[axis] = -1
        bins = self.bins[u]
        x, y = (b * bins.low).reshape(shape), (b * bins.high).reshape(shape)
        return np.minimum(x, y), np.maximum(x, y)

    def _mask(self, relations: list[int], axes: tuple[int, ...], at: dict[int, Ints]) -> Floats:
        """Return 0 where the relations can hold and minus infinity elsewhere."""
        out = np.zeros([1] * len(axes))
        for r in relations:
            relation = self.factors.relations[r]
            low = high = np.zeros([1] * len(axes))
            for u, b in relation.parts.items():
                if u in at:
                    x, y = b * self.bins[u].low[at[u]], b * self.bins[u].high[at[u]]
                    ends = np.minimum(x, y), np.maximum(x, y)
                else:
                    ends = self._ends(u, b, axes.index(u) if u in axes else None, len(axes))
                low, high = low + ends[0], high + ends[1]
            out = out + np.where((low <= relation.high + 1e-6) & (high >= relation.low - 1e-6), 0.0, -np.inf)
        return out

    def _form(self, f: int, values: dict[int, Floats]) -> Floats:
        constant, parts = self.forms[f]
        out = np.asarray(constant, dtype=np.float64)
        for v, a in parts.items():
            out = out + a * values[v]
        return out

    def _product(self, t: int, values: dict[int, Floats]) -> Floats:
        """Return a term's product of forms."""
        out = np.ones(())
        for f in self.factors.terms[t]:
            out = out * self._form(f, values)
        return out

    def _split(self, t: int, v: int, values: dict[int, Floats]) -> tuple[Floats, Floats | None]:
        """Return a term as `slope * v + rest`."""
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
        """Return the maximum of utility plus `prices` times what is left of each budget, over the box."""
        c = self.factors.c
        weights = prices @ c.weights
        tables: list[Floats] = []
        total, marginals = 0.0, {}
        for ready in self._ready:
            own = self.bins[ready.step.v].best
            table, marginal = ready.reduce(own, self.bins[ready.step.v].low, weights, tables, self._ready)
            tables.append(np.broadcast_to(table, [len(self.bins[u].low) for u in ready.step.scope]))
            if not ready.step.scope:
                total += float(table)
                if marginal is not None and ready.step.v < self.factors.n:
                    marginals[ready.step.v] = marginal
        chosen = self._trace(weights, tables)
        total += sum(float(self.bins[v].best[0]) for v in self.fixed)
        total -= sum(weights[t] * float(self._product(t, {})) for t in self.settled)
        total += float(prices @ c.limits)
        values = {v: self.bins[v].low[chosen[v]] for v in range(self.factors.size)}
        products = np.array([float(self._product(t, values)) for t in range(len(self.factors.terms))])
        first = np.array([self.bins[v].first[chosen[v]] for v in range(self.factors.n)], dtype=np.int64)
        last = np.array([self.bins[v].last[chosen[v]] for v in range(self.factors.n)], dtype=np.int64)
        if not (self.possible and np.isfinite(total)):
            return Maximum(-np.inf, first, last, c.weights @ products, {})
        margin = 1e-11 * (
            abs(total) + float(prices @ np.abs(c.limits)) + float(np.abs(c.gain).max(initial=0.0))
        )
        shifted = {v: m + (total - float(m.max()) + margin) for v, m in marginals.items()}
        return Maximum(total + margin, first, last, c.weights @ products, shifted)

    def _trace(self, weights: Floats, tables: list[Floats]) -> list[int]:
        """Go back through the steps and find the run every variable is in at the maximum."""
        chosen = [0] * self.factors.size
        values = {v: np.asarray(self.bins[v].low[0]) for v in self.fixed}
        for ready in reversed(self._ready):
            step, v = ready.step, ready.step.v
            values[v] = self.bins[v].low
            score = self.bins[v].best.copy()
            for i in step.tables:
                score += tables[i][
                    tuple(slice(None) if u == v else chosen[u] for u in self._ready[i].step.scope)
                ]
            for t in step.terms:
                score -= weights[t] * self._product(t, values)
            if step.relations:
                known = {u: np.array([chosen[u]]) for u in range(self.factors.size) if u != v and u in values}
                score += self._mask(step.relations, (v,), known)
            chosen[v] = int(np.argmax(score))
            values[v] = np.asarray(self.bins[v].low[chosen[v]])
        return chosen


def _values(factors: Factors, x: Ints) -> Floats:
    """Return the values of all variables, running sums too, at the positions `x`."""
    out = [*factors.c.size(x).tolist()]
    for total in factors.totals:
        out.append(sum(a * out[v] for v, a in total.parts.items()))
    return np.array(out)
