"""What is demanded of sizes beyond equality: as a declared rule states it, and in terms of widths."""

from __future__ import annotations

import dataclasses

from naivegraph.algebra.axis import Axis
from naivegraph.algebra.polynomial import Polynomial

__all__ = [
    "AxisConstraint",
    "LinearConstraint",
    "MultipleConstraint",
    "NeuronConstraint",
    "RequiredNeurons",
    "WidthConstraint",
]


@dataclasses.dataclass(frozen=True)
class MultipleConstraint:
    """The size of `axis` stays a multiple of `multiple`."""

    where: str
    axis: Axis
    multiple: int


@dataclasses.dataclass(frozen=True)
class NeuronConstraint:
    """These neurons of `axis` must stay (`keep`), or must go at the next change."""

    where: str
    axis: Axis
    indices: tuple[int, ...]
    keep: bool


@dataclasses.dataclass(frozen=True)
class LinearConstraint:
    """`low <= sum(coefficient * size of axis) <= high`; None is no bound."""

    where: str
    terms: tuple[tuple[int, Axis], ...]
    low: int | None
    high: int | None


AxisConstraint = MultipleConstraint | NeuronConstraint | LinearConstraint


@dataclasses.dataclass(frozen=True)
class WidthConstraint:
    """Bounds on a linear polynomial in the widths' sizes, and what demands them.

    Attributes:
        polynomial: What is bounded.
        reason: What demands it, in words.
        low: The least it may be; None for no bound.
        high: The most it may be; None for no bound.
        multiple: What it must be a multiple of.
        rule: The vertex whose declared rule demands it; empty for the network's own code, which always holds
            at the present sizes. A rule need not: it must hold once these sizes change.
    """

    polynomial: Polynomial
    reason: str
    low: int | None = 0
    high: int | None = 0
    multiple: int = 1
    rule: str = ""


@dataclasses.dataclass(frozen=True)
class RequiredNeurons:
    """Neurons of one width which a declared rule keeps, or sends away with the next change.

    Attributes:
        indices: Their places in the width.
        rule: The vertex whose rule it is.
        reason: What it demands, in words.
    """

    indices: tuple[int, ...]
    rule: str
    reason: str
