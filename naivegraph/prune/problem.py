"""Pruning as a budget problem: one integer per width, costs as sums of products of sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from naivegraph.solvers.budget import BudgetProblem, Cost, Linear, Row, Term
from naivegraph.utility.utility import Floats
from naivegraph.widths import Demands, Width, Widths
from naivegraph.widths.axis import Atom, Axis
from naivegraph.widths.polynomial import Polynomial

__all__ = ["Posed", "pose"]


# A linear form `constant + sum of factor * column`: (constant, ((column, factor), ...)).
Form = tuple[int, tuple[tuple[int, int], ...]]


class Posed:
    """A budget problem over the widths that may change.

    Attributes:
        free: The widths which have a column, in its order.
        problem: Sizes, values, rows and costs.
    """

    def __init__(self, widths: Widths, demands: Demands, held: Mapping[Atom, str]) -> None:
        self.widths = widths
        self.free = [width for width in widths.widths if width.atom not in held]
        self.column = {width.atom: index for index, width in enumerate(self.free)}
        self.rows = [
            row for i, r in enumerate(demands.rows) if (row := self._row(i, r.polynomial)) is not None
        ]

    def _row(self, index: int, polynomial: Polynomial) -> Row | None:
        left = polynomial.holding(lambda atom: atom not in self.column)
        parts = {self.column[m[0]]: float(c) for m, c in left.terms.items() if m}
        constant = -float(left.terms.get((), 0))
        return Row.of(f"row {index}", parts, constant, constant) if parts else None

    def macs(self) -> Cost:
        """The multiply-accumulates of one run."""
        return self._cost("macs", [(c.coefficient, c.axes) for c in self.widths.contractions])

    def params(self) -> Cost:
        """The number of parameters."""
        return self._cost("params", [(1, axes) for axes in self.widths.parameters().values()])

    def _cost(self, name: str, products: Sequence[tuple[int, Sequence[Axis]]]) -> Cost:
        merged: dict[tuple[Form, ...], int] = {}
        for coefficient, axes in products:
            for chosen in itertools.product(*[self._factors(axis) for axis in axes]):
                number = coefficient * math.prod(factor for factor, _ in chosen)
                forms = tuple(sorted(form for _, part in chosen for form in part))
                merged[forms] = merged.get(forms, 0) + number
        terms = [
            Term(float(number), tuple(Linear.of(constant, dict(parts)) for constant, parts in forms))
            for forms, number in merged.items()
        ]
        return Cost(name, tuple(terms))

    def _factors(self, axis: Axis) -> list[tuple[int, list[Form]]]:
        """An axis' size as a sum of products: numbers and forms `(constant, ((column, factor), ...))`."""
        size = Polynomial.of_axis(axis).holding(lambda atom: atom not in self.column)
        if size.degree == 0:
            return [(size.terms.get((), 0), [])]
        if size.degree == 1:
            parts = tuple((self.column[m[0]], c) for m, c in size.terms.items() if m)
            return [(1, [(size.terms.get((), 0), parts)])]
        return [(c, [(0, ((self.column[atom], 1),)) for atom in m]) for m, c in size.terms.items()]

    def steps(self, round_to: int) -> list[int]:
        """The step of every column so that all sizes of layers become multiples of `round_to`.

        In a product of widths (heads times head size) it is the longest which is rounded.
        """
        steps = [1] * len(self.free)
        if round_to == 1:
            return steps
        for axes in self.widths.axes.values():
            for axis in axes:
                for monomial, coefficient in Polynomial.of_axis(axis).terms.items():
                    free = [atom for atom in monomial if atom in self.column]
                    if free:
                        fixed = coefficient * math.prod(a.length for a in monomial if a not in self.column)
                        longest = self.column[max(free, key=lambda atom: atom.length)]
                        steps[longest] = math.lcm(steps[longest], round_to // math.gcd(round_to, fixed))
        return steps

    def ratio(self, ratio: float, steps: Sequence[int]) -> BudgetProblem:
        """Every axis as near to `ratio` of its size as rows and steps allow.

        In a product of widths (heads times head size) the outermost gives way and the ones inside it stay,
        for halving both would leave a quarter.
        """
        targets = [
            max(round(width.size * ratio / step) * step, min(step, width.size))
            for width, step in zip(self.free, steps, strict=True)
        ]
        for index in self._inside(targets):
            targets[index] = max(self.free[index].size // steps[index] * steps[index], 1)
        values = [
            -np.abs(np.arange(width.size + 1) - target) / width.size
            for width, target in zip(self.free, targets, strict=True)
        ]
        return self._problem(values, [], steps)

    def _inside(self, targets: Sequence[int]) -> set[int]:
        """The columns of widths that stand inside one which is to shrink, in the axis of any parameter."""
        inside: set[int] = set()

        def walk(axis: Axis, within: bool) -> None:
            for term in axis.terms:
                below = within
                for factor in term:
                    if isinstance(factor, Axis):
                        walk(factor, below)
                    elif isinstance(factor, Atom) and factor in self.column:
                        index = self.column[factor]
                        if below:
                            inside.add(index)
                        below = below or targets[index] < self.free[index].size

        for axes in self.widths.axes.values():
            for axis in axes:
                walk(axis, False)
        return inside

    def budgets(
        self, utility: Mapping[Width, Floats], costs: list[tuple[Cost, float]], steps: Sequence[int]
    ) -> BudgetProblem:
        """Keep the most utility within budgets."""
        values = [np.concatenate([[0.0], np.cumsum(np.sort(utility[width])[::-1])]) for width in self.free]
        return self._problem(values, costs, steps)

    def _problem(
        self, values: list[Floats], costs: list[tuple[Cost, float]], steps: Sequence[int]
    ) -> BudgetProblem:
        return BudgetProblem.of(
            values,
            costs,
            names=[width.name for width in self.free],
            lower=np.minimum([width.size for width in self.free], 1),
            steps=np.asarray(steps, np.int64),
            rows=self.rows,
        )


def pose(widths: Widths, demands: Demands, keep: Mapping[Atom, str]) -> Posed:
    """The problem over all widths that neither the code nor `keep` holds."""
    return Posed(widths, demands, {**demands.holds, **keep})
