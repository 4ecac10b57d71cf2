"""Things a study is given: proposals, rungs to evaluate them on, an engine."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from naivegraph.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Engine", "Evaluate", "Proposal", "Rung", "name_of"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True)
class Rung:
    """A step of training: networks that do well on one go on to the next, with the weights they have.

    Attributes:
        index: Its number, from 0.
        start: Epochs (or what else `rungs` counts) this network has behind it in this study.
        end: Epochs it shall have behind it afterwards.
        inherited: Epochs behind the weights it was proposed with, those of its parents.

    Example:
        >>> Rung(1, start=1, end=3).epochs
        2
    """

    index: int
    start: int
    end: int
    inherited: int = 0

    @property
    def epochs(self) -> int:
        """Epochs to train now."""
        return self.end - self.start


@dataclass(frozen=True)
class Proposal:
    """One network that is to be evaluated.

    Attributes:
        structure: What the space makes the network of: numbers, texts, lists and dicts, as JSON has them.
        name: The name of the architecture: equal for networks that need not be told apart, of letters,
            digits, `_` and `-`. An ordered hash of `structure` where none is given.
        parents: Names of the networks it was made of.
        mutation: What was done to them, in a few words.
        weights: A state dict to start from; fresh weights if None.
        inherited: Epochs behind these weights.
        keeps_function: The network computes what its parent does; None if that is not known.
    """

    structure: Mapping[str, Any]
    name: str = ""
    parents: tuple[str, ...] = ()
    mutation: str = ""
    weights: Mapping[str, Tensor] | None = field(default=None, repr=False, compare=False)
    inherited: int = 0
    keeps_function: bool | None = None

    def __post_init__(self) -> None:
        """Name it."""
        if not self.name:
            object.__setattr__(self, "name", name_of(self.structure))
        if not _NAME.fullmatch(self.name):
            raise StudyError(
                f"{self.name!r} is no name of an architecture: 1 to 80 letters, digits, '_' and '-' are"
            )


def name_of(structure: Mapping[str, Any]) -> str:
    """A name for data: the first 64 bits of a hash of it, in which the order of lists counts.

    Raises:
        StudyError: It is not made of numbers, texts, lists and dicts alone.

    Example:
        >>> name_of({"layers": ["a", "b"]}) == name_of({"layers": ["b", "a"]})
        False
    """
    try:
        text = json.dumps(structure, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StudyError(f"a structure is of numbers, texts, lists and dicts alone: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]


Evaluate = Callable[[Any, Rung, int], Mapping[str, float]]
"""`train(module, rung, seed) -> dict`: train a network in place, for `rung.epochs`, and measure it."""


class Engine(Protocol):
    """A `concurrent.futures.Executor`, as far as a study needs it."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start a call."""
        ...

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop; at once if futures are to be cancelled."""
        ...
