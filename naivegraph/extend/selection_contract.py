"""The tests that every selection of parents has to pass, for authors of selections."""

from __future__ import annotations

import random
from typing import Any, ClassVar

from naivegraph.extend.checks import expect
from naivegraph.search.study import Candidate, History, Lineage, Ranking, Result

__all__ = ["SelectionContract"]


class SelectionContract:
    """The promises of a `Selection`; a subclass in a test file names it, and pytest finds the tests.

    Attributes:
        selection: The selection under test, as a `staticmethod`.
        draws: How often it is asked.

    Example:
        >>> from naivegraph import search
        >>> class TestElite(SelectionContract):
        ...     selection = staticmethod(search.elite(3))
        >>> TestElite().test_draws_come_from_the_history()
    """

    selection: staticmethod[[History, random.Random], Candidate]
    draws: ClassVar[int] = 50

    def test_draws_come_from_the_history(self) -> None:
        """A parent is one of the networks that keep all limits, however few there are."""
        for count in (1, 2, 3, 30):
            past = _history(count)
            for drawn in self._drawn(past):
                kept = any(drawn is each for each in past.allowed)
                expect(kept, f"of {count} networks it chose {drawn!r}, which is none of them")

    def test_a_seed_gives_the_same_draws(self) -> None:
        """No random numbers but those that are given are used."""
        past = _history(30)
        one, two = (list(map(id, self._drawn(past))) for _ in range(2))
        expect(one == two, "the same seed gives other parents")

    def test_better_networks_are_not_chosen_less(self) -> None:
        """The better half becomes parents at least as often as the worse half."""
        past = _history(30)
        order = sorted(past.allowed, key=lambda each: -each.result.values["accuracy"])
        better = {each.name for each in order[: len(order) // 2]}
        share = sum(each.name in better for each in self._drawn(past)) / self.draws
        expect(share >= 0.4, f"only {share:.0%} of the parents are of the better half")

    def _drawn(self, past: History) -> list[Candidate]:
        rng = random.Random(0)
        return [self.selection(past, rng) for _ in range(self.draws)]


def _history(count: int) -> History:
    """A history of networks whose accuracy grows with their size, in no order."""
    made, rng, store = History(Ranking({"accuracy": "max"})), random.Random(count), None
    for number in range(count):
        name = f"network {number}"
        measures: dict[str, Any] = {"accuracy": rng.random(), "params": float(number)}
        made.add(Candidate(Lineage(number, name), Result(name, 0, "done", measures), store, None))  # type: ignore[arg-type]
    return made
