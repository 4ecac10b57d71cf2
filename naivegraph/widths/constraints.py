"""What a declared rule demands of the sizes beyond equality."""

from __future__ import annotations

import dataclasses

from naivegraph.widths.axis import Axis

__all__ = ["Constraint", "Linear", "Neurons", "Step"]


@dataclasses.dataclass(frozen=True)
class Step:
    """The size of `axis` stays a multiple of `multiple`."""

    where: str
    axis: Axis
    multiple: int


@dataclasses.dataclass(frozen=True)
class Neurons:
    """These neurons of `axis` must stay (`keep`), or must go at the next change."""

    where: str
    axis: Axis
    indices: tuple[int, ...]
    keep: bool


@dataclasses.dataclass(frozen=True)
class Linear:
    """`low <= sum(coefficient * size of axis) <= high`; None is no bound."""

    where: str
    terms: tuple[tuple[int, Axis], ...]
    low: int | None
    high: int | None


Constraint = Step | Neurons | Linear
