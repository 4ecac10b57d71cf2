"""New entries filled with zeros, ones or means, and numbers of the code that follow, as plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from naivegraph.edits.plan.index_formula import Formula
from naivegraph.edits.plan.plain import natural

__all__ = ["Fill", "NumberChange"]


@dataclasses.dataclass(frozen=True)
class Fill:
    """New entries of a tensor that are filled in a way of their own, whatever the initialisation is.

    Attributes:
        tensor: Its name.
        dim: The dimension along which they lie.
        width: The key of the width whose new neurons they are of.
        kind: "zero", "one", or "mean": of the kept entries with the same other indices.
        gains: The tensors, each with its dimension, by whose entries the kept ones are multiplied in the
            mean.
    """

    tensor: str
    dim: int
    width: str
    kind: str
    gains: tuple[tuple[str, int], ...] = ()

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.tensor, self.dim, self.width, self.kind, [list(gain) for gain in self.gains]]

    @classmethod
    def from_data(cls, data: Any, tensors: Mapping[str, list[Formula]], widths: Mapping[str, Any]) -> Fill:
        """Read what `to_data` gave.

        Raises:
            ValueError: It is something else.
        """
        tensor, dim, width, kind, gains = data
        if kind not in ("zero", "one", "mean"):
            raise ValueError(f"{kind!r} is nothing that entries are filled with")
        if width not in widths:
            raise ValueError(f"{width!r} is none of its widths")
        named = tuple((str(name), _dim(d, tensors[name])) for name, d in gains)
        return cls(str(tensor), _dim(dim, tensors[tensor]), str(width), kind, named)


@dataclasses.dataclass(frozen=True)
class NumberChange:
    """A change of a number that a vertex of the graph is called with, as an attribute behind it changes.

    A network without a graph reads the attribute by itself.
    """

    vertex: str
    before: float
    after: float

    def to_data(self) -> list[Any]:
        """Give what `json.dumps` takes."""
        return [self.vertex, self.before, self.after]

    @classmethod
    def from_data(cls, data: Any) -> NumberChange:
        """Read what `to_data` gave.

        Raises:
            ValueError: It is something else.
        """
        vertex, before, after = data
        return cls(str(vertex), _real(before), _real(after))


def _dim(dim: Any, axes: list[Formula]) -> int:
    if natural(dim) >= len(axes):
        raise ValueError(f"it names dimension {dim} of a tensor of {len(axes)}")
    return int(dim)


def _real(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
