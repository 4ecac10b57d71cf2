"""Requests on sizes: exact and relaxed changes, absolute sizes, bounds, multiples."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from typing import Any

from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.graph import Node

__all__ = [
    "Between",
    "Delta",
    "Frozen",
    "Heads",
    "Inputs",
    "Multiple",
    "Request",
    "RequestLike",
    "Size",
    "as_requests",
    "relaxed",
]


@dataclasses.dataclass(frozen=True)
class Delta:
    """Request to change a size by `delta`; if `relaxed`, by about that, but at least by 1 unless it is 0."""

    delta: int
    relaxed: bool = False

    def __str__(self) -> str:
        return f"{'about' if self.relaxed else 'exactly'} {self.delta:+d}"


@dataclasses.dataclass(frozen=True)
class Size:
    """Request to make a size this number; if `relaxed`, about this number."""

    size: int
    relaxed: bool = False

    def __str__(self) -> str:
        return f"{'about' if self.relaxed else 'exactly'} {self.size} wide"


@dataclasses.dataclass(frozen=True)
class Between:
    """Request to keep a size within bounds, both included."""

    lower: int = 1
    upper: int | None = None

    def __str__(self) -> str:
        return f"at least {self.lower}" + ("" if self.upper is None else f", at most {self.upper}")


@dataclasses.dataclass(frozen=True)
class Multiple:
    """Request to make a size a multiple of this number."""

    of: int

    def __str__(self) -> str:
        return f"a multiple of {self.of}"


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Request that every neuron stays and none is added."""

    def __str__(self) -> str:
        return "as it is"


@dataclasses.dataclass(frozen=True)
class Heads:
    """Request to make the number of heads of an attention this, whatever their size is.

    Of a layer that makes queries it is the number of heads; of one that makes the keys and values which
    several of them share, the number of these.
    """

    count: int

    def __str__(self) -> str:
        return f"exactly {self.count} heads"


Request = Delta | Size | Between | Multiple | Frozen


class Inputs:
    """Requests on the sizes of a vertex's inputs, one for each in order; None for no request.

    Example:
        >>> Inputs(-2, None)
        Inputs(exactly -2, None)
    """

    def __init__(self, *entries: int | Request | None) -> None:
        self.entries = tuple(None if entry is None else _request(entry) for entry in entries)

    def __repr__(self) -> str:
        return f"Inputs({', '.join(str(entry) for entry in self.entries)})"


RequestLike = int | Request | Inputs | Heads | tuple["int | Request | Inputs | Heads", ...]


def relaxed(request: int | Delta | Size) -> Request:
    """Relax a request: its size is reached as nearly as possible.

    Example:
        >>> print(relaxed(+8), relaxed(Size(48)), sep="; ")
        about +8; about 48 wide
    """
    made = _request(request)
    if isinstance(made, (Delta, Size)):
        return dataclasses.replace(made, relaxed=True)
    raise EditError(f"only changes and sizes can be relaxed, not {made}")


def _request(value: Any) -> Request:
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = Delta(int(value))
    if not isinstance(value, (Delta, Size, Between, Multiple, Frozen)):
        hint = ""
        if isinstance(value, (str, Node)):  # ng.inputs(...) and ng.input_node(...) taken for each other
            hint = (
                "; ng.inputs(-2, None) asks for other sizes of a vertex's inputs, and "
                "ng.input_node('x', 3) makes an input of a network written by hand"
            )
        raise EditError(
            f"{value!r} is no request: give a number such as -8, ng.relaxed(+8) or ng.size(48){hint}"
        )
    match value:
        case Delta():
            validate.whole(value.delta, "a change of a size", -validate.LARGEST)
        case Size():
            validate.whole(value.size, "a size", 1)
        case Multiple():
            validate.whole(value.of, "what a size is a multiple of", 1)
        case Between():
            lower = validate.whole(value.lower, "the lower bound of a size", 0)
            if value.upper is not None:
                validate.whole(value.upper, "the upper bound of a size", max(lower, 1))
    return value


def as_requests(asked: RequestLike) -> list[Request | Inputs | Heads]:
    """The requests of one entry of the dict passed to `ng.resize`, as a list."""
    if isinstance(asked, tuple):
        return [item for each in asked for item in as_requests(each)]
    if isinstance(asked, Heads):
        validate.whole(asked.count, "a number of heads", 1)
        return [asked]
    return [asked] if isinstance(asked, Inputs) else [_request(asked)]


def as_mapping(
    requests: Mapping[Any, RequestLike] | None,
) -> dict[Any, list[Request | Inputs | Heads]]:
    """The dict passed to `ng.resize`, with every entry as a list of requests."""
    asked_for = validate.mapping(requests, "what is asked for", "by vertex, as in {'conv': -8}")
    return {key: as_requests(asked) for key, asked in asked_for.items()}
