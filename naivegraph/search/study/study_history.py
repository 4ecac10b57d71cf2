"""The results that a space may know when it proposes a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from naivegraph.search.study.candidate import Candidate
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking

__all__ = ["History"]


class History:
    """The results that a proposal may know: not what happens to be ready, but a fixed part.

    Attributes:
        ranking: Objectives and limits, which give the best and the front.
        names: Names of all networks proposed so far, also of those that are still evaluated.
    """

    def __init__(self, ranking: Ranking) -> None:
        self.ranking = ranking
        self.names: set[str] = set()
        self._candidates: dict[str, Candidate] = {}

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Networks with a result, those that failed among them, in the order of the study."""
        return list(self._candidates.values())

    @property
    def allowed(self) -> Sequence[Candidate]:
        """Networks that were evaluated and keep all limits."""
        return [found for found in self._candidates.values() if self.ranking.allowed(found.result)]

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
