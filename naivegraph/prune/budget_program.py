"""Pruning as a budget problem: one integer per width, costs as sums of products of sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.costs import SizeProduct
from naivegraph.errors import EditError
from naivegraph.operators import constraints
from naivegraph.prune.branch_choices import BranchChoices, Form
from naivegraph.prune.branches import Branch
from naivegraph.solvers.budget import BudgetProblem, CostFunction, LinearSum, Row, Term
from naivegraph.solvers.budget.problem import Ints
from naivegraph.utility.collect import Floats
from naivegraph.utility.ranking import NeuronRanking, required
from naivegraph.widths import SizeConstraints, Width, Widths

__all__ = ["BudgetProgram", "pose"]


class BudgetProgram:
    """A budget problem over the widths that may change.

    Attributes:
        free: The widths with a column, in order of the columns.
        fixed_by_rules: Widths that keep their size because of a custom rule, with the reason.
        column: The column of each free width, by its atom.
        rows: The linear constraints of the code and of custom rules.
        floors: The least sizes that were asked for, by atom.
        choices: Which branches may go, if any; their columns follow those of the widths.
        told: Other reasons for which widths keep their size, or change with others alone.
    """

    def __init__(
        self,
        widths: Widths,
        constraints: SizeConstraints,
        fixed: Mapping[Atom, str],
        floors: Mapping[Atom, int],
    ) -> None:
        self.widths, self.constraints, self.floors = widths, constraints, floors
        self.fixed_by_rules = _fixed_by_rules(widths, constraints, fixed)
        self.free = [w for w in widths.widths if w.atom not in fixed and w.atom not in self.fixed_by_rules]
        self.column = {width.atom: index for index, width in enumerate(self.free)}
        self.rows: list[Row] = []
        self.choices = BranchChoices(len(self.free), (), ())
        self.told: tuple[str, ...] = ()
        self._multiples = [1] * len(self.free)
        for index, constraint in enumerate(constraints.width_constraints):
            self._constrain(f"row {index}", constraint)

    def let_go(self, branches: Sequence[Branch], values: Sequence[float]) -> None:
        """Add a column per branch that may be left out, and what each is worth."""
        self.choices = BranchChoices(len(self.free), tuple(branches), tuple(values))

    def reasons(self) -> list[str]:
        """Reasons for which widths keep their size, each once."""
        return [*dict.fromkeys([*self.told, *self.fixed_by_rules.values(), *self.constraints.fixed.values()])]

    def bounds(self) -> list[str]:
        """Reasons for which widths may not become as small as one neuron, each once."""
        rows = [row for row in self.constraints.width_constraints if row.high is None and row.low is not None]
        return [*dict.fromkeys(r.reason for r in rows if r.polynomial.value(lambda atom: 1) < (r.low or 0))]

    def _constrain(self, name: str, constraint: constraints.WidthConstraint) -> None:
        """Add a constraint on widths: a row, or for a multiple a step of each column."""
        left = constraint.polynomial.with_constants(lambda atom: atom not in self.column)
        parts = {self.column[m[0]]: float(c) for m, c in left.terms.items() if m}
        if not parts:
            return
        if constraint.multiple > 1:
            for column, factor in parts.items():
                step = _step(constraint.multiple, int(factor))
                self._multiples[column] = math.lcm(self._multiples[column], step)
            return
        constant = left.terms.get((), 0)
        lower = -math.inf if constraint.low is None else constraint.low - constant
        upper = math.inf if constraint.high is None else constraint.high - constant
        self.rows.append(Row.of(constraint.reason if constraint.rule else name, parts, lower, upper))

    def cost(self, name: str, products: Iterable[SizeProduct], limit: float) -> tuple[CostFunction, float]:
        """A sum of products as a function of the columns, and its limit without what no column is in.

        Args:
            name: The name of the cost.
            products: The products.
            limit: The most that their sum may be.

        Raises:
            EditError: It falls as a size grows, which the search for sizes cannot handle.
        """
        merged: dict[tuple[Form, ...], int | float] = {}
        for coefficient, axes, where in products:
            gates = self.choices.forms(where)
            if not math.isfinite(coefficient) or (coefficient < 0 and axes):
                raise EditError(
                    f"the cost {name!r} counts {coefficient} times a product of sizes; a cost that "
                    "budgets are to limit has coefficients from 0 up"
                )
            for chosen in itertools.product(*[self._factors(axis) for axis in axes]):
                number = coefficient * math.prod(factor for factor, _ in chosen)
                forms = tuple(sorted([*gates, *(form for _, part in chosen for form in part)]))
                merged[forms] = merged.get(forms, 0) + number
        if merged.get((), 0) < 0:
            limit -= merged.pop(())
        terms = [
            Term(float(number), tuple(LinearSum.of(constant, dict(parts)) for constant, parts in forms))
            for forms, number in merged.items()
        ]
        return CostFunction(name, tuple(terms)), limit

    def _factors(self, axis: Axis) -> list[tuple[int, list[Form]]]:
        """The size of an axis as a sum of products of a number and forms."""
        size = Polynomial.of_axis(axis).with_constants(lambda atom: atom not in self.column)
        if size.degree == 0:
            return [(size.terms.get((), 0), [])]
        if size.degree == 1:
            parts = tuple((self.column[m[0]], c) for m, c in size.terms.items() if m)
            return [(1, [(size.terms.get((), 0), parts)])]
        return [(c, [(0, ((self.column[atom], 1),)) for atom in m]) for m, c in size.terms.items()]

    def steps(self, round_to: int) -> list[int]:
        """The step of every column so that all sizes of layers become multiples of `round_to`.

        In a product of widths (heads times head size) the longest is rounded.
        """
        steps = list(self._multiples)
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

    def ratio(self, ratio: Mapping[Atom, float], steps: Sequence[int]) -> BudgetProblem:
        """The problem with every axis as near to its ratio of its size as rows and steps allow.

        In a product of widths (heads times head size) the outermost gives way and the ones inside it stay,
        for halving both would leave a quarter.
        """
        targets = [
            width.size
            if ratio[width.atom] == 1.0
            else max(round(width.size * ratio[width.atom] / step) * step, min(step, width.size))
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
        """The columns of widths that stand inside one that is to shrink, in the axis of any parameter."""
        inside: set[int] = set()

        def walk(axis: Axis, within: bool) -> None:
            """Add the columns in an axis that stands inside a shrinking width, or not."""
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

    def tie(self, groups: Sequence[Sequence[int]]) -> None:
        """Require the columns of each group to be equal."""
        self.rows += _equal(groups)

    def tie_shares(self, groups: Sequence[Sequence[int]]) -> None:
        """Require the columns of each group to keep the same share of their sizes."""
        self.rows += self._same_share(groups)

    def valued(
        self,
        values: list[Floats],
        steps: Sequence[int],
        groups: Sequence[Sequence[int]],
        shares: Sequence[Sequence[int]] = (),
    ) -> BudgetProblem:
        """The problem of sizes of the most value, by column and size.

        Args:
            values: The value of each size, by column.
            steps: The step of each column.
            groups: Columns that are equal.
            shares: Columns that keep the same share of their sizes.
        """
        return self._problem(values, [], steps, [*_equal(groups), *self._same_share(shares)])

    def _same_share(self, groups: Sequence[Sequence[int]]) -> list[Row]:
        size = [width.size for width in self.free]
        return [
            Row.of(f"share {group[0]} {other}", {group[0]: size[other], other: -size[group[0]]}, 0.0, 0.0)
            for group in groups
            for other in group[1:]
        ]

    def budgets(
        self, utility: Mapping[Width, Floats], costs: list[tuple[CostFunction, float]], steps: Sequence[int]
    ) -> BudgetProblem:
        """The problem of keeping the most utility within budgets."""
        values = [self.ranking(width, utility[width]).sums for width in self.free]
        return self._problem(values, costs, steps)

    def utility(self, utility: Mapping[Width, Floats], sizes: Ints) -> float:
        """The utility of sizes of the columns."""
        tables = [self.ranking(width, utility[width]).sums for width in self.free] + self.choices.tables
        return math.fsum(float(table[size]) for table, size in zip(tables, sizes, strict=True))

    def ranking(self, width: Width, values: Floats) -> NeuronRanking:
        """The ranking of a width's neurons, those first that custom rules require to stay."""
        return NeuronRanking(values, _stay(self.constraints, width), _go(self.constraints, width))

    def _least(self, width: Width) -> int:
        """The least size of a width: those that must stay, its floor where all of it need not go, or one."""
        stay, most = len(_stay(self.constraints, width)), width.size - len(_go(self.constraints, width))
        return max(stay, min(self.floors.get(width.atom, 1), most), min(width.size, 1))

    def _problem(
        self,
        values: list[Floats],
        costs: list[tuple[CostFunction, float]],
        steps: Sequence[int],
        rows: Sequence[Row] = (),
    ) -> BudgetProblem:
        more = len(self.choices.branches)
        return BudgetProblem.of(
            [*values, *self.choices.tables],
            costs,
            names=[width.name for width in self.free] + [branch.name for branch in self.choices.branches],
            lower=[self._least(width) for width in self.free] + [0] * more,
            upper=[w.size - len(_go(self.constraints, w)) for w in self.free] + [1] * more,
            steps=np.asarray([*steps, *[1] * more], np.int64),
            rows=[*self.rows, *rows],
        )


