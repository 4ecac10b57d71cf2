"""Rules of a schema that conflict, and the least change that settles it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from naivegraph.search.schema.feature_shape import SizeBounds
from naivegraph.search.schema.size_model import SchemaRule, SizeModel, SizeRow
from naivegraph.search.schema.size_program import add_rows
from naivegraph.solvers import Program, irreducible_infeasible_set, solve

__all__ = ["LeastChange", "RuleChange", "conflicts_of", "least_change"]

# Rules that state numbers, which can be other ones. All others are what layers are.
_NUMBERS = frozenset({"channels", "spatial", "padding", "output padding", "input"})
_MOST_CONFLICTS = 5


@dataclasses.dataclass(frozen=True)
class RuleChange:
    """Other numbers for a rule.

    Attributes:
        rule: The rule.
        bounds: The new bounds, by dimension (-1 for channels); none where it is dropped.
        exact: The new numbers, where an exact one gives way to one side: narrower, and perhaps enough.
    """

    rule: SchemaRule
    bounds: dict[int, SizeBounds]
    exact: dict[int, SizeBounds] = dataclasses.field(default_factory=dict)

    def narrowed(self) -> RuleChange:
        """The change to exact numbers, where there are such."""
        return RuleChange(self.rule, {**self.bounds, **self.exact})

    def __str__(self) -> str:
        if not self.bounds:
            return f"{self.rule}: dropped"
        texts = dict.fromkeys(str(self.bounds[part]) for part in sorted(self.bounds))
        return f"{self.rule} becomes {' and '.join(texts)}"


@dataclasses.dataclass(frozen=True)
class LeastChange:
    """The change of rules of the least sum of relative amounts.

    Attributes:
        amount: The sum; 0 where nothing has to change.
        changes: The rules that change.
    """

    amount: float
    changes: tuple[RuleChange, ...]


def _program(model: SizeModel) -> Program:
    """A program with the sizes alone, in the bounds they began with."""
    program = Program()
    lower, upper = zip(*model.first, strict=True)
    program.columns([str(n) for n in range(len(lower))], np.array(lower, float), np.array(upper, float))
    return program


def conflicts_of(model: SizeModel) -> Iterator[tuple[SchemaRule, ...]]:
    """Sets of rules that cannot hold together, each irreducible; each beside the earlier ones dropped."""
    rules = {str(row.owner): row.owner for row in model.rows}
    program = _program(model)
    add_rows(program, model, model.rows, owned=True)
    for _ in range(_MOST_CONFLICTS):
        found = irreducible_infeasible_set(program)
        if not found:
            return
        yield tuple(rules[name] for name in found)
        program = program.without(found)


def least_change(model: SizeModel) -> LeastChange | None:
    """The least change of numbers that rules state; None where no change of numbers helps.

    An elastic program: each row of such a rule may be missed, by a slack that all rows of the rule share. The
    sum of slacks, each relative to its bound, is least.
    """
    program = _program(model)
    add_rows(program, model, [row for row in model.rows if not _elastic(row)])
    slacks: dict[tuple[SchemaRule, int], tuple[int, int]] = {}
    dropped: dict[SchemaRule, int] = {}
    for number, row in enumerate(model.rows):
        if _elastic(row) and row.rule.kind == "multiple":
            _loosen_multiple(program, row, f"remainder {number}", dropped)
        elif _elastic(row):
            _loosen(program, row, f"slack {number}", slacks)
    solution = solve(program, gap=1e-6)
    if solution.values is None:
        return None
    values = solution.values
    found: dict[SchemaRule, dict[int, SizeBounds]] = {}
    exact: dict[SchemaRule, dict[int, SizeBounds]] = {}
    for (rule, part), (below, above) in slacks.items():
        if values[below] > 0.5 or values[above] > 0.5:
            row = next(each for each in model.rows if each.rule == rule and each.part == part)
            moved = _moved(row, round(values[below]), round(values[above]))
            found.setdefault(rule, {})[part] = moved
            ends = {moved.lower, moved.upper} - {row.lower}
            if row.lower == row.upper and len(ends) == 1:
                exact.setdefault(rule, {})[part] = SizeBounds(*ends, *ends)
    found |= {rule: {} for rule, column in dropped.items() if values[column] > 0.5}
    return LeastChange(
        -solution.objective,
        tuple(RuleChange(rule, bounds, exact.get(rule, {})) for rule, bounds in found.items()),
    )


def _elastic(row: SizeRow) -> bool:
    if row.rule.kind == "input":
        return row.part >= 0  # channels of data are what they are
    return row.rule.kind in _NUMBERS or row.rule.kind == "multiple"


def _loosen(
    program: Program, row: SizeRow, name: str, slacks: dict[tuple[SchemaRule, int], tuple[int, int]]
) -> None:
    """Add a row that may be missed."""
    key = (row.rule, row.part)
    if key not in slacks:
        costs = [-1 / max(1.0, float(abs(bound or 0))) for bound in (row.lower, row.upper)]
        slacks[key] = (
            program.column(f"{name} below", 0, 1 << 16, objective=costs[0]),
            program.column(f"{name} above", 0, 1 << 16, objective=costs[1]),
        )
    below, above = slacks[key]
    if row.lower is not None:
        program.row(f"{name} low", [*row.indices, below], [*row.factors, 1], lower=row.lower)
    if row.upper is not None:
        program.row(f"{name} high", [*row.indices, above], [*row.factors, -1], upper=row.upper)


def _loosen_multiple(program: Program, row: SizeRow, name: str, dropped: dict[SchemaRule, int]) -> None:
    """Add a row of a multiple that may leave a remainder, if its rule is dropped."""
    if row.rule not in dropped:
        dropped[row.rule] = program.column(f"{name} dropped", 0, 1, objective=-1.0)
    most = max(abs(factor) for factor in row.factors) - 1
    rest = program.column(name, 0, most)
    program.row(
        f"{name} row", [*row.indices, rest], [*row.factors, -1], lower=row.lower or 0, upper=row.upper or 0
    )
    program.row(f"{name} limit", [rest, dropped[row.rule]], [1, -most], upper=0)


def _moved(row: SizeRow, below: int, above: int) -> SizeBounds:
    """The bounds of a row once they have given way."""
    low = None if row.lower is None else row.lower - below
    high = None if row.upper is None else row.upper + above
    if row.rule.kind == "input":
        return SizeBounds(low, low) if below else SizeBounds(high, high)
    return SizeBounds(low, high)
