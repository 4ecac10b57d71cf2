"""Shapes of what flows through a schema: maps, vectors and tokens, with sizes known or open."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from naivegraph.errors import SchemaError
from naivegraph.search.schema.size_model import SizeModel, SizeTerm

__all__ = [
    "FeatureShape",
    "KnownShape",
    "ShapeWish",
    "SizeBounds",
    "TokenShape",
    "as_known",
    "bounds_of",
    "tokens",
]


@dataclasses.dataclass(frozen=True, slots=True)
class TokenShape:
    """Shape of a sequence of tokens, (length, features), in front of which torch puts the batch."""

    length: int
    features: int


def tokens(length: int, features: int) -> TokenShape:
    """The shape of an input of tokens; a plain tuple is (channels, height, width).

    Example:
        >>> tokens(16, 32)
        TokenShape(length=16, features=32)
    """
    return TokenShape(length, features)


# The shape of the input, or those of several by the names of the nodes they go to.
ShapeWish = tuple[int, ...] | TokenShape | Mapping[str, tuple[int, ...] | TokenShape]


@dataclasses.dataclass(frozen=True, slots=True)
class FeatureShape:
    """Shape without its batch, of sizes that may be open.

    Attributes:
        channels: Channels or features.
        spatial: Height and width and so on; the length of tokens.
        tokens: Whether features come last.
    """

    channels: SizeTerm
    spatial: tuple[SizeTerm, ...]
    tokens: bool = False

    @property
    def layout(self) -> str:
        """The layout in words."""
        if self.tokens:
            return "tokens"
        return f"a map of {len(self.spatial)} dimensions" if self.spatial else "a vector"

    def text(self, model: SizeModel) -> str:
        """The sizes, open ones as least..most."""
        spatial = [_interval(model, term) for term in self.spatial]
        channels = _interval(model, self.channels)
        return " x ".join([*spatial, channels] if self.tokens else [channels, *spatial])


def _interval(model: SizeModel, term: SizeTerm) -> str:
    low, high = model.interval(term)
    return str(low) if low == high else f"{low}..{high}"


@dataclasses.dataclass(frozen=True, slots=True)
class KnownShape:
    """Shape without its batch, of known sizes; attributes as in `FeatureShape`."""

    channels: int
    spatial: tuple[int, ...]
    tokens: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes in torch's order."""
        return (*self.spatial, self.channels) if self.tokens else (self.channels, *self.spatial)

    def __str__(self) -> str:
        return " x ".join(map(str, self.sizes))


def as_known(shape: object, name: str) -> KnownShape:
    """A shape as users write it, checked.

    Raises:
        SchemaError: It is no shape.
    """
    if isinstance(shape, TokenShape):
        sizes, known = (shape.length, shape.features), KnownShape(shape.features, (shape.length,), True)
    elif isinstance(shape, (tuple, list)) and shape and len(shape) <= 4:
        sizes, known = tuple(shape), KnownShape(shape[0], tuple(shape[1:]))
    else:
        raise SchemaError(
            f"{name}: a shape is (channels, height, width) without the batch, or search.tokens(length, "
            f"features), not {shape!r}"
        )
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise SchemaError(f"{name}: the sizes of a shape are whole numbers from 1 up, not {shape!r}")
    return known


@dataclasses.dataclass(frozen=True, slots=True)
class SizeBounds:
    """Bounds of a size: exact, a range, or open at either end (None)."""

    lower: int | None
    upper: int | None

    def __str__(self) -> str:
        if self.lower == self.upper and self.lower is not None:
            return f"exactly {self.lower}"
        if self.lower is None:
            return f"at most {self.upper}"
        return f"at least {self.lower}" if self.upper is None else f"{self.lower} to {self.upper}"


def bounds_of(value: Any, what: str, least: int = 1) -> SizeBounds | None:
    """Bounds as users write them: None (free), a number (exact), or (least, most) with None for open.

    Raises:
        SchemaError: They are none, or contradict each other.
    """
    if value is None:
        return None
    ends = value if isinstance(value, tuple) else (value, value)
    if len(ends) != 2 or not all(end is None or (isinstance(end, int) and end >= least) for end in ends):
        raise SchemaError(
            f"{what} is a whole number from {least} up, (least, most) with None for open, or None, not "
            f"{value!r}"
        )
    low, high = ends
    if low is not None and high is not None and low > high:
        raise SchemaError(f"{what}: the least, {low}, is above the most, {high}")
    return None if low is None and high is None else SizeBounds(low, high)
