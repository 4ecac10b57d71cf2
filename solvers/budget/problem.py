"""Budget problems and their solutions: sizes to choose, their utilities, their costs and limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from naivegraph.solvers.solution import Outcome

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinearSum:
    """A linear form `constant + sum_i coefficients[i] * k[indices[i]]`, nowhere negative.

    Args:
        constant: The value at sizes 0; at least 0.
        indices: The sizes in the sum, each at most once.
        coefficients: One factor per index; at least 0.

    Examples:
        >>> LinearSum.of(1, {0: 2})(np.array([10, 7]))
        21
    """

    constant: float
    indices: Ints
    coefficients: Floats

    @classmethod
    def of(cls, constant: float = 0.0, parts: Mapping[int, float] | None = None) -> "LinearSum":
        """Make a linear form from a mapping of index to coefficient."""
        parts = dict(sorted((parts or {}).items()))
        return cls(
            float(constant),
            np.array(list(parts), dtype=np.int64),
            np.array(list(parts.values()), dtype=np.float64),
        )

    def __call__(self, k: Ints) -> int | float:
        """Return the value at the sizes `k`; a Python int where all numbers are whole."""
        if self.constant == int(self.constant) and bool(np.all(self.coefficients % 1 == 0)):
            return int(self.constant) + int(self.coefficients.astype(np.int64) @ k[self.indices])
        return self.constant + float(self.coefficients @ k[self.indices])


@dataclass(frozen=True, eq=False)
class Term:
    """A number times a product of linear forms; the same form may appear more than once.

    The number is at least 0 where there is a form.

    Examples:
        >>> Term.of(9, 0, LinearSum.of(1, {1: 2}))(np.array([10, 7]))
        1350
    """

    coefficient: float
    factors: tuple[LinearSum, ...]

    @classmethod
    def of(cls, coefficient: float, *factors: int | LinearSum) -> "Term":
        """Make a term; a factor given as an int is the size with that index."""
        forms = (LinearSum.of(0.0, {f: 1.0}) if isinstance(f, int) else f for f in factors)
        return cls(float(coefficient), tuple(forms))

    def __call__(self, k: Ints) -> int | float:
        """Return the value at the sizes `k`; a Python int where all numbers are whole."""
        whole = self.coefficient == int(self.coefficient)
        return math.prod(
            (f(k) for f in self.factors), start=int(self.coefficient) if whole else self.coefficient
        )


@dataclass(frozen=True, eq=False)
class CostFunction:
    """The cost of a choice of sizes, a sum of terms. It never falls when a size grows.

    Examples:
        Multiply-accumulates of a layer of 3 by 3 kernels between two sizes, on 100 positions:

        >>> CostFunction("macs", (Term.of(900, 0, 1),))(np.array([16, 32]))
        460800
    """

    name: str
    terms: tuple[Term, ...]

    def __call__(self, k: Ints) -> int | float:
        """Return the cost at the sizes `k`: exact, as a Python int, where all numbers are whole."""
        values = [term(k) for term in self.terms]
        return sum(values) if all(isinstance(v, int) for v in values) else math.fsum(values)


@dataclass(frozen=True, eq=False)
class Row:
    """A linear constraint `lower <= sum_i coefficients[i] * k[indices[i]] <= upper`, one row of a program.

    Examples:
        The first size is twice the second:

        >>> Row.of("double", {0: 1.0, 1: -2.0}, 0, 0).coefficients.tolist()
        [1.0, -2.0]
    """

    name: str
    indices: Ints
    coefficients: Floats
    lower: float = -math.inf
    upper: float = math.inf

    @classmethod
    def of(
        cls, name: str, parts: Mapping[int, float], lower: float = -math.inf, upper: float = math.inf
    ) -> "Row":
        """Make a row from a mapping of index to coefficient."""
        form = LinearSum.of(0.0, parts)
        return cls(name, form.indices, form.coefficients, float(lower), float(upper))


@dataclass(eq=False)
class BudgetProblem:
    """The choice of whole sizes `k` of largest utility `sum_w values[w][k_w]`, every cost within its limit.

    Args:
        names: One name per size, for messages.
        values: Per size w the total utility of its best 0, 1, 2, ... neurons; concave (each adds no more than
            the one before), at least `upper[w] + 1` long.
        lower: The smallest value allowed per size.
        upper: The largest value allowed per size.
        steps: Each size is a multiple of its step; a size whose upper bound is below one step stays at that
            bound.
        costs: Pairs of a cost and its limit.
        rows: Linear constraints on the sizes.
    """

    names: list[str]
    values: list[Floats]
    lower: Ints
    upper: Ints
    steps: Ints
    costs: list[tuple[CostFunction, float]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        values: Sequence[npt.ArrayLike],
        costs: Sequence[tuple[CostFunction, float]] = (),
        *,
        names: Sequence[str] | None = None,
        lower: npt.ArrayLike = 1,
        upper: npt.ArrayLike | None = None,
        steps: npt.ArrayLike = 1,
        rows: Sequence[Row] = (),
    ) -> "BudgetProblem":
        """Make a problem, with defaults: at least 1 of each, at most all, in steps of 1."""
        tables = [np.asarray(v, dtype=np.float64) for v in values]
        n = len(tables)
        top = [len(v) - 1 for v in tables] if upper is None else upper
        return cls(
            names=[f"k{i}" for i in range(n)] if names is None else list(names),
            values=tables,
            lower=np.broadcast_to(np.asarray(lower, dtype=np.int64), n).copy(),
            upper=np.broadcast_to(np.asarray(top, dtype=np.int64), n).copy(),
            steps=np.broadcast_to(np.asarray(steps, dtype=np.int64), n).copy(),
            costs=list(costs),
            rows=list(rows),
        )

    def value(self, k: Ints) -> float:
        """Return the total utility of the sizes `k`."""
        return math.fsum(float(v[i]) for v, i in zip(self.values, k, strict=True))

    def validate(self) -> None:
        """Check that lengths, indices and signs fit together.

        Raises:
            ValueError: Something has the wrong length, a negative coefficient or an index out of range.
        """
        n = len(self.names)
        for what in ("values", "lower", "upper", "steps"):
            if len(getattr(self, what)) != n:
                raise ValueError(f"{what} has {len(getattr(self, what))} entries for {n} names")
        for w, name in enumerate(self.names):
            low, high = int(self.lower[w]), int(self.upper[w])
            if not 0 <= low <= high < len(self.values[w]):
                top = len(self.values[w]) - 1
                raise ValueError(
                    f"{name}: bounds {low} to {high} must be in order, within 0 to {top} that have values"
                )
            if self.steps[w] < 1:
                raise ValueError(f"{name}: step {self.steps[w]} is below 1")
            if not np.all(np.isfinite(self.values[w][low : high + 1])):
                raise ValueError(f"{name}: a value is not finite")
        for cost, limit in self.costs:
            if not math.isfinite(limit):
                raise ValueError(f"{cost.name}: the limit {limit} is not finite; leave the cost out instead")
            for term in cost.terms:
                if not math.isfinite(term.coefficient) or (term.coefficient < 0 and term.factors):
                    raise ValueError(f"{cost.name}: coefficient {term.coefficient} is negative or not finite")
                for form in term.factors:
                    _check_form(cost.name, form, n)
        for row in self.rows:
            _check_indices(row.name, row.indices, n)


def _check_form(name: str, form: LinearSum, n: int) -> None:
    """Refuse a form that could be negative, for costs would no longer grow with the sizes."""
    _check_indices(name, form.indices, n)
    if not form.constant >= 0 or not bool(np.all(form.coefficients >= 0)):
        raise ValueError(
            f"{name}: a factor has a negative number in it; costs must never fall as a size grows"
        )


def _check_indices(name: str, indices: Ints, n: int) -> None:
    """Refuse indices that name no size, or one twice."""
    if len(indices) and (
        indices.min() < 0 or indices.max() >= n or len(set(indices.tolist())) < len(indices)
    ):
        raise ValueError(f"{name}: indices {indices.tolist()} repeat or lie outside 0 to {n - 1}")


@dataclass(frozen=True)
class Certificate:
    """Utility of an answer, and an upper bound on the utility of every answer.

    Examples:
        >>> Certificate(value=99.0, bound=100.0).gap
        0.01
    """

    value: float
    bound: float

    @property
    def gap(self) -> float:
        """The distance from value to bound, relative to the larger of the two in magnitude."""
        scale = max(abs(self.bound), abs(self.value))
        return 0.0 if scale == 0 else max(0.0, self.bound - self.value) / scale


@dataclass(frozen=True, eq=False)
class BudgetSolution:
    """The chosen sizes, the certificate of their utility, and the outcome of the search.

    Args:
        k: The sizes, in the order of the problem's names.
        certificate: Their utility and its upper bound.
        outcome: `OPTIMAL` when the gap is within the tolerance asked for, `FEASIBLE` when time ran out first.
        seconds: Wall-clock time of everything.
        first_seconds: Wall-clock time until the first answer, before any proof.
    """

    k: Ints
    certificate: Certificate
    outcome: Outcome
    seconds: float
    first_seconds: float


class BudgetError(ValueError):
    """Error raised where no sizes keep the budgets; `smallest` maps each cost's name to its least value."""

    def __init__(self, message: str, smallest: Mapping[str, float]) -> None:
        super().__init__(message)
        self.smallest = dict(smallest)
