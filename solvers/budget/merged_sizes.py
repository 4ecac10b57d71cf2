"""Sizes that equations tie, merged into one variable each.

An equation `a*x - b*y = c` with positive a and b leaves one degree of freedom: both sizes are linear, rising
functions of it. Substitution turns longer equations into such ones, too (aggregation; Andersen and Andersen,
"Presolving in linear programming", Mathematical Programming 71, 1995). What remains of a group of tied sizes
are the whole-number choices that all of its bounds and steps allow, an arithmetic progression.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from naivegraph.solvers.budget.problem import BudgetError, BudgetProblem, Ints, Row

# A size as `factor * root + constant`.
_Affine = tuple[int, Fraction, Fraction]


@dataclass(frozen=True, eq=False)
class MergedSizes:
    """Variables in place of sizes: size w is `scale[w] * value + offset[w]` for the value of `member[w]`.

    Attributes:
        member: Per size its variable.
        scale: Per size how many times the value it is.
        offset: Per size what is added to that, at least 0.
        start: Per variable its smallest value.
        step: Per variable the distance of neighbouring values.
        count: Per variable the number of values.
        groups: Per variable its sizes.
    """

    member: Ints
    scale: Ints
    offset: Ints
    start: Ints
    step: Ints
    count: Ints
    groups: list[list[int]]

    def sizes(self, w: int) -> Ints:
        """Return all values that size w can have."""
        v = self.member[w]
        values = self.start[v] + self.step[v] * np.arange(self.count[v])
        out: Ints = self.scale[w] * values + self.offset[w]
        return out

    def row(self, row: Row) -> Row:
        """Write a row over the variables' values."""
        dense = np.zeros(len(self.count))
        np.add.at(dense, self.member[row.indices], row.coefficients * self.scale[row.indices])
        constant = float(row.coefficients @ self.offset[row.indices])
        kept = np.flatnonzero(dense)
        return Row(row.name, kept.astype(np.int64), dense[kept], row.lower - constant, row.upper - constant)


def merged_sizes(problem: BudgetProblem) -> MergedSizes:
    """Merge the sizes that equations tie; groups are in order of their first sizes.

    Raises:
        BudgetError: A size has no value left.
    """
    tied = _tied(problem)
    groups: dict[int, list[int]] = {}
    for w, (root, _, _) in enumerate(tied):
        groups.setdefault(root, []).append(w)
    n = len(problem.names)
    member, scale, offset = (np.zeros(n, dtype=np.int64) for _ in range(3))
    start, step, count = (np.zeros(len(groups), dtype=np.int64) for _ in range(3))
    for v, (root, group) in enumerate(groups.items()):
        choices = _choices(problem, group, [tied[w] for w in group], root)
        count[v] = len(choices[0])
        strides = [int(each[1] - each[0]) if len(each) > 1 else 1 for each in choices]
        step[v] = math.gcd(*strides)
        for w, stride in zip(group, strides, strict=True):
            member[w], scale[w] = v, stride // step[v]
        start[v] = min(int(each[0]) // int(scale[w]) for w, each in zip(group, choices, strict=True))
        for w, each in zip(group, choices, strict=True):
            offset[w] = each[0] - scale[w] * start[v]
    return MergedSizes(member, scale, offset, start, step, count, list(groups.values()))


def title(problem: BudgetProblem, group: list[int]) -> str:
    """Return the name of a group of sizes, for messages."""
    names = [problem.names[w] for w in group]
    return names[0] if len(names) == 1 else f"{names[0]} (tied to {', '.join(names[1:4])})"


def _tied(problem: BudgetProblem) -> list[_Affine]:
    """Write every size as an affine, rising function of the first size of its group."""
    tied: list[_Affine] = [(w, Fraction(1), Fraction(0)) for w in range(len(problem.names))]
    equations = [row for row in problem.rows if row.lower == row.upper and _whole(row)]
    while True:
        left = []
        for row in equations:
            parts, constant = _substituted(row, tied)
            if len(parts) > 2:
                left.append(row)
            elif len(parts) == 2 and math.prod(parts.values()) < 0:
                (one, a), (two, b) = sorted(parts.items())
                _merge(tied, two, (one, -a / b, -constant / b))
        if len(left) == len(equations):
            return tied
        equations = left


def _whole(row: Row) -> bool:
    return all(float(a).is_integer() for a in (*row.coefficients, row.lower))


def _substituted(row: Row, tied: list[_Affine]) -> tuple[dict[int, Fraction], Fraction]:
    """Write an equation `parts + constant = 0` over the first sizes of groups."""
    parts: dict[int, Fraction] = {}
    constant = -Fraction(row.lower)
    for w, a in zip(row.indices.tolist(), row.coefficients.tolist(), strict=True):
        root, factor, more = tied[w]
        parts[root] = parts.get(root, Fraction(0)) + Fraction(a) * factor
        constant += Fraction(a) * more
    return {root: a for root, a in parts.items() if a}, constant


def _merge(tied: list[_Affine], root: int, by: _Affine) -> None:
    """Put a group into another one: its first size becomes an affine function of the other's."""
    other, factor, constant = by
    for w, (own, a, b) in enumerate(tied):
        if own == root:
            tied[w] = (other, a * factor, a * constant + b)


def _choices(problem: BudgetProblem, group: list[int], tied: list[_Affine], root: int) -> list[Ints]:
    """Return the values that each size of a group can have, together with those of the others."""
    base = _allowed(problem, root)
    possible = np.ones(len(base), dtype=bool)
    for w, (_, factor, constant) in zip(group, tied, strict=True):
        down = math.lcm(factor.denominator, constant.denominator)
        times = int(factor * down) * base + int(constant * down)
        possible &= (times % down == 0) & np.isin(times // down, _allowed(problem, w))
    base = base[possible]
    if not len(base):
        raise BudgetError(
            f"no value is allowed for {title(problem, group)}: bounds, steps and rows exclude each other", {}
        )
    return [
        (base * factor.numerator * constant.denominator + constant.numerator * factor.denominator)
        // (factor.denominator * constant.denominator)
        for _, factor, constant in tied
    ]


def _allowed(problem: BudgetProblem, w: int) -> Ints:
    """Return the values that bounds and step of a size allow, an arithmetic progression."""
    low, high, step = int(problem.lower[w]), int(problem.upper[w]), int(problem.steps[w])
    if high < step:
        return np.array([high], dtype=np.int64)
    return np.arange(-(-low // step) * step, high + 1, step, dtype=np.int64)
