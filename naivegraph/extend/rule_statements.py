"""The constraints that a rule states on one call, recorded instead of applied."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from naivegraph.ir.custom_rule import Rule, Shapes
from naivegraph.solvers import Program, solve

__all__ = ["Dimension", "RuleStatements", "Sizes"]


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One dimension of a tensor that a function takes (`side="input"`) or returns (`side="output"`)."""

    side: str
    tensor: int
    dim: int
    size: int

    def __str__(self) -> str:
        return f"dimension {self.dim} of {self.side} {self.tensor}"


Sizes = dict[Dimension, int]


class RuleStatements:
    """The constraints of a rule on one call; a `Ties` that only records.

    Args:
        inputs: The shapes of the tensors that the function takes.
        outputs: The shapes of the tensors that it returns.

    Attributes:
        equals: Groups of dimensions that are the same neurons.
        joins: Dimensions that are the concatenation of others.
        released: Dimensions that are free.
        held: Dimensions that keep their size.
        steps: Dimensions that are multiples of a number.
        marks: Neurons that stay (True) or go (False).
        linears: Linear constraints as (terms, low, high).
    """

    def __init__(self, inputs: Shapes, outputs: Shapes) -> None:
        def dimensions(side: str, shapes: Shapes) -> list[list[Dimension]]:
            """The dimensions of each tensor."""
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
        self.linears: list[tuple[tuple[tuple[int, Dimension], ...], int | None, int | None]] = []

    @classmethod
    def of(cls, rule: Rule, inputs: Shapes, outputs: Shapes) -> RuleStatements:
        """The constraints that a rule states on a call with these shapes."""
        found = cls(inputs, outputs)
        rule.tie(found)
        return found

    # What a rule calls; see `Ties`.

    def equal(self, first: Dimension, *others: Dimension) -> None:
        """Record that dimensions are the same neurons in the same order."""
        self.equals.append((first, *others))

    def joined(self, whole: Dimension, parts: Sequence[Dimension]) -> None:
        """Record that `whole` is the concatenation of `parts`."""
        self.joins.append((whole, tuple(parts)))

    def free(self, dimension: Dimension) -> None:
        """Record that a dimension may change by itself."""
        self.released.append(dimension)

    def fixed(self, dimension: Dimension, reason: str) -> None:
        """Record that a dimension keeps its size."""
        self.held.append(dimension)

    def step(self, dimension: Dimension, multiple: int) -> None:
        """Record that the size of a dimension is a multiple of `multiple`."""
        self.steps.append((dimension, multiple))

    def neurons(self, dimension: Dimension, indices: Sequence[int], *, keep: bool) -> None:
        """Record that neurons of a dimension stay (`keep=True`) or go."""
        self.marks.append((dimension, tuple(indices), keep))

    def linear(
        self, terms: Sequence[tuple[int, Dimension]], *, low: int | None = None, high: int | None = None
    ) -> None:
        """Record that `low <= sum of coefficient * size <= high`."""
        self.linears.append((tuple(terms), low, high))

    # What follows from them

    @property
    def changing(self) -> list[Dimension]:
        """The dimensions that may change: inputs' free or tied dimensions, and those tied to them."""
        groups = [*self.equals, *((whole, *parts) for whole, parts in self.joins)]
        groups = [group for group in groups if any(one.side == "input" for one in group)]
        said = {one for group in groups for one in group} | {d for d in self.released if d.side == "input"}
        order = [one for tensor in (*self.inputs, *self.outputs) for one in tensor]
        return [one for one in order if one in said and one not in self.held]

    def contradiction(self) -> str:
        """Reason for which the present sizes violate the constraints; empty if they meet them."""
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
        """Other sizes that meet the constraints: each dimension once small and once large, then mixtures."""
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
        """The sizes that maximise a linear goal under the constraints; None if there are none."""
        program = Program()
        columns: dict[Dimension, int] = {}
        for one in (one for tensor in (*self.inputs, *self.outputs) for one in tensor):
            stay = {index for at, indices, keep in self.marks for index in indices if keep and at == one}
            low, high = (max(1, len(stay)), 2 * one.size + 4) if one in moving else (one.size, one.size)
            columns[one] = program.column(str(one), low, high, objective=goal.get(one, 0.0))

        def row(terms: Sequence[tuple[float, Dimension]], low: float, high: float) -> None:
            """Add a linear constraint to the program."""
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
        for terms, lower, upper in self.linears:
            bounds = (-np.inf if lower is None else lower, np.inf if upper is None else upper)
            row([(float(factor), one) for factor, one in terms], *bounds)
        solution = solve(program)
        return {one: round(solution[str(one)]) for one in moving} if solution else None


def _sizes(dimensions: Sequence[Dimension]) -> str:
    return " and ".join(str(one.size) for one in dimensions)
