"""The results that a space may know when it proposes a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from naivegraph.search.study.candidate import Candidate
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking

__all__ = ["History"]

_Made = TypeVar("_Made")


class History:
    """The results that a proposal may know: not what happens to be ready, but a fixed part.

    Attributes:
        ranking: Objectives and limits, which give the best and the front.
        names: Names of all networks proposed so far, also of those that are still evaluated.
        repeated: The number of proposals in a row, up to now, that were of networks in `names`.
    """

    def __init__(self, ranking: Ranking) -> None:
        self.ranking = ranking
        self.names: set[str] = set()
        self.repeated = 0
        self._candidates: dict[str, Candidate] = {}
        self._made: dict[object, Any] = {}

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Networks with a result, those that failed among them, in the order of the study."""
        return list(self._candidates.values())

    @property
    def allowed(self) -> Sequence[Candidate]:
        """Networks that were evaluated and keep all limits."""
        return self.once(_allowed)

    @property
    def ranked(self) -> Sequence[Candidate]:
        """Those of `allowed`, the best by the first objective first; of equals the smallest."""
        return self.once(_ranked)

    def once(self, make: Callable[[History], _Made]) -> _Made:
        """Make something of what is known now; what was made since the last result is not made again.

        Args:
            make: A function of the history, and of nothing else; it is the key, so not a new one each time.
        """
        if make not in self._made:
            self._made[make] = make(self)
        made: _Made = self._made[make]
        return made

    def of(self, name: str) -> Candidate | None:
        """The network of a name, if its result may be known."""
        return self._candidates.get(name)

    @property
    def best(self) -> Candidate | None:
        """The best by the first objective; of equals the smallest."""
        best = self.ranking.best(found.result for found in self._candidates.values())
        return None if best is None else self._candidates[best.name]

    @property
    def front(self) -> Sequence[Candidate]:
        """Networks that no other dominates."""
        results: Iterable[Result] = (found.result for found in self._candidates.values())
        return [self._candidates[result.name] for result in self.ranking.front(results)]

    def add(self, candidate: Candidate) -> None:
        """Add a network, or what it did on a higher rung."""
        self._candidates[candidate.name] = candidate
        self._made.clear()


def _allowed(history: History) -> Sequence[Candidate]:
    return [each for each in history.candidates if history.ranking.allowed(each.result)]


def _ranked(history: History) -> Sequence[Candidate]:
    return sorted(history.allowed, key=lambda each: history.ranking.key(each.result))
