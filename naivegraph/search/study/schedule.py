"""The order of evaluations, which depends on results but not on when they come."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from naivegraph.errors import StudyError
from naivegraph.search.study.candidate import Candidate, Lineage
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking, Standings
from naivegraph.search.study.study_history import History

__all__ = ["Plan", "Schedule", "Slot"]

PATIENCE = 200
"""Proposals in a row that are nothing new, after which a space counts as exhausted."""


@dataclass(frozen=True)
class Plan:
    """The settings that decide the order of evaluations.

    Attributes:
        rungs: Epochs at the end of each rung, growing.
        ahead: Evaluation number `i` is chosen by the results of numbers 0 to `i - ahead`: so many can run at
            once.
        reduction: One of so many networks goes on to the next rung.
    """

    rungs: Sequence[int] = (1,)
    ahead: int = 16
    reduction: int = 3

    def __post_init__(self) -> None:
        """Check the numbers."""
        rungs = tuple(self.rungs)
        object.__setattr__(self, "rungs", rungs)
        whole = all(type(each) is int for each in rungs)
        if not rungs or not whole or rungs[0] < 1 or any(a >= b for a, b in itertools.pairwise(rungs)):
            raise StudyError(f"rungs are growing numbers of epochs, such as (1, 3, 9), not {rungs!r}")
        if type(self.ahead) is not int or self.ahead < 1:
            raise StudyError(f"ahead={self.ahead}: at least one evaluation runs at a time, a whole number")
        if type(self.reduction) is not int or self.reduction < 2:
            raise StudyError(
                f"reduction={self.reduction}: at least two networks are compared for one to go on"
            )


@dataclass(frozen=True)
class Slot:
    """A place in the order: an architecture and a rung."""

    lineage: Lineage
    rung: int

    @property
    def key(self) -> tuple[str, int]:
        """The key of the result."""
        return self.lineage.name, self.rung


@dataclass
class Schedule:
    """The order of evaluations.

    The choice is that of ASHA (Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020,
    algorithm 2): the best third of a rung that has not gone on goes on, the highest rung first; where there
    is none, a new network starts. But it looks at results by their place in this order, and not at what
    happens to be ready, so it is the same whatever the engine, the number of workers and the speed of each.
    Once there are enough networks, it looks at one result more at a time, until nobody can go on.

    Attributes:
        plan: Rungs, and how many run at once.
        networks: Networks to start, those of different names counted.
        history: What proposals may know.
        propose: Gives the proposal of a number; None if there are no more.
        results: All that is there, by architecture and rung; grows from outside.
        make: Makes a candidate.
        exhausted: The space has no more networks, and why this is thought.
    """

    plan: Plan
    networks: int
    history: History
    propose: Callable[[int, History], Lineage | None]
    results: Mapping[tuple[str, int], Result]
    make: Callable[[Lineage, Result], Candidate]
    slots: list[Slot] = field(default_factory=list)
    exhausted: str = ""
    finished: bool = False

    def __post_init__(self) -> None:
        """Start with empty standings, one per rung."""
        self._standings = [Standings(self.ranking) for _ in self.plan.rungs]
        self._lineages: dict[str, Lineage] = {}
        self._ranked: set[tuple[str, int]] = set()
        self._settled = 0  # so many slots from the first on have results
        self._seen = 0  # so many of them were looked at
        self._number = 0

    @property
    def ranking(self) -> Ranking:
        """The order of results."""
        return self.history.ranking

    def next(self) -> Slot | None:
        """Give the next place; None if that depends on results to come, or if all is done (`finished`)."""
        while self._settled < len(self.slots) and self.slots[self._settled].key in self.results:
            self._settled += 1
        wanted = max(0, len(self.slots) + 1 - self.plan.ahead)
        if self._settled < wanted:
            return None
        self._look(wanted)
        while True:
            slot = self._promoted() or self._started()
            if slot is not None:
                self.slots.append(slot)
                return slot
            if self._seen == len(self.slots):
                self.finished = True
                return None
            if self._seen == self._settled:
                return None
            self._look(self._seen + 1)

    def _look(self, until: int) -> None:
        """Look at results up to a place."""
        for slot in self.slots[self._seen : until]:
            if slot.key in self._ranked:
                continue  # an architecture that was proposed twice
            self._ranked.add(slot.key)
            result = self.results[slot.key]
            self._standings[slot.rung].add(result)
            self.history.add(self.make(slot.lineage, result))
        self._seen = max(self._seen, until)

    def _promoted(self) -> Slot | None:
        """The best that can go on, from the highest rung that has one."""
        for rung in reversed(range(len(self.plan.rungs) - 1)):
            result = self._standings[rung].take(self.plan.reduction)
            if result is not None:
                return Slot(self._lineages[result.name], rung + 1)
        return None

    def _started(self) -> Slot | None:
        """A new network, or one that was proposed before."""
        if self.exhausted or len(self.history.names) >= self.networks:
            return None
        lineage = self.propose(self._number, self.history)
        if lineage is None:
            if self._seen < len(self.slots):
                return None  # it may have more once it knows more
            self.exhausted = "the space proposes no more networks"
            return None
        self._number += 1
        if lineage.name in self.history.names:
            self.history.repeated += 1
            if self.history.repeated >= PATIENCE:
                self.exhausted = f"the last {PATIENCE} proposals were all of networks evaluated before"
        else:
            self.history.repeated = 0
            self._lineages[lineage.name] = lineage
            self.history.names.add(lineage.name)
        return Slot(self._lineages[lineage.name], 0)
