"""Spaces of choices: drawn, changed, named, searched; with a surrogate and with samplers of Optuna."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph import search
from naivegraph.errors import StudyError
from naivegraph.search.study import Candidate, History, Lineage, Proposal, Ranking, Result, Rung

CHOICES = {name: [0, 1, 2, 3] for name in "abcdef"}


class Kept:
    """Structures in memory."""

    def __init__(self) -> None:
        self.structures: dict[str, Mapping[str, Any]] = {}

    def structure(self, name: str) -> Mapping[str, Any]:
        return self.structures[name]


def told(
    history: History, store: Any, proposal: Proposal, values: Mapping[str, float], number: int = 0
) -> None:
    store.structures[proposal.name] = dict(proposal.structure)
    history.names.add(proposal.name)
    result = Result(proposal.name, 0, "done", dict(values), finished=0.0)
    history.add(Candidate(Lineage(number, proposal.name), result, store, None))


def height(structure: Mapping[str, int]) -> float:
    """A hill with its top, 18, where all entries are 3; neighbours count together."""
    values = [structure[name] for name in sorted(CHOICES)]
    return float(sum(values)) - 2.0 * sum(abs(a - b) for a, b in itertools.pairwise(values))


def train(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
    return {"height": height(structure), "size": float(sum(structure.values()))}


def search_with(space: search.Space, count: int, seed: int) -> History:
    history, store = History(Ranking({"height": "max"})), Kept()
    number = 0
    while len(history.names) < count:
        proposal = space.propose(history, random.Random(f"{seed}/{number}"))
        assert proposal is not None
        number += 1
        if proposal.name not in history.names:
            told(history, store, proposal, {"height": height(proposal.structure)}, number)
    return history


def test_a_change_is_of_at_least_one_entry_and_of_one_where_no_more_are_asked_for() -> None:
    one = search.ChoiceSpace(CHOICES, further=0.0)
    more = search.ChoiceSpace(CHOICES, further=0.9)
    start = dict.fromkeys(CHOICES, 0)
    differing = []
    for seed in range(40):
        changed = one.changed(start, random.Random(seed))
        assert sum(changed[name] != 0 for name in CHOICES) == 1
        differing.append(sum(value != 0 for value in more.changed(start, random.Random(seed)).values()))
    assert start == dict.fromkeys(CHOICES, 0)
    assert max(differing) > 2


def test_equal_texts_are_one_architecture_that_is_trained_once(tmp_path: Path) -> None:
    space = search.ChoiceSpace({"a": [0, 1, 2], "b": [0, 1, 2]}, canonical=lambda s: str(s["a"] + s["b"]))
    study = search.Study(
        tmp_path,
        space=space,
        evaluate=lambda s, rung, seed: {"sum": s["a"] + s["b"]},
        objectives={"sum": "max"},
    )
    study.run(networks=9, engine="serial")
    assert sorted(each.values["sum"] for each in study.candidates) == [0, 1, 2, 3, 4]
    assert "evaluated before" in study.exhausted


def test_a_study_that_goes_on_finds_what_one_in_a_piece_does(tmp_path: Path) -> None:
    space = search.SurrogateSpace(search.ChoiceSpace(CHOICES), candidates=8, population=6)
    objectives = {"height": "max"}
    study = search.Study(tmp_path, space=space, evaluate=train, objectives=objectives, ahead=1, seed=3)
    study.run(networks=14, engine="serial")
    again = search.Study(
        tmp_path / "two", space=space, evaluate=train, objectives=objectives, ahead=1, seed=3
    )
    again.run(networks=7, engine="serial")
    again.run(networks=14, engine="serial")  # with a model made anew of what the folder has
    assert [each.name for each in again.candidates] == [each.name for each in study.candidates]


def test_networks_are_built_where_the_space_makes_some(tmp_path: Path) -> None:
    def build(structure: Mapping[str, Any]) -> nn.Module:
        return nn.Sequential(nn.Linear(2, structure["width"]), nn.ReLU(), nn.Linear(structure["width"], 2))

    space = search.ChoiceSpace({"width": [1, 2, 3, 4, 5]}, build=build)
    x, y = torch.randn(20, 2), torch.arange(20) % 2
    wrapped = search.SurrogateSpace(space, population=2, every=1)
    spaces: list[search.Space] = [space, wrapped]
    for number, each in enumerate(spaces):
        study = search.Study(
            tmp_path / str(number),
            space=each,
            evaluate=search.Classification(x, y, x, y),
            objectives={"accuracy": "max"},
        )
        study.run(networks=4, engine="serial")
        assert {c.values["params"] for c in study.candidates} < {5.0 * w + 2 for w in range(1, 6)}


def test_a_surrogate_climbs_higher_than_evolution_alone_with_as_many_trainings() -> None:
    plain: list[float] = []
    helped: list[float] = []
    for seed in range(6):
        space = search.ChoiceSpace(CHOICES, select=search.elite(5))
        best = search_with(space, 60, seed).best, search_with(search.SurrogateSpace(space), 60, seed).best
        for found, out in zip(best, (plain, helped), strict=True):
            assert found is not None
            out.append(found.values["height"])
    assert sum(helped) > sum(plain)


def test_the_network_recommended_is_not_the_one_with_the_luck() -> None:
    names = "abcde"
    space = search.SurrogateSpace(search.ChoiceSpace({name: [0, 1] for name in names}))
    history, store = History(Ranking({"height": "max"})), Kept()
    lucky = {"a": 1, "b": 0, "c": 0, "d": 1, "e": 0}
    rng = random.Random(0)
    # All with b = 1 are good, but of the others one was measured far too high.
    for number in range(32):
        structure = {name: number >> place & 1 for place, name in enumerate(names)}
        value = 5.0 * structure["b"] + rng.gauss(0, 0.5) + (9.0 if structure == lucky else 0.0)
        told(history, store, Proposal(structure), {"height": value}, number)
    assert history.best is not None
    assert history.best.structure == lucky
    recommended = space.recommended(history)
    assert recommended is not None
    assert recommended.structure["b"] == 1
    assert space.recommended(History(Ranking({"height": "max"}))) is None


def test_several_objectives_are_improved_with_changing_weights() -> None:
    def area(space: search.Space, seed: int) -> float:
        history, store = History(Ranking({"height": "max", "size": "min"})), Kept()
        for number in range(60):
            proposal = space.propose(history, random.Random(f"{seed}/{number}"))
            assert proposal is not None
            if proposal.name not in history.names:
                told(history, store, proposal, train(proposal.structure, Rung(0, 0, 1), 0), number)
        return sum(
            max(
                (each.values["height"] + 20 for each in history.front if each.values["size"] <= size),
                default=0,
            )
            for size in range(19)
        )

    choices = search.ChoiceSpace(CHOICES, select=search.nsga2(10))
    plain = sum(area(choices, seed) for seed in range(4))
    helped = sum(area(search.SurrogateSpace(choices, every=2), seed) for seed in range(4))
    assert helped > plain


def test_samplers_of_optuna_propose_by_the_history_alone() -> None:
    pytest.importorskip("optuna")
    space = search.OptunaSpace(search.ChoiceSpace(CHOICES))
    one, two = search_with(space, 25, 1), search_with(search.OptunaSpace(search.ChoiceSpace(CHOICES)), 25, 1)
    assert [each.structure for each in one.candidates] == [each.structure for each in two.candidates]
    best = one.best
    assert best is not None
    assert best.values["height"] > -10
    lists = search.OptunaSpace(search.ChoiceSpace({"sizes": [[1, 2], [3]], "b": [None, "x"]}))
    proposal = lists.propose(History(Ranking({"height": "max"})), random.Random(0))
    assert proposal is not None
    assert proposal.structure["sizes"] in ([1, 2], [3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: search.ChoiceSpace({}), "at least two values for each name"),
        (lambda: search.ChoiceSpace({"a": [1]}), "'a' has 1"),
        (lambda: search.ChoiceSpace(CHOICES, further=1.0), "further= below 1"),
        (lambda: search.SurrogateSpace(object()), "a surrogate needs a space with propose"),  # type: ignore[arg-type]
        (lambda: search.SurrogateSpace(search.ChoiceSpace(CHOICES), every=0), "every= are from 1 up"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make()


@pytest.mark.parametrize(
    ("choices", "more", "message"),
    [
        (None, {}, "choices= is a dict of lists"),
        ({"width": 3}, {}, "choices= is a dict of lists"),
        ({"width": [1, {2}]}, {}, "a value of 'width' cannot be kept as JSON"),
        ({"width": [1.0, float("nan")]}, {}, "a value of 'width' cannot be kept as JSON"),
        ({"width": [1, 1]}, {}, "'width' has a value twice"),
        ({"width": [1, 2]}, {"build": 3}, "build= is a function that makes a network"),
    ],
)
def test_choices_that_are_none(choices: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        search.ChoiceSpace(choices, **more)
