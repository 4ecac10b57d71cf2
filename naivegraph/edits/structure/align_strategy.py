"""Strategies by which sizes are made to fit before tensors are connected."""

from __future__ import annotations

import dataclasses

from naivegraph.algebra.axis import Axis
from naivegraph.edits.request.requests import Between, Request, Size
from naivegraph.edits.request.scope import AxisRequest
from naivegraph.edits.resize_program.strategy import Attempt, Decision, Strategy
from naivegraph.graph import Vertex

__all__ = ["Align", "HoldFirst", "Pair"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two axes that are to be equally long.

    Attributes:
        left: One of them.
        right: The other one.
        vertex: The vertex that takes both.
        names: Their names in messages.
        preferred: The size to try first; None for the larger one.
        why: What messages say where they cannot be equal; by default what their sizes are.
    """

    left: Axis
    right: Axis
    vertex: Vertex
    names: tuple[str, str]
    preferred: int | None = None
    why: str = ""

    @property
    def apart(self) -> bool:
        """Comparison of their present sizes: True if they differ."""
        return self.left.length != self.right.length

    def axis_request(self, request: Request) -> list[AxisRequest]:
        """The same request for both."""
        sides = zip((self.left, self.right), self.names, strict=True)
        return [AxisRequest(self.vertex, axis, request, name) for axis, name in sides]


@dataclasses.dataclass(frozen=True)
class Align(Strategy):
    """First grow the smaller of two sizes, then shrink the bigger, then change both.

    Before that sizes that are preferred are tried: with nothing else changed that is held, then without.
    """

    pairs: tuple[Pair, ...]
    held: tuple[AxisRequest, ...] = ()

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Try one after the other; None if all fail."""
        others = tuple(
            axis_request
            for axis_request in attempt.axis_requests
            if not isinstance(axis_request.request, Between)
        )
        ends = [(pair.left.length, pair.right.length) for pair in self.pairs]
        tried: list[tuple[list[int], tuple[AxisRequest, ...]]]
        tried = [([choose(both) for both in ends], ()) for choose in (max, min)]
        if any(pair.preferred is not None for pair in self.pairs):
            first = [pair.preferred or max(both) for pair, both in zip(self.pairs, ends, strict=True)]
            tried = [(first, self.held), (first, ()), *tried]
        for sizes, held in tried:
            wanted = [
                axis_request
                for pair, size in zip(self.pairs, sizes, strict=True)
                for axis_request in pair.axis_request(Size(size))
            ]
            answer, _ = dataclasses.replace(attempt, axis_requests=(*others, *wanted, *held)).solve()
            if answer is not None:
                return answer
        return attempt.solve()[0]


@dataclasses.dataclass(frozen=True)
class HoldFirst(Strategy):
    """First keep all that is held as it is; if that cannot be, let the program choose."""

    held: tuple[AxisRequest, ...]

    def __call__(self, attempt: Attempt) -> Decision | None:
        """Try one after the other; None if both fail."""
        requests = (*attempt.axis_requests, *self.held)
        answer, _ = dataclasses.replace(attempt, axis_requests=requests).solve()
        return attempt.solve()[0] if answer is None else answer
