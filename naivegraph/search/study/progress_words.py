"""Progress of a study, in a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from naivegraph.search.study.result_table import cell

if TYPE_CHECKING:
    from naivegraph.search.study.study_view import StudyView

__all__ = ["ProgressWords", "duration"]

_PAUSE = 0.5  # seconds between two looks at all results


class ProgressWords:
    """Says how many networks are done, the best, the size of the front, and the time that is left.

    Args:
        study: The study.
        networks: The number of networks to reach, if that is known.
        until: The moment (`time.monotonic`) at which the time is over.
        say: Takes the words.
    """

    def __init__(
        self, study: StudyView, networks: int | None, until: float, say: Callable[[str], None]
    ) -> None:
        self._study, self._networks, self._until, self._say = study, networks, until, say
        self._began = time.monotonic()
        self._old = len(study.candidates)
        self._next = 0.0

    def update(self) -> None:
        """Say it, unless that was a moment ago."""
        if time.monotonic() >= self._next:
            self._say(self.words())
            self._next = time.monotonic() + _PAUSE

    def words(self) -> str:
        """The line."""
        done = len(self._study.candidates)
        parts = [
            f"{done:,} networks" if self._networks is None else f"{done:,} of {self._networks:,} networks"
        ]
        best = self._study.best
        if best is not None:
            first = next(iter(self._study.ranking.objectives))
            parts.append(f"best {first} {cell(best.values[first])}")
            if len(self._study.ranking.objectives) > 1:
                parts.append(f"{len(self._study.front)} on the front")
        left = self._left(done)
        if left is not None:
            parts.append(f"{duration(left)} left")
        return "searching: " + ", ".join(parts)

    def _left(self, done: int) -> float | None:
        """Seconds that are left, if that can be told."""
        now = time.monotonic()
        guesses = [self._until - now] if self._until != float("inf") else []
        if self._networks is not None and done > self._old:
            guesses.append((now - self._began) / (done - self._old) * (self._networks - done))
        return max(0.0, min(guesses)) if guesses else None


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(42), duration(600), duration(7500)
        ('42 s', '10 min', '2.1 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
