"""The order of results: by objectives and limits, and by size where these are equal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from naivegraph.errors import StudyError, nearest
from naivegraph.search.study.result import Result

__all__ = ["Ranking", "Standings", "dominators"]

_Floats = NDArray[np.float64]

_DIRECTIONS = {"max": -1.0, "min": 1.0}


class Ranking:
    """The order of results.

    One result dominates another if it is nowhere worse and somewhere better. Results beyond a limit, and
    failed ones, are dominated by all others. Where objectives are equal, the smaller network counts as
    better.

    Args:
        objectives: `"max"` or `"min"` by name.
        limits: The greatest value allowed, by name.

    Raises:
        StudyError: There is no objective, or one is neither to be large nor small.

    Example:
        >>> ranking = Ranking({"accuracy": "max"})
        >>> a, b = Result("a", 0, "done", {"accuracy": 0.9}), Result("b", 0, "done", {"accuracy": 0.8})
        >>> ranking.best([a, b]).name
        'a'
    """

    def __init__(self, objectives: Mapping[str, str], limits: Mapping[str, float] | None = None) -> None:
        if not objectives:
            raise StudyError("a study needs an objective, such as objectives={'accuracy': 'max'}")
        for name, direction in objectives.items():
            if direction not in _DIRECTIONS:
                hint = nearest(str(direction), _DIRECTIONS, otherwise="say 'max' or 'min'")
                raise StudyError(f"objective {name!r} is to be 'max' or 'min', not {direction!r}{hint}")
        for name, limit in (limits or {}).items():
            if isinstance(limit, bool) or not isinstance(limit, (int, float)) or math.isnan(limit):
                raise StudyError(f"limit {name!r} is to be a number, not {limit!r}")
        self.objectives = dict(objectives)
        self.limits = dict(limits or {})

    def allowed(self, result: Result) -> bool:
        """Tell whether a result is a success within all limits; a limit that was not measured is not kept."""
        return result.status == "done" and all(
            name in result.values and result.values[name] <= limit for name, limit in self.limits.items()
        )

    def losses(self, result: Result) -> tuple[float, ...]:
        """Objectives of a success, each such that less is better."""
        return tuple(_DIRECTIONS[way] * result.values[name] for name, way in self.objectives.items())

    def key(self, result: Result) -> tuple[object, ...]:
        """A key for sorting by the first objective, then by size; a smaller one is better."""
        if not self.allowed(result):
            return (1, (), 0.0, result.name)
        losses = self.losses(result)
        return (0, losses[:1], _size(result), losses[1:], result.name)

    def best(self, results: Iterable[Result]) -> Result | None:
        """The best by the first objective; of equals the smallest. None if none is allowed."""
        found = min(results, key=self.key, default=None)
        return found if found is not None and self.allowed(found) else None

    def front(self, results: Iterable[Result]) -> list[Result]:
        """Results that no other dominates, the best by the first objective first; of equals the smallest."""
        unique: dict[tuple[float, ...], Result] = {}
        for result in sorted(filter(self.allowed, results), key=self.key):
            losses = self.losses(result)
            if losses not in unique or _size(result) < _size(unique[losses]):
                unique[losses] = result
        if not unique:
            return []
        points = np.array(list(unique))
        kept = [
            result
            for point, result in zip(points, unique.values(), strict=True)
            if not dominators(points, point).any()
        ]
        return sorted(kept, key=self.key)


class Standings:
    """Results of one rung, to which more are added, and which of them is next.

    The rank of a result is the number of results that dominate it (Fonseca and Fleming, Genetic algorithms
    for multiobjective optimization, ICGA 1993, section 3); with one objective that is its place.
    """

    def __init__(self, ranking: Ranking) -> None:
        self.ranking = ranking
        self.results: list[Result] = []
        self._losses = np.zeros((0, len(ranking.objectives)))
        self._rows: list[tuple[int, float, float, int]] = []  # rank, first loss, size, order of arrival
        self._taken: set[int] = set()

    def __len__(self) -> int:
        """Count the results."""
        return len(self.results)

    def add(self, result: Result) -> None:
        """Add one."""
        place = len(self.results)
        self.results.append(result)
        if self.ranking.allowed(result):
            losses = np.array(self.ranking.losses(result))
            size = _size(result)
        else:
            losses, size = np.full(len(self.ranking.objectives), np.inf), np.inf
            self._taken.add(place)  # never promoted
        for index in np.flatnonzero(dominators(-self._losses, -losses)):
            rank, first, its_size, order = self._rows[index]
            self._rows[index] = (rank + 1, first, its_size, order)
        rank = int(dominators(self._losses, losses).sum())
        self._rows.append((rank, float(losses[0]), size, place))
        self._losses = np.vstack([self._losses, losses])

    def take(self, reduction: int) -> Result | None:
        """Give the best that has not been given, if it is among the best of so many; else None."""
        count = len(self.results) // reduction
        if count == 0:
            return None
        for *_, place in sorted(self._rows)[:count]:
            if place not in self._taken:
                self._taken.add(place)
                return self.results[place]
        return None


def dominators(points: _Floats, point: _Floats) -> NDArray[np.bool_]:
    """Tell which points (a row each) are nowhere greater than a point and somewhere less."""
    answer: NDArray[np.bool_] = np.all(points <= point, axis=1) & np.any(points < point, axis=1)
    return answer


def _size(result: Result) -> float:
    """Parameters, where they were counted."""
    return result.values.get("params", 0.0)
