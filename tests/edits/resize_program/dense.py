"""Resizing the dense way: a binary per neuron of every vertex, an equality per pair of the same neurons.

Written from what `Structure` knows about a network, with nothing of how the library poses its program; only
the solver is the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from naivegraph.edits.request.requests import Between, Delta, Multiple, Request, Size
from naivegraph.solvers import Outcome, Program, Solution, solve
from tests.machine.correspond import Floats, Integers, Structure

__all__ = ["Dense", "Found", "RequestLike"]

_TINY = 1e-3
_MOST = 10_000.0
_Columns = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class RequestLike:
    """One request about the output of a node."""

    node: int
    request: Request

    def target(self, now: int) -> int | None:
        """The size it aims at."""
        if isinstance(self.request, Delta):
            return now + self.request.delta
        return self.request.size if isinstance(self.request, Size) else None

    @property
    def relaxed(self) -> bool:
        return isinstance(self.request, (Delta, Size)) and self.request.relaxed


@dataclasses.dataclass(frozen=True)
class Found:
    """What a solve ended with: how far requests were missed, and what is worth how much beyond them."""

    outcome: Outcome
    missed: float = 0.0
    worth: float = 0.0


class Dense:
    """The program of one resize.

    Args:
        structure: The network.
        asked: The requests.
        told: By node what its neurons are worth, one number per index; None where only sizes count.
        new: The most neurons that may come, all bundles together; None for no bound.
    """

    def __init__(
        self,
        structure: Structure,
        asked: Sequence[RequestLike],
        told: Mapping[int, Floats] | None,
        new: int | None = None,
    ) -> None:
        self.structure, self.asked, self.program = structure, asked, Program()
        self.utilities = None if told is None else structure.utilities(told)
        self.part = structure.in_scope(one.node for one in asked)
        self.new = 0 if not asked else new
        self.held = self._held()
        self.keep: list[_Columns] = []
        self.come: list[_Columns] = []
        for index in range(len(structure.nodes)):
            self._vertex(index)
        self._same()
        self.distances = self._requests()
        self.missed = self._sum("missed", [(c, 1.0) for c in self.distances])
        self.worth = self._worth()

    # Columns

    def _held(self) -> set[int]:
        """Bundles of which nothing may change: those which take no part."""
        return set(range(len(self.structure.bundles))) - self.part

    def _vertex(self, index: int) -> None:
        """Its neurons kept, the new ones of each run, and that one is left at least."""
        structure, program = self.structure, self.program
        bundle = structure.bundle_of[structure.labels[index]]
        still = (bundle < 0) | np.isin(bundle, list(self.held))
        lower = np.where(still, 1.0, 0.0)
        self.keep.append(
            np.array(program.columns([f"keep {index} {i}" for i in range(len(bundle))], lower, 1.0))
        )
        runs = structure.runs[index]
        free = [run[2] >= 0 and run[2] not in self.held and self.new != 0 for run in runs]
        names = [f"come {index} {i}" for i in range(len(runs))]
        self.come.append(np.array(program.columns(names, 0, np.where(free, 1000.0, 0.0))))
        columns, factors = self.size(index)
        program.row(f"size {index}", columns, factors, lower=1)

    def size(self, index: int, entries: int | None = None) -> tuple[_Columns, Floats]:
        """The size of a vertex, or of its first entries: columns and their factors."""
        counts = self.structure.counts[index][:entries]
        runs = [run for run in self.structure.runs[index] if entries is None or run[0] < entries]
        per_run = np.array([count for _, _, _, count in runs])
        columns = np.append(self.keep[index][:entries], self.come[index][: len(runs)])
        return columns, np.append(counts, per_run).astype(np.float64)

    # Rows

    def _same(self) -> None:
        """Neurons which are the same stay together and come together; halves that are swapped are equal."""
        for node, source, here, there in self.structure.pairs:
            self._equal(f"same {node} {source}", self.keep[node][here], self.keep[source][there])
            one, two = self._run_of(node)[here], self._run_of(source)[there]
            both = np.unique(np.stack([one, two], axis=1), axis=0)
            self._equal(f"come {node} {source}", self.come[node][both[:, 0]], self.come[source][both[:, 1]])
        for number, (node, one, two) in enumerate(self.structure.equal):
            runs = self._run_of(node)
            plus = np.append(self.keep[node][one], self.come[node][np.unique(runs[one])])
            minus = np.append(self.keep[node][two], self.come[node][np.unique(runs[two])])
            factors = np.append(np.ones(len(plus)), -np.ones(len(minus)))
            self.program.row(f"halves {number}", np.append(plus, minus), factors, lower=0, upper=0)
        if self.new is not None:
            columns = [column for bundle in self.part for column in [self._place(bundle)[1]]]
            self.program.row("most new", columns, 1.0, upper=self.new)

    def _equal(self, name: str, one: _Columns, two: _Columns) -> None:
        count = len(one)
        indices = np.stack([one, two], axis=1).ravel()
        values = np.tile([1.0, -1.0], count)
        names = [f"{name} {i}" for i in range(count)]
        self.program.rows(2 * np.arange(count + 1), indices, values, 0.0, 0.0, names)

    def _run_of(self, index: int) -> Integers:
        return np.repeat(
            np.arange(len(self.structure.runs[index])), [b - a for a, b, _, _ in self.structure.runs[index]]
        )

    def _place(self, bundle: int) -> tuple[_Columns, int]:
        """The columns of a bundle where it first occurs: its neurons kept and the number of new ones."""
        for index, runs in enumerate(self.structure.runs):
            for number, (first, last, which, _) in enumerate(runs):
                if which == bundle:
                    return self.keep[index][first:last], int(self.come[index][number])
        raise KeyError(bundle)

    def _requests(self) -> list[int]:
        distances = []
        for number, one in enumerate(self.asked):
            (columns, factors), request = self.size(one.node), one.request
            now = int(self.structure.counts[one.node].sum())
            target, row = one.target(now), self.program.row
            if target is not None and one.relaxed:
                distances.append(self._distance(f"missed {number}", one.node, target))
                if target != now:
                    up = self.program.column(f"up {number}", 0, 1)
                    row(f"more {number}", [*columns, up], [*factors, -_MOST], lower=now + 1 - _MOST)
                    row(f"less {number}", [*columns, up], [*factors, -_MOST], upper=now - 1)
            elif target is not None:
                row(f"exactly {number}", columns, factors, lower=target, upper=target)
            elif isinstance(request, Between):
                upper = np.inf if request.upper is None else request.upper
                row(f"between {number}", columns, factors, lower=request.lower, upper=upper)
            elif isinstance(request, Multiple):
                times = self.program.column(f"times {number}", 0, 10_000)
                row(f"multiple {number}", [*columns, times], [*factors, -float(request.of)], lower=0, upper=0)
            else:
                for column in self.keep[one.node]:
                    row(f"stays {number} {column}", [int(column)], 1.0, lower=1)
                for column in self.come[one.node]:
                    row(f"nothing {number} {column}", [int(column)], 1.0, upper=0)
        return distances

    # Goals

    def _distance(self, name: str, index: int, target: int, entries: int | None = None) -> int:
        columns, factors = self.size(index, entries)
        away = self.program.column(name, 0, np.inf, integer=False)
        self.program.row(f"{name} above", [*columns, away], [*factors, -1.0], upper=target)
        self.program.row(f"{name} below", [*columns, away], [*factors, 1.0], lower=target)
        return away

    def _sum(self, name: str, terms: Sequence[tuple[int, float]]) -> dict[int, float]:
        """Minus 0.1 of the sum and 0.8 of the largest of weighted columns."""
        if not terms:
            return {}
        largest = self.program.column(f"{name} largest", 0, np.inf, integer=False)
        for column, weight in terms:
            self.program.row(f"{name} largest {column}", [largest, column], [1.0, -weight], lower=0)
        return {**{column: -0.1 * weight for column, weight in terms}, largest: -0.8}

    def _worth(self) -> dict[int, float]:
        goal: dict[int, float] = {}
        for bundle in sorted(self.part):
            keep, come = self._place(bundle)
            goal[come] = -_TINY
            if self.utilities is not None:
                values = self.utilities[bundle]
                goal.update(zip(map(int, keep), values, strict=True))
                some = np.abs(values[values != 0])
                goal[come] = -0.1 * float(some.min()) if len(some) else -_TINY
        terms = [
            (self._distance(f"vertex {number}", index, target, entries), weight)
            for number, (index, entries, weight, target) in enumerate(self.size_terms())
        ]
        goal.update(self._sum("sizes", terms))
        return goal

    def size_terms(self) -> list[tuple[int, int | None, float, int]]:
        """Per vertex that takes part and no relaxed request names: a node, how many of its first entries,
        its weight, the size to be near.
        """
        relaxed = {one.node for one in self.asked if one.relaxed}
        places: list[tuple[int, int | None]] = [
            (index, None) for index in range(len(self.structure.nodes)) if index not in relaxed
        ]
        # Halves that are swapped are the outputs of a vertex, the first of which counts.
        places += [(node, len(half)) for node, half, _ in self.structure.equal]
        found = [
            (*place, *self._size_term(*place)) for place in places if self.part & {*self._bundles(*place)}
        ]
        least = min((largest for *_, largest, _ in found if largest), default=1.0)
        return [
            (index, entries, (largest or least) / target, target) for index, entries, largest, target in found
        ]

    def _bundles(self, index: int, entries: int | None) -> list[int]:
        runs = self.structure.runs[index]
        return [run[2] for run in runs if run[2] >= 0 and (entries is None or run[0] < entries)]

    def _size_term(self, index: int, entries: int | None) -> tuple[float, int]:
        """The largest |utility| of a vertex, and the size it is to be near."""
        now = int(self.structure.counts[index][:entries].sum())
        if self.utilities is None:
            return 1.0, now
        runs = [run for run in self.structure.runs[index] if entries is None or run[0] < entries]
        found = [(self.utilities[bundle], count) for _, _, bundle, count in runs if bundle >= 0]
        largest = max(float(np.abs(values).max()) for values, _ in found)
        return largest, max(now - sum(count * int((values < 0).sum()) for values, count in found), 1)

    # Answers

    def solve(self, time_limit: float | None = None) -> Found:
        """First the requests as near as can be, then the most worth."""
        program, missed = self.program.copy(), 0.0
        if self.missed:
            columns, factors = list(self.missed), list(self.missed.values())
            program.set_objective(columns, factors)
            nearest = solve(program, time_limit=time_limit)
            if nearest.values is None:
                return Found(nearest.outcome)
            missed = nearest.objective
            program.row("as near as can be", columns, factors, lower=missed - 1e-6 * (1 + abs(missed)))
        best = self._best(program, time_limit)
        return Found(best.outcome, missed, best.objective)

    def _best(self, program: Program, time_limit: float | None) -> Solution:
        program.set_objective(list(self.worth), list(self.worth.values()))
        return solve(program, time_limit=time_limit)

    def judge(self, kept: Mapping[int, Integers], sizes: Mapping[int, int]) -> Found:
        """What an answer is worth: the neurons kept and the sizes of all (or some) nodes, as indices."""
        program = self.program.copy()
        for index, indices in kept.items():
            stays = np.isin(np.arange(int(self.structure.counts[index].sum())), indices)
            owner = np.repeat(np.arange(len(self.keep[index])), self.structure.counts[index])
            share = np.bincount(owner, stays) / self.structure.counts[index]
            for column, part in zip(self.keep[index], share, strict=True):
                program.row(f"given {column}", [int(column)], 1.0, lower=part, upper=part)
            columns, factors = self.size(index)
            program.row(f"given {index}", columns, factors, lower=sizes[index], upper=sizes[index])
        missed = 0.0
        if self.missed:
            program.set_objective(list(self.missed), list(self.missed.values()))
            nearest = solve(program)
            if nearest.values is None:
                return Found(nearest.outcome)
            missed = nearest.objective
        best = self._best(program, None)
        return Found(best.outcome, missed, best.objective)
