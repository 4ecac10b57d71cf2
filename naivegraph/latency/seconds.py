"""A time, told from a share."""

from __future__ import annotations

import math

from naivegraph.errors import EditError

__all__ = ["Seconds"]


class Seconds(float):
    """A number of seconds, for `latency=`, which takes plain numbers as shares of the present latency.

    Raises:
        EditError: It is not above 0.

    Example:
        >>> Seconds(0.012)
        seconds(0.012)
    """

    def __new__(cls, value: float) -> Seconds:
        """Make one of a number."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise EditError(f"ng.seconds takes a number above 0, not {value!r}")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"seconds({float(self)!r})"
