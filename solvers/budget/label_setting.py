"""Every choice worth more than a cutoff, or the proof that there is none: label setting.

In a small problem the best priced choice and the best choice within the budgets can lie far apart, because
sizes are whole numbers, and many splits are needed to tell so by bounds alone. Here partial choices, labels,
are extended by one variable after the other instead, in the reverse order of bucket elimination, as in
resource-constrained shortest paths (Irnich and Desaulniers, "Shortest path problems with resource
constraints", in "Column generation", 2005). A label is dropped if

1. its bound is not above the cutoff: the tables of bucket elimination tell exactly how much utility plus
   priced slack the rest can add (Handler and Zang, "A dual algorithm for the constrained shortest path
   problem", Networks 10, 1980); or
2. another label dominates it: the variables that the rest depends on have the same values, and the other
   costs no more in any budget and is worth no less, but for a small tolerance (epsilon-dominance; Laumanns,
   Thiele, Deb and Zitzler, "Combining convergence and diversity in evolutionary multiobjective optimization",
   Evolutionary Computation 10, 2002). Tolerances add up to `slack`, which is counted into the bound.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from naivegraph.solvers.budget.bucket_elimination import BucketElimination
from naivegraph.solvers.budget.elimination_tables import Elimination
from naivegraph.solvers.budget.problem import Floats, Ints

_LABELS = 60_000  # labels that are kept at once
_TRIED = 400_000  # labels that are compared at once
_COMPARED = 3_000  # of them with several budgets, where each is compared with each
_CELLS = 3_000_000  # labels times values of the next variable

# A variable and, for each label that chose it last, the label it was made of and the variable's run.
_Step = tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int32]]


@dataclass(eq=False)
class _Labels:
    """Partial choices.

    Args:
        state: The run of each variable that the rest depends on, by variable.
        before: The label that each was made of, among those of one variable less.
        own: The run of the variable chosen last.
        bound: Upper bounds on utility plus priced slack of all that a label can become.
        worth: Utilities of what is chosen.
        costs: Its costs; a column per budget.
    """

    state: dict[int, Ints]
    before: Ints
    own: Ints
    bound: Floats
    worth: Floats
    costs: Floats

    def take(self, at: Ints) -> "_Labels":
        """Return some of the labels."""
        state = {u: runs[at] for u, runs in self.state.items()}
        return _Labels(state, self.before[at], self.own[at], self.bound[at], self.worth[at], self.costs[at])


class LabelSetting:
    """Search through all choices in the box of a bucket elimination, whose runs are single values.

    Args:
        grid: The elimination.
        prices: Utility per unit of each budget, at least 0.
    """

    def __init__(self, grid: BucketElimination, prices: Floats) -> None:
        self.grid = grid
        self.total, self.tables = grid.tables(prices)
        self.weights = prices @ grid.factors.c.weights

    def best_above(self, cutoff: float, slack: float) -> tuple[float, Ints | None] | None:
        """Return the bound on all choices in the box, and the best choice above the cutoff, if any.

        Args:
            cutoff: Choices worth no more than this are not looked for.
            slack: The most by which the bound may exceed cutoff and best choice.

        Returns:
            The bound, at least the cutoff, and the positions of the best choice within the budgets; None
            where there would be too many labels.
        """
        grid, c = self.grid, self.grid.factors.c
        steps = [tables.step for tables in grid.step_tables]
        labels = self._root()
        needed = [frozenset[int]()]
        for step in steps:  # the variables that this step and those eliminated before it depend on
            needed.append((needed[-1] | set(step.scope)) - {step.v})
        share = slack / max(len(steps), 1)
        path: list[_Step] = []
        for number, step in reversed(list(enumerate(steps))):
            if len(labels.bound) * len(grid.runs[step.v].low) > _CELLS:
                return None
            labels = self._extended(labels, step, sorted(needed[number]), cutoff)
            if len(labels.bound) > _TRIED:
                return None
            labels = _undominated(labels, share)
            if len(labels.bound) > _LABELS:
                return None
            path.append((step.v, labels.before.astype(np.int32), labels.own.astype(np.int32)))
        fitting = np.all(labels.costs <= c.limits + c.rounding, axis=1)
        if not fitting.any():
            return cutoff + slack, None
        at = int(np.argmax(np.where(fitting, labels.worth, -np.inf)))
        return max(cutoff, float(labels.worth[at])) + slack, self._positions(path, at)

    def _positions(self, path: list[_Step], at: int) -> Ints:
        """Return the positions that a label of the last step stands for."""
        runs = np.zeros(self.grid.factors.size, dtype=np.int64)
        for v, before, own in reversed(path):
            runs[v], at = own[at], before[at]
        x = [self.grid.runs[v].first[runs[v]] for v in range(self.grid.factors.n)]
        return np.array(x, dtype=np.int64)

    def _root(self) -> _Labels:
        """Return the label in which only fixed variables are chosen."""
        grid = self.grid
        worth = sum(float(grid.runs[v].best[0]) for v in grid.fixed)
        costs = np.zeros(len(grid.factors.c.limits))
        for t in grid.settled:
            costs = costs + grid.factors.c.weights[:, t] * float(grid.product(t, {}))
        none = np.zeros(1, dtype=np.int64)
        return _Labels(
            {},
            none,
            none,
            np.array([self.total]),
            np.array([worth]),
            costs[None],
        )

    def _extended(self, labels: _Labels, step: Elimination, needed: list[int], cutoff: float) -> _Labels:
        """Return all labels that one more variable makes of these, with bounds above the cutoff.

        Args:
            labels: What is chosen so far.
            step: The variable to choose.
            needed: The variables that the rest will depend on.
            cutoff: The bound that is too low.
        """
        grid, v = self.grid, step.v
        runs = grid.runs[v]
        values = {u: grid.runs[u].low[labels.state[u]][:, None] for u in step.scope}
        values[v] = runs.low[None, :]
        score = np.broadcast_to(runs.best, (len(labels.bound), len(runs.low))).copy()
        for i in step.tables:
            scope = grid.step_tables[i].step.scope
            axes = tuple(
                np.arange(len(runs.low))[None, :] if u == v else labels.state[u][:, None] for u in scope
            )
            score += self.tables[i][axes]
        products = {t: grid.product(t, values) for t in step.terms}
        for t, product in products.items():
            score -= self.weights[t] * product
        for r in step.constraints:
            constraint = grid.factors.constraints[r]
            total = np.zeros(score.shape)
            for u, a in constraint.parts.items():
                total += a * self._value(labels, u, v)
            score[(total < constraint.low - 1e-6) | (total > constraint.high + 1e-6)] = -np.inf
        most = score.max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            bound = labels.bound[:, None] + np.where(np.isfinite(most), score - most, -np.inf)
        parents, own = np.nonzero(bound > cutoff)
        costs = labels.costs[parents]
        for t, product in products.items():
            spent = np.broadcast_to(product, score.shape)[parents, own]
            costs = costs + grid.factors.c.weights[:, t] * spent[:, None]
        return _Labels(
            {u: own if u == v else labels.state[u][parents] for u in needed},
            parents,
            own,
            bound[parents, own],
            labels.worth[parents] + runs.best[own],
            costs,
        )

    def _value(self, labels: _Labels, u: int, v: int) -> Floats:
        """Return the values of a variable: along the second axis if it is the one being chosen."""
        low = self.grid.runs[u].low
        if u in self.grid.fixed:
            return low[:1, None]
        values: Floats = low[None, :] if u == v else low[labels.state[u]][:, None]
        return values


def _undominated(labels: _Labels, slack: float) -> _Labels:
    """Drop labels that another dominates: of the same state, no dearer, hardly worth less."""
    if len(labels.bound) < 2:
        return labels
    order = np.lexsort((-labels.worth, labels.costs.sum(axis=1), *labels.state.values()))
    labels = labels.take(order)
    new = np.zeros(len(order), dtype=bool)
    for runs in labels.state.values():
        new[1:] |= runs[1:] != runs[:-1]
    state = np.cumsum(new).astype(np.int64)
    if labels.costs.shape[1] == 1:
        return labels.take(_staircase(state, labels.worth, slack))
    if len(order) > _COMPARED:
        return labels
    return labels.take(_maxima(state, labels.costs, labels.worth, slack))


def _staircase(state: Ints, worth: Floats, slack: float) -> Ints:
    """Return the labels, by rising cost in each state, that are worth a step more than all cheaper ones."""
    step = max(slack, 1e-12 * float(np.abs(worth).max()), 1e-300)
    height = np.floor((worth - worth.min()) / step).astype(np.int64)
    height += state * (int(height.max()) + 1)
    most = np.maximum.accumulate(np.concatenate([[-1], height[:-1]]))
    kept = height > most
    kept[1:] |= state[1:] != state[:-1]
    return np.flatnonzero(kept)


def _maxima(state: Ints, costs: Floats, worth: Floats, slack: float) -> Ints:
    """Return the labels that none before them in their state dominates, where there are several budgets."""
    kept: list[int] = []
    first = 0
    for i in range(len(state)):
        if i and state[i] != state[i - 1]:
            first = len(kept)
        rivals = np.array(kept[first:], dtype=np.int64)
        better = np.all(costs[rivals] <= costs[i], axis=1) & (worth[rivals] >= worth[i] - slack)
        if not better.any():
            kept.append(i)
    return np.array(kept, dtype=np.int64)
