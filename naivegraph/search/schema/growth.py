"""Growth functions: the number of channels that a node would rather have, as a factor of those it is given.

A growth function is called with the channels given and a source of random numbers, and returns a factor. It
is a goal: the program takes the channels nearest to it that bounds and merges allow.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from naivegraph.errors import SchemaError

__all__ = ["Growth", "anywhere", "keep", "linear", "parabola", "power", "scale"]

Growth = Callable[[float, random.Random], float]


def scale(least: float, most: float | None = None) -> Growth:
    """A factor drawn between two numbers, evenly on a logarithmic scale; one number for always the same.

    Example:
        >>> growth = scale(2)
        >>> growth(8, random.Random(0))
        2.0
    """
    top = least if most is None else most
    if not 0 < least <= top < math.inf:
        raise SchemaError(f"scale takes numbers above 0, the smaller one first, not {least} and {most}")
    return lambda given, draw: math.exp(draw.uniform(math.log(least), math.log(top)))


def _spread(draw: random.Random, spread: float) -> float:
    return draw.uniform(1 - spread, 1 + spread)


def _checked(spread: float) -> None:
    if not 0 <= spread < 1:
        raise SchemaError(f"spread is a number from 0 to below 1, not {spread}")


def linear(more: float, spread: float = 0.0) -> Growth:
    """So many channels more than are given; `spread` is the part by which the result varies."""
    _checked(spread)
    if not math.isfinite(more):
        raise SchemaError(f"linear takes a number of channels, not {more}")
    return lambda given, draw: max(given + more, 1) / given * _spread(draw, spread)


def power(target: float, exponent: float, spread: float = 0.0) -> Growth:
    """Channels that approach a target: `target * (given / target) ** exponent`."""
    _checked(spread)
    if not (0 < target < math.inf and 0 < exponent < math.inf):
        raise SchemaError(f"power takes a target and an exponent above 0, not {target} and {exponent}")
    return lambda given, draw: (given / target) ** (exponent - 1) * _spread(draw, spread)


def parabola(target: float, spread: float = 0.0) -> Growth:
    """Channels that rise up to a target and fall beyond: `target * (1 - (given / target - 1) ** 2)`."""
    _checked(spread)
    if not 0 < target < math.inf:
        raise SchemaError(f"parabola takes a target above 0, not {target}")
    return lambda given, draw: max(2 - given / target, 1 / given) * _spread(draw, spread)


def keep() -> Growth:
    """As many channels as are given; what nodes without a growth do."""
    return lambda given, draw: 1.0


def anywhere(least: int, most: int) -> Growth:
    """Channels drawn between two numbers, evenly on a logarithmic scale, whatever is given."""
    if not 0 < least <= most < math.inf:
        raise SchemaError(f"anywhere takes numbers above 0, the smaller one first, not {least} and {most}")
    return lambda given, draw: math.exp(draw.uniform(math.log(least), math.log(most))) / given
