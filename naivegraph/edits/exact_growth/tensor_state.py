"""The state of a tensor while widths grow: what its new entries are, and the factor of the others."""

from __future__ import annotations

import dataclasses
import enum

from naivegraph.algebra.axis import Atom

__all__ = ["MEAN", "UNCHANGED", "ZERO", "Kind", "NewEntries", "TensorState"]


class Kind(enum.Enum):
    """The values of the new entries along a width."""

    ZERO = "zero"
    MEAN = "mean"


@dataclasses.dataclass(frozen=True, slots=True)
class NewEntries:
    """New entries of a tensor along a width.

    Attributes:
        kind: Zero, or the mean of the old entries along the width, all other indices alike.
        gains: The numbers of parameters by whose entries the old ones are multiplied in the mean, as they
            will be later: layer scales.
        writers: The entries of parameters that they are made of: number, dimension, width.
    """

    kind: Kind
    gains: frozenset[int] = frozenset()
    writers: frozenset[tuple[int, int, Atom]] = dataclasses.field(default=frozenset(), compare=False)


ZERO, MEAN = NewEntries(Kind.ZERO), NewEntries(Kind.MEAN)


@dataclasses.dataclass(slots=True)
class TensorState:
    """The state of one tensor of a run.

    Attributes:
        new: The new entries, by dimension and width; others may be anything.
        why: The reason why they are, by width, where they were told apart before.
        scale: The factor by which the old entries changed.
        cause: The widths whose growth led to it.
        mean_of: The number of the tensor whose mean along a growing width it is.
        gain: The number of a parameter that it is a product with.
    """

    new: dict[tuple[int, Atom], NewEntries] = dataclasses.field(default_factory=dict)
    why: dict[Atom, str] = dataclasses.field(default_factory=dict)
    scale: float = 1.0
    cause: frozenset[Atom] = frozenset()
    mean_of: int | None = None
    gain: int | None = None


UNCHANGED = TensorState()
