"""Plain data that JSON can say, and checks of what is read from it."""

from __future__ import annotations

import abc
import json
from typing import Any

from naivegraph.edits.plan.index_formula import Indices, from_runs

__all__ = ["Plain", "natural", "runs"]


class Plain(abc.ABC):
    """Data that is equal where its JSON is: arrays have no equality of their own."""

    @abc.abstractmethod
    def to_data(self) -> Any:
        """Give what `json.dumps` takes."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and type(other) is type(self) and other.to_data() == self.to_data()

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_data()))


def natural(value: Any) -> int:
    """A whole number from 0 up.

    Raises:
        ValueError: It is none.
    """
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of neurons")
    return value


def runs(data: Any, size: int) -> Indices:
    """Sorted indices below `size`, from their runs.

    Raises:
        ValueError: They are none.
    """
    pairs = [[natural(a), natural(b)] for a, b in data]
    flat = [place for pair in pairs for place in pair]
    if any(a >= b for a, b in pairs) or flat != sorted(flat) or (flat and flat[-1] > size):
        raise ValueError(f"the neurons {data} are not sorted runs within {size}")
    return from_runs(pairs)
