"""Everything a rule says of one call, written down instead of carried out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from naivegraph.ir.custom_rule import Rule, Shapes
from naivegraph.solvers import Program, solve

__all__ = ["Dimension", "RuleStatements", "Sizes"]


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One dimension of a tensor which a function takes (`side="input"`) or returns (`side="output"`)."""

    side: str
    tensor: int
    dim: int
    size: int

    def __str__(self) -> str:
        return f"dimension {self.dim} of {self.side} {self.tensor}"


Sizes = dict[Dimension, int]


class RuleStatements:
    """The statements of a rule about one call; a `Ties` which only remembers.

    Args:
        inputs: The shapes of the tensors which the function takes.
        outputs: Those of what it returns.

    Attributes:
        equals: Groups of dimensions said to be the same neurons.
        joins: Dimensions said to be the concatenation of others.
        released: Dimensions said to be free.
        held: Dimensions said to keep their size.
        steps: Dimensions said to be multiples of a number.
        marks: Neurons said to stay (True) or to go (False).
        limits: Linear limits as (terms, low, high).
    """

    def __init__(self, inputs: Shapes, outputs: Shapes) -> None:
        def dimensions(side: str, shapes: Shapes) -> list[list[Dimension]]:
            return [
                [Dimension(side, number, dim, size) for dim, size in enumerate(shape)]
                for number, shape in enumerate(shapes)
            ]

        self.inputs, self.outputs = dimensions("input", inputs), dimensions("output", outputs)
        self.equals: list[tuple[Dimension, ...]] = []
        self.joins: list[tuple[Dimension, tuple[Dimension, ...]]] = []
        self.released: list[Dimension] = []
        self.held: list[Dimension] = []
        self.steps: list[tuple[Dimension, int]] = []
        self.marks: list[tuple[Dimension, tuple[int, ...], bool]] = []
        self.limits: list[tuple[tuple[tuple[int, Dimension], ...], int | None, int | None]] = []

    @classmethod
    def of(cls, rule: Rule, inputs: Shapes, outputs: Shapes) -> RuleStatements:
        """What this rule says of a call with these shapes."""
        found = cls(inputs, outputs)
        rule.tie(found)
        return found

    # What a rule calls; see `Ties`.

    def equal(self, first: Dimension, *others: Dimension) -> None:  # noqa: D102
        self.equals.append((first, *others))

    def joined(self, whole: Dimension, parts: Sequence[Dimension]) -> None:  # noqa: D102
        self.joins.append((whole, tuple(parts)))

    def free(self, dimension: Dimension) -> None:  # noqa: D102
        self.released.append(dimension)

    def fixed(self, dimension: Dimension, reason: str) -> None:  # noqa: D102
        self.held.append(dimension)

    def step(self, dimension: Dimension, multiple: int) -> None:  # noqa: D102
        self.steps.append((dimension, multiple))

    def neurons(self, dimension: Dimension, indices: Sequence[int], *, keep: bool) -> None:  # noqa: D102
        self.marks.append((dimension, tuple(indices), keep))

    def linear(  # noqa: D102
        self, terms: Sequence[tuple[int, Dimension]], *, low: int | None = None, high: int | None = None
    ) -> None:
        self.limits.append((tuple(terms), low, high))

    # What follows from them

    @property
    def changing(self) -> list[Dimension]:
        """The dimensions that may change: those of inputs which something was said of, and what is tied."""
        groups = [*self.equals, *((whole, *parts) for whole, parts in self.joins)]
        groups = [group for group in groups if any(one.side == "input" for one in group)]
        said = {one for group in groups for one in group} | {d for d in self.released if d.side == "input"}
        order = [one for tensor in (*self.inputs, *self.outputs) for one in tensor]
        return [one for one in order if one in said and one not in self.held]

    def contradiction(self) -> str:
        """Why the statements do not hold of the sizes as they are; empty if they do."""
        for group in self.equals:
            if len({one.size for one in group}) > 1:
                return f"{' and '.join(map(str, group))} are said to be equal, and are {_sizes(group)}"
        for whole, parts in self.joins:
            if whole.size != sum(one.size for one in parts):
                return f"{whole} is {whole.size}, and said to join parts of {_sizes(parts)}"
        for one, indices, keep in self.marks:
            outside = [index for index in indices if index < 0 or (keep and index >= one.size)]
            if outside:
                return f"{one} has {one.size} neurons, and no number {outside[0]} to be kept"
        return ""

    def others(self, count: int = 4) -> Iterator[Sizes]:
        """Allowed sizes beside the present: each dimension once small and once large, then mixtures."""
        moving = self.changing
        rng = np.random.default_rng(0)
        goals = [{one: sign} for one in moving if one.side == "input" for sign in (-1.0, 1.0)]
        goals += [dict(zip(moving, rng.normal(0, 1, len(moving)), strict=True)) for _ in range(count)]
        seen = [{one: one.size for one in moving}]
        for goal in goals:
            found = self._chosen(moving, goal)
            if found is not None and found not in seen:
                seen.append(found)
                yield found

    def _chosen(self, moving: Sequence[Dimension], goal: dict[Dimension, float]) -> Sizes | None:
        """The allowed sizes which are best by a linear goal."""
        program = Program()
        columns: dict[Dimension, int] = {}
        for one in (one for tensor in (*self.inputs, *self.outputs) for one in tensor):
            stay = {index for at, indices, keep in self.marks for index in indices if keep and at == one}
            low, high = (max(1, len(stay)), 2 * one.size + 4) if one in moving else (one.size, one.size)
            columns[one] = program.column(str(one), low, high, objective=goal.get(one, 0.0))

        def row(terms: Sequence[tuple[float, Dimension]], low: float, high: float) -> None:
            indices = [columns[one] for _, one in terms]
            name = f"row {len(program.row_names)}"
            program.row(name, indices, [factor for factor, _ in terms], lower=low, upper=high)

        for first, *rest in self.equals:
            for other in rest:
                row([(1.0, first), (-1.0, other)], 0, 0)
        for whole, parts in self.joins:
            row([(1.0, whole), *((-1.0, part) for part in parts)], 0, 0)
        for one, multiple in self.steps:
            times = program.column(f"times {len(program.column_names)}", 0, np.inf)
            program.row(
                f"row {len(program.row_names)}", [columns[one], times], [1.0, -multiple], lower=0, upper=0
            )
        for terms, lower, upper in self.limits:
            bounds = (-np.inf if lower is None else lower, np.inf if upper is None else upper)
            row([(float(factor), one) for factor, one in terms], *bounds)
        solution = solve(program)
        return {one: round(solution[str(one)]) for one in moving} if solution else None


def _sizes(dimensions: Sequence[Dimension]) -> str:
    return " and ".join(str(one.size) for one in dimensions)
