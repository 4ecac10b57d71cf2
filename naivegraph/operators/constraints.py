"""Constraints on sizes beyond equality: on axes, as custom rules state them, and in terms of widths."""

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
    """A linear constraint on the sizes of widths, with its reason.

    Attributes:
        polynomial: The linear polynomial that is bounded.
        reason: The origin of the constraint, in words.
        low: The least value; None for no bound.
        high: The largest value; None for no bound.
        multiple: The number that the value is a multiple of.
        rule: The vertex whose custom rule imposes it; empty for the network's own code. Constraints of the
            code hold at the present sizes; those of a rule may not, and must hold once one of the sizes
            changes.
    """

    polynomial: Polynomial
    reason: str
    low: int | None = 0
    high: int | None = 0
    multiple: int = 1
    rule: str = ""


@dataclasses.dataclass(frozen=True)
class RequiredNeurons:
    """Neurons of one width that a custom rule requires to stay, or to go with the next change.

    Attributes:
        indices: Their indices in the width.
        rule: The vertex whose rule it is.
        reason: The requirement, in words.
    """

    indices: tuple[int, ...]
    rule: str
    reason: str
