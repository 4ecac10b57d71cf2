"""Facts by which a width can grow through a statistic, and all results stay as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from naivegraph.operators.movement import Arguments

__all__ = ["Degrees", "Norm", "Reduction", "degree"]

# From the arguments by name to the degree in which the first result scales with each of them: multiplying
# such an argument by s > 0 multiplies the result by s ** degree.
Degrees = Callable[[Arguments], Mapping[str, float]]


def degree(**of: float) -> Degrees:
    """Degrees that depend on no value.

    Example:
        >>> degree(self=1, other=-1)({})
        {'self': 1, 'other': -1}
    """
    return lambda a: of


@dataclasses.dataclass(frozen=True, slots=True)
class Norm:
    """A division by the root of a mean of squares plus `eps`.

    Attributes:
        centred: Whether the mean is subtracted first.
    """

    centred: bool


# From the arguments by name, the number of entries before and after to the factor of the result; None if it
# is not known.
Factor = Callable[[Arguments, int, int], "float | None"]


@dataclasses.dataclass(frozen=True, slots=True)
class Reduction:
    """The factor by which the result of a reduction changes where its entries become more.

    Attributes:
        degree: The degree in which the result scales with the entries.
        of_zeros: The factor where the new entries are zero.
        of_means: The factor where the new entries are the mean of the others.
        centred: Whether the result is about the distance from the mean, which has to be that of all entries.
    """

    degree: float
    of_zeros: Factor
    of_means: Factor
    centred: bool = False
