"""Selection: against sorting by hand, and a plain statement of Pareto fronts."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from naivegraph import search
from naivegraph.errors import StudyError
from naivegraph.search.evolution.selection import by_fronts
from naivegraph.search.study import Candidate, History, Lineage, Ranking, Result


def history(points: list[tuple[float, float]]) -> History:
    made = History(Ranking({"accuracy": "max", "params": "min"}))
    store: Any = None
    for number, (accuracy, params) in enumerate(points):
        name = f"n{number}"
        result = Result(name, 0, "done", {"accuracy": accuracy, "params": params})
        made.add(Candidate(Lineage(number, name), result, store, None))
    return made


POINTS = [(0.5, 10.0), (0.9, 50.0), (0.9, 40.0), (0.2, 5.0), (0.7, 60.0), (0.8, 30.0)]


def drawn(selection: search.Selection, points: list[tuple[float, float]] = POINTS) -> Counter[str]:
    past, rng = history(points), random.Random(0)
    return Counter(selection(past, rng).name for _ in range(400))


def test_elite_draws_from_the_best_alone() -> None:
    assert set(drawn(search.elite(2))) == {"n1", "n2"}


def test_a_large_tournament_is_won_by_the_best() -> None:
    counts = drawn(search.tournament(12))
    assert counts.most_common(1)[0][0] == "n2"  # of equals the smaller
    assert counts["n3"] == 0


def test_only_the_youngest_live() -> None:
    assert set(drawn(search.ageing(3, 2))) <= {"n3", "n4", "n5"}


def test_universal_selection_follows_the_ranks() -> None:
    counts = drawn(search.universal(1.8))
    assert counts["n2"] > counts["n5"] > counts["n3"]
    assert abs(counts["n2"] / 400 - 1.8 / 6) < 0.07


def test_fronts_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    losses = rng.random((30, 2)).round(1)
    order = by_fronts(losses)
    left = set(range(30))
    while left:
        front = {i for i in left if not any(
            (losses[j] <= losses[i]).all() and (losses[j] < losses[i]).any() for j in left)}  # fmt: skip
        found, order = order[: len(front)], order[len(front) :]
        assert set(found) == front
        left -= front


def test_nsga2_draws_from_the_front() -> None:
    assert set(drawn(search.nsga2(4))) == {"n0", "n2", "n3", "n5"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: search.elite(0), "size=0"),
        (lambda: search.universal(3), "pressure=3: give a number from 1 to 2"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make()