def _equal(groups: Sequence[Sequence[int]]) -> list[Row]:
    return [
        Row.of(f"equal {group[0]} {other}", {group[0]: 1.0, other: -1.0}, 0.0, 0.0)
        for group in groups
        for other in group[1:]
    ]


def _stay(constraints: SizeConstraints, width: Width) -> list[int]:
    return required(constraints.must_stay.get(width.atom))


def _go(constraints: SizeConstraints, width: Width) -> list[int]:
    return required(constraints.must_go.get(width.atom))


def _step(multiple: int, factor: int) -> int:
    """The step of a size so that `factor` times it is a multiple."""
    return multiple // math.gcd(multiple, factor)


def _fixed_by_rules(
    widths: Widths, constraints: SizeConstraints, fixed: Mapping[Atom, str]
) -> dict[Atom, str]:
    """Widths that keep their size, as a constraint of a custom rule on them cannot be expressed by steps."""
    found: dict[Atom, str] = {}
    for width in widths.widths:
        stay, go = _stay(constraints, width), _go(constraints, width)
        if set(stay) & set(go) or len(go) == width.size:
            found[width.atom] = constraints.must_go[width.atom][0].reason
    for constraint in constraints.width_constraints:
        if constraint.multiple == 1:
            continue
        left = constraint.polynomial.with_constants(lambda atom: atom in fixed or atom in found)
        rest, free = left.terms.get((), 0), {m[0]: factor for m, factor in left.terms.items() if m}
        # Each size by itself a multiple: stricter than a constraint on their sum, but satisfied now.
        now = all(atom.length % _step(constraint.multiple, factor) == 0 for atom, factor in free.items())
        if rest % constraint.multiple or not (len(free) == 1 or now):
            found.update(dict.fromkeys(free, constraint.reason))
    return found


def pose(
    widths: Widths,
    constraints: SizeConstraints,
    keep: Mapping[Atom, str],
    floors: Mapping[Atom, int] | None = None,
) -> BudgetProgram:
    """The program over all widths that neither the code nor `keep` fixes, none below its floor."""
    return BudgetProgram(widths, constraints, {**constraints.fixed, **keep}, floors or {})
