"""A bound for costs that tie many sizes to each other: messages between single terms.

At a price per budget a problem is a sum of functions of single sizes and of factors, products of two or
three sizes. Where so many sizes meet that the tables of `bucket_elimination` would have to be coarse, each
factor is maximised by itself instead, together with shares of the utilities of its sizes:

    max sum_v u_v - sum_f cost_f  <=  sum_v max (u_v - sum_f d_fv)  +  sum_f max (sum_v d_fv - cost_f)

for any shares `d_fv`, functions of one size each. That is the dual of a linear program which is exact where
the factors form a tree, and often close to it elsewhere (Wainwright, Jaakkola and Willsky, "MAP estimation
via agreement on trees", IEEE Transactions on Information Theory 51, 2005). The shares are lowered in sweeps
from size to size: each takes all its factors can do without, and hands it out again to those whose other
sizes come later (Kolmogorov, "A new look at reweighted message passing", IEEE Transactions on Pattern
Analysis and Machine Intelligence 37, 2015). No sweep raises the bound.

Sweeps use some values of each size only, and shares between them are interpolated, as any shares will do.
The bound itself is worked out over all values: the maximum of a product of two sizes is a Legendre-Fenchel
conjugate of one for each value of the other.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from naivegraph.solvers.budget.compact import Compact
from naivegraph.solvers.budget.elimination_tables import conjugate
from naivegraph.solvers.budget.factor_graph import graded
from naivegraph.solvers.budget.problem import Floats, Ints

# Values of a size that sweeps use, by the most sizes of its factors: first few, then more.
_LEVELS = ({0: 48, 1: 48, 2: 48, 3: 16}, {0: 192, 1: 192, 2: 192, 3: 32})
_SWEEPS = 4  # between two looks at the bound over these values
_LOOKS = 16
_MOST = 4_000  # factors; with more, sweeps take long
_TOGETHER = 60_000  # numbers that are worked on at once, few enough for a processor's cache


@dataclass(frozen=True, eq=False)
class MessageMaximum:
    """The bound at some prices.

    Args:
        value: The bound: no answer in the box is worth more.
        first: Positions near the maximum, each chosen in view of those before it.
        costs: Costs of every budget at the maxima, whose distance to the limits is a subgradient.
        low: The smallest position of each variable that could beat the cutoff.
        high: The largest.
        aside: The highest bound of all that lies outside of `low` to `high`.
    """

    value: float
    first: Ints
    costs: Floats
    low: Ints
    high: Ints
    aside: float


class MessageBound:
    """Bounds for boxes of one compact problem without rows.

    Attributes:
        possible: Whether all terms are products of at most three different variables.
    """

    def __init__(self, c: Compact) -> None:
        """Write the costs as sums of products of variables."""
        self.c = c
        monomials = None if c.rows else _monomials(c)
        self.possible = monomials is not None
        if monomials is None:
            return
        n, zero = len(c.count), np.zeros(len(c.limits))
        self.constant = monomials.pop((), zero)
        self.single = np.stack([monomials.pop((v,), zero) for v in range(n)]) if n else zero[None][:0]
        self.scopes = list(monomials)
        self.weights = np.array(list(monomials.values())).reshape(-1, len(c.limits))
        self.of = [[f for f, scope in enumerate(self.scopes) if v in scope] for v in range(n)]
        self._shares: dict[tuple[int, int], tuple[int, Floats]] = {}  # with the position each begins at

    def bound(
        self, prices: Floats, low: Ints, high: Ints, centre: Ints, cutoff: float, near: float
    ) -> MessageMaximum:
        """Return the lowest bound on a box that sweeps at these prices lead to.

        Args:
            prices: Utility per unit of each budget, at least 0.
            low: First position of each variable.
            high: Last position of each variable.
            centre: Positions around which sweeps look at every value.
            cutoff: The bound that is low enough.
            near: The bound up to which a value is ruled out.
        """
        c = self.c
        values = [
            (c.start[v] + c.step[v] * np.arange(a, b + 1)).astype(float) for v, (a, b) in _ranges(low, high)
        ]
        cost = self.weights @ prices
        own = [
            c.gain[c.base[v] + a : c.base[v] + b + 1] - float(self.single[v] @ prices) * values[v]
            for v, (a, b) in _ranges(low, high)
        ]
        fixed = float(prices @ (c.limits - self.constant))
        for levels in _LEVELS:
            sweep = _Sweep(self.scopes, self.of, cost, values, own, centre - low, levels)
            sweep.begin(self._shares, low)
            sweep.settle(fixed, cutoff - 0.2 * (cutoff - near), near)
            shares = sweep.shares()
            self._shares = {(f, v): (int(low[v]), share) for (f, v), share in shares.items()}
            if fixed + sweep.value() > cutoff:  # over all values it would be no lower
                break
        return self._looked(sweep, shares, prices, low, high, near)

    def _looked(
        self,
        sweep: "_Sweep",
        shares: dict[tuple[int, int], Floats],
        prices: Floats,
        low: Ints,
        high: Ints,
        cutoff: float,
    ) -> MessageMaximum:
        """Work out the bound by some shares over all values, and the values it rules out."""
        c = self.c
        left = [own.copy() for own in sweep.own]
        for (_, v), share in shares.items():
            left[v] -= share
        total = float(prices @ (c.limits - self.constant))
        costs = self.constant.copy()
        scale = float(prices @ np.abs(c.limits))
        marginals: list[list[Floats]] = [[] for _ in left]
        for f, scope in enumerate(self.scopes):
            most, at, each = _factor_maximum(
                float(sweep.cost[f]), [sweep.values[v] for v in scope], [shares[f, v] for v in scope]
            )
            total, scale = total + most, scale + abs(most)
            costs += self.weights[f] * float(
                np.prod([sweep.values[v][i] for v, i in zip(scope, at, strict=True)])
            )
            for v, marginal in zip(scope, each, strict=True):
                if marginal is not None:
                    marginals[v].append(marginal - most)
        first = np.array([int(np.argmax(one)) for one in left], dtype=np.int64)
        for v, one in enumerate(left):
            most = float(one[first[v]])
            total, scale = total + most, scale + abs(most)
            costs += self.single[v] * sweep.values[v][first[v]]
        total += 1e-11 * (abs(total) + scale)
        narrow_low, narrow_high, aside = low.copy(), high.copy(), -np.inf
        for v, one in enumerate(left):
            alone = total + (one - one.max()) + sum(marginals[v], np.zeros(len(one)))
            good = np.flatnonzero(alone > cutoff)
            a, b = (int(good[0]), int(good[-1])) if len(good) else (len(alone), -1)
            aside = max(
                aside, float(np.concatenate([alone[:a], alone[max(b, a - 1) + 1 :]]).max(initial=-np.inf))
            )
            narrow_low[v], narrow_high[v] = low[v] + a, low[v] + b
        return MessageMaximum(total, low + sweep.decoded(), costs, narrow_low, narrow_high, aside)


class _Sweep:
    """Shares over some values of every variable, and what lowers the bound by them."""

    def __init__(
        self,
        scopes: list[tuple[int, ...]],
        of: list[list[int]],
        cost: Floats,
        values: list[Floats],
        own: list[Floats],
        centre: Ints,
        levels: dict[int, int],
    ) -> None:
        self.scopes, self.of, self.cost, self.values, self.own = scopes, of, cost, values, own
        most = [levels[max((len(scopes[f]) for f in each), default=0)] for each in of]
        self.levels = [
            _positions(len(each), most[v], int(np.clip(at, 0, len(each) - 1)))
            for v, (each, at) in enumerate(zip(values, centre.tolist(), strict=True))
        ]
        at = self._at = [each[levels] for each, levels in zip(values, self.levels, strict=True)]
        self._pairs = [[f for f in each if len(scopes[f]) == 2] for each in of]
        self._more = [[f for f in each if len(scopes[f]) > 2] for each in of]
        self._slopes = [self._pair_slopes(v) for v in range(len(of))]
        self._share = {(f, v): np.zeros(len(at[v])) for f, scope in enumerate(scopes) for v in scope}
        self._left = [each[levels].copy() for each, levels in zip(own, self.levels, strict=True)]
        # A variable hands out equal parts to the factors whose other variables come later.
        later = [[f for f in each if max(scopes[f]) > v] for v, each in enumerate(of)]
        earlier = [[f for f in each if min(scopes[f]) < v] for v, each in enumerate(of)]
        self._to = {1: later, -1: earlier}
        self._part = [1.0 / max(len(a), len(b), 1) for a, b in zip(later, earlier, strict=True)]

    def begin(self, shares: dict[tuple[int, int], tuple[int, Floats]], low: Ints) -> None:
        """Begin with shares of an earlier sweep where these are over all values."""
        for (f, v), (start, share) in shares.items():
            at = low[v] - start + self.levels[v]
            if at[0] >= 0 and at[-1] < len(share):
                self._share[f, v] = share[at]
                self._left[v] = self._left[v] - self._share[f, v]

    def settle(self, fixed: float, target: float, near: float) -> None:
        """Sweep until the bound over the values used, plus `fixed`, is at the target or hardly falls."""
        value = np.inf
        for _ in range(_LOOKS):
            for _ in range(_SWEEPS):
                self.run()
            before, value = value, fixed + self.value()
            if value <= target or value > before - 0.04 * (before - near):
                break

    def run(self) -> None:
        """Sweep over all variables, there and back."""
        n = len(self.own)
        for way in (1, -1):
            for v in range(n)[::way]:
                self._settle(v, self._to[way][v])

    def _settle(self, v: int, to: list[int]) -> None:
        left = self._left[v]
        others = [(f, self._most(f, v)) for f in self._more[v]]
        for f, most in itertools.chain(zip(self._pairs[v], self._pairs_most(v), strict=True), others):
            left = left + self._share[f, v] + most
            self._share[f, v] = -most
        for f in to:
            self._share[f, v] = self._share[f, v] + self._part[v] * left
        self._left[v] = left * (1.0 - self._part[v] * len(to))

    def _pair_slopes(self, v: int) -> Floats:
        """Cost of each pair of a variable per unit of it: a row per value of the other, a column per pair."""
        others = [self._at[self._other(f, v)] for f in self._pairs[v]]
        slopes = np.zeros((max(map(len, others), default=0), len(others)))
        for column, (f, values) in enumerate(zip(self._pairs[v], others, strict=True)):
            slopes[: len(values), column] = self.cost[f] * values
        return slopes

    def _other(self, f: int, v: int) -> int:
        one, two = self.scopes[f]
        return two if one == v else one

    def _pairs_most(self, v: int) -> Floats:
        """The most that each pair of a variable comes to without its share: a row per pair."""
        slopes, values = self._slopes[v], self._at[v]
        shares = np.full(slopes.shape, -np.inf)
        for column, f in enumerate(self._pairs[v]):
            share = self._share[f, self._other(f, v)]
            shares[: len(share), column] = share
        out = np.empty((slopes.shape[1], len(values)))
        together = max(1, _TOGETHER // max(slopes.shape[0] * len(values), 1))
        for a in range(0, len(out), together):
            part = slice(a, a + together)
            total = slopes[:, part, None] * -values
            total += shares[:, part, None]
            out[part] = total.max(axis=0)
        return out

    def _most(self, f: int, v: int) -> Floats:
        """The most that a factor comes to for each value of one of its variables, without its share."""
        scope = self.scopes[f]
        total, place = -self._cost(f), scope.index(v)
        for i, u in enumerate(scope):
            if u != v:
                total = total + self._share[f, u].reshape([-1 if j == i else 1 for j in range(len(scope))])
        most: Floats = total.max(axis=tuple(i for i in range(len(scope)) if i != place))
        return most

    def _cost(self, f: int) -> Floats:
        return float(self.cost[f]) * _outer([self._at[v] for v in self.scopes[f]])

    def decoded(self) -> Ints:
        """Choose one variable after the other, each by what it is worth with those chosen before."""
        at: dict[int, int] = {}
        for v, left in enumerate(self._left):
            score = left
            for f in self.of[v]:
                scope, total = self.scopes[f], -self._cost(f)
                for i, u in enumerate(scope):
                    shape = [-1 if j == i else 1 for j in range(len(scope))]
                    total = total + self._share[f, u].reshape(shape)
                total = total[tuple(slice(at[u], at[u] + 1) if u in at else slice(None) for u in scope)]
                place = scope.index(v)
                score = score + total.max(axis=tuple(i for i in range(len(scope)) if i != place))
            at[v] = int(np.argmax(score))
        return np.array([levels[at[v]] for v, levels in enumerate(self.levels)], dtype=np.int64)

    def value(self) -> float:
        """The bound over the values that are used."""
        total = float(sum(left.max() for left in self._left))
        for f, scope in enumerate(self.scopes):
            total += float((self._most(f, scope[0]) + self._share[f, scope[0]]).max())
        return total

    def shares(self) -> dict[tuple[int, int], Floats]:
        """The shares over all values, interpolated between those that were used."""
        return {
            (f, v): np.interp(self.values[v], self.values[v][self.levels[v]], share)
            for (f, v), share in self._share.items()
        }


def _ranges(low: Ints, high: Ints) -> list[tuple[int, tuple[int, int]]]:
    return list(enumerate(zip(low.tolist(), high.tolist(), strict=True)))


def _positions(count: int, most: int, centre: int) -> Ints:
    """Some of the positions below `count`, both ends among them, many near the centre."""
    return np.unique(np.concatenate([graded(count, most, [centre]), [count - 1, centre]])).astype(np.int64)


def _outer(values: list[Floats]) -> Floats:
    out = values[0]
    for more in values[1:]:
        out = out[..., None] * more
    return out


def _factor_maximum(
    cost: float, values: list[Floats], shares: list[Floats]
) -> tuple[float, list[int], list[Floats | None]]:
    """The maximum of shares minus cost times the product of values, exact.

    Returns:
        The maximum, the index of each value at it, and for the last variable and, of two, the first one the
        maximum for each of its values (None for others).
    """
    order = sorted(range(len(values)), key=lambda i: len(values[i]))
    *outer, inner = order  # the conjugate is of the variable with the most values
    grid = _outer([values[i] for i in outer])
    best = conjugate(values[inner], shares[inner], cost * grid)
    for axis, i in enumerate(outer):
        best = best + shares[i].reshape([-1 if j == axis else 1 for j in range(len(outer))])
    flat = int(np.argmax(best))
    at = [0] * len(values)
    for i, position in zip(outer, np.unravel_index(flat, best.shape), strict=True):
        at[i] = int(position)
    slope = cost * float(np.prod([values[i][at[i]] for i in outer]))
    at[inner] = int(np.argmax(shares[inner] - slope * values[inner]))
    each: list[Floats | None] = [None] * len(values)
    for axis, i in enumerate(outer):
        each[i] = best.max(axis=tuple(j for j in range(len(outer)) if j != axis))
    return float(best.max()), at, each


def _monomials(c: Compact) -> dict[tuple[int, ...], Floats] | None:
    """The costs as coefficients per budget of products of variables; None where some are of other forms."""
    out: dict[tuple[int, ...], Floats] = {}
    still = c.count == 1
    constants, matrix = c.constants + c.matrix[:, still] @ c.start[still], np.where(still, 0.0, c.matrix)
    forms = [
        [((), float(constant)), *(((int(v),), float(row[v])) for v in np.flatnonzero(row))]
        for constant, row in zip(constants, matrix, strict=True)
    ]
    for t, factors in enumerate(c.factors.tolist()):
        for chosen in itertools.product(*[forms[f] for f in factors if f]):
            number = float(np.prod([a for _, a in chosen]))
            key = tuple(sorted(v for part, _ in chosen for v in part))
            if not number:
                continue
            if len(key) > 3 or len(set(key)) < len(key):
                return None
            out[key] = out.get(key, np.zeros(len(c.limits))) + c.weights[:, t] * number
            if len(out) > _MOST:
                return None
    return out
