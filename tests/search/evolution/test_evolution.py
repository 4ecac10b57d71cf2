"""Evolution as the space of a study: children inherit, limits hold, and a seed gives the same study."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph import search
from naivegraph.errors import StudyError
from tests.search.evolution.networks import residual, vectors


def examples(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 6, generator=generator)
    return x, (x[:, 0] + x[:, 1] > 0).long() + (x[:, 2] > 1).long()


def space(**more: Any) -> search.Evolution:
    mutations = [search.wider(), search.deeper(), search.narrower(), search.skip()]
    return search.Evolution(vectors().graph, mutations, population=3, **more)


def study(folder: Path, networks: int = 9, **more: Any) -> search.Study:
    x, y = examples()
    made = search.Study(
        folder,
        space=space(**more),
        evaluate=search.Classification(x[:40], y[:40], x[40:], y[40:], batch_size=16, learning_rate=0.02),
        objectives={"accuracy": "max", "params": "min"},
        rungs=(1, 2),
        seed=4,
        ahead=2,
    )
    made.run(networks=networks, engine="serial")
    return made


def told(made: search.Study) -> list[Any]:
    return [(c.name, c.lineage.mutation, c.lineage.parents, dict(c.values)) for c in made.candidates]


def test_a_study_of_children(tmp_path: Path) -> None:
    made = study(tmp_path / "one", limits={"params": 600}, cross=0.3)
    assert len(made.candidates) == 9
    assert all(c.result.status == "done" for c in made.candidates)
    assert all(c.values["params"] <= 600 for c in made.candidates)
    assert made.candidates[0].lineage.mutation == "start"
    names = {c.name for c in made.candidates}
    assert all(set(c.lineage.parents) <= names for c in made.candidates)
    best = made.best
    assert best is not None
    graph = best.graph
    x, y = examples()
    accuracy = (graph(x[40:]).argmax(1) == y[40:]).double().mean()
    assert float(accuracy) == pytest.approx(best.values["accuracy"])
    ng.prune(graph, ratio=0.8)
    assert told(study(tmp_path / "two", limits={"params": 600}, cross=0.3)) == told(made)


class Toggled(search.Mutation):
    """A recipe of one of two rates, so that there are two networks in all."""

    calls = 0

    def __call__(self, genome: search.Genome, rng: random.Random) -> str:
        """Draw one."""
        Toggled.calls += 1
        genome.recipe["learning_rate"] = rng.choice([0.1, 0.2])
        return "another rate"


def test_a_small_space_is_soon_told_to_be_exhausted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("naivegraph.search.study.schedule"), "PATIENCE", 20)
    x, y = examples()
    made = search.Study(
        tmp_path,
        space=search.Evolution(vectors().graph, [Toggled()], population=1, recipe={"learning_rate": 0.1}),
        evaluate=search.Classification(x[:40], y[:40], x[40:], y[40:]),
        objectives={"accuracy": "max"},
        ahead=1,
    )
    made.run(networks=9, engine="serial")
    assert len(made.candidates) == 2
    assert "were all of networks evaluated before" in made.exhausted
    assert Toggled.calls < 60  # not ten for each of twenty proposals


def test_children_that_keep_the_function_start_where_their_parent_ended(tmp_path: Path) -> None:
    made = study(tmp_path)
    x, _ = examples()
    seen = 0
    for child in made.candidates:
        start = made.store.weights_path(child.name, None)
        if not child.lineage.keeps_function or not child.lineage.parents or not start.exists():
            continue
        from naivegraph.search.study.weight_files import read_weights

        first = search.Evolution.graph(child.structure, read_weights(start))(x)
        (parent,) = (c for c in made.candidates if c.name == child.lineage.parents[0])
        paths = [made.store.weights_path(parent.name, rung) for rung in (None, 0, 1)]
        outputs = [search.Evolution.graph(parent.structure, read_weights(p))(x) for p in paths if p.exists()]
        assert any(torch.allclose(first, out, atol=1e-5) for out in outputs)
        seen += 1
    assert seen


def test_epochs_of_ancestors_are_counted(tmp_path: Path) -> None:
    made = study(tmp_path)
    by_name = {c.name: c for c in made.candidates}
    children = [c for c in made.candidates if c.lineage.inherited]
    assert children
    for child in children:
        parent = by_name[child.lineage.parents[0]]
        past = [parent.lineage.inherited + epochs for epochs in (1, 2)]  # it may have gone on since
        assert child.lineage.inherited in past
        assert child.epochs > child.lineage.inherited


def test_without_inheritance_children_start_anew(tmp_path: Path) -> None:
    made = study(tmp_path, inherit=False)
    assert all(c.lineage.inherited == 0 and not c.lineage.keeps_function for c in made.candidates[3:])


def test_a_function_can_make_the_first_networks(tmp_path: Path) -> None:
    def make(seed: int) -> ng.Graph:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 4 + seed), nn.ReLU(), nn.Linear(4 + seed, 3))
        return ng.capture(net, torch.ones(2, 6))

    made = search.Evolution(make, [search.wider()], population=3)
    past = search.History(search.study.Ranking({"accuracy": "max"}))
    import random

    sizes = []
    for number in range(3):
        proposal = made.propose(past, random.Random(number))
        assert proposal is not None
        past.names.add(proposal.name)
        sizes.append(proposal.structure["network"]["tensors"]["0.weight"]["shape"][0])
    assert sizes == [4, 5, 6]


def test_fit_searches_in_one_call(tmp_path: Path) -> None:
    x, y = examples(80)
    quick: Any = {"seconds": None, "engine": "serial", "rungs": (1,)}
    found = search.fit(x.numpy(), y.numpy(), networks=5, folder=tmp_path, **quick)
    assert len(found.candidates) == 5
    assert found.best is not None
    images = search.fit(torch.randn(24, 1, 6, 6), torch.arange(24) % 2, networks=2, **quick)
    assert images.best is not None
    assert images.best.graph(torch.randn(2, 1, 6, 6)).shape == (2, 2)
    numbers = search.fit(x, x[:, :1] * 2, networks=2, **quick)
    assert numbers.ranking.objectives == {"error": "min", "params": "min"}


def test_a_search_begins_from_a_start_beyond_a_limit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    space = search.Evolution(
        ng.capture(net, torch.ones(2, 4)), [search.narrower(), search.wider()], limits={"params": 40}
    )
    study = search.Study(
        tmp_path,
        space=space,
        evaluate=lambda module, rung, seed: {"loss": 1.0},
        objectives={"loss": "min", "params": "min"},
        limits={"params": 40},
    )
    study.run(networks=4, engine="serial")
    assert study.best is not None
    assert 0 < study.best.values["params"] <= 40
    small = search.fit(*examples(80), networks=3, params=40, seconds=None, engine="serial", rungs=(1,))
    assert small.best is not None
    assert small.best.values["params"] <= 40


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: search.Evolution([], [search.wider()]), "start= takes graphs"),
        (lambda: search.Evolution(residual().graph, []), "mutations= takes at least one"),
        (lambda: search.Evolution(nn.Linear(2, 2), [search.wider()]), "start= takes graphs"),
        (lambda: search.Evolution(residual().graph, ["wider"]), "not 'wider'"),  # type: ignore[list-item]
        (lambda: search.Evolution(residual().graph, [search.wider()], select=3), "select= is a selection"),  # type: ignore[arg-type]
        (
            lambda: search.Evolution(residual().graph, [search.wider()], limits={"zz": 3}),
            "there is no cost 'zz'",
        ),
        (
            lambda: search.Evolution(residual().graph, [search.wider()], recipe={"a": {1}}),
            "recipe= holds what",
        ),
        (
            lambda: search.Evolution([residual().graph, vectors().graph], [search.wider()]),
            "the starts differ",
        ),
        (lambda: search.Evolution(residual().graph, [search.wider()], cross=2), "cross= is from 0 to 1"),
        (lambda: search.fit(torch.ones(3, 2, 2), torch.ones(3)), "give rows of a table or images"),
        (lambda: search.fit(torch.eye(5), torch.arange(5) - 2), "classes are whole numbers from 0"),
        (lambda: search.fit(torch.eye(5), torch.arange(5) * 9), "y names class 36, and there are 5 examples"),
        (lambda: search.fit(torch.eye(5) / 0, torch.arange(5)), "holds numbers that are not finite"),
        (lambda: search.fit(torch.eye(5), torch.ones(5)), "all targets are alike"),
        (lambda: search.fit(torch.ones(5, 2), torch.arange(5)), "all inputs are alike"),
        (
            lambda: search.fit(torch.eye(5), np.array(list("abcde"))),
            r"y is of <U1, and is to be real numbers",
        ),
        (lambda: search.fit(None, torch.arange(5)), "x is of object, and is to be real numbers"),
        (lambda: search.fit(torch.eye(5), torch.arange(5), test=0), "test=0 is to be a part of the examples"),
        (
            lambda: search.fit(torch.eye(5), torch.arange(5), start=nn.Linear(5, 3)),
            r"start= gives \(2, 3\) for two inputs, and is to give 5 numbers for each",
        ),
        (
            lambda: search.fit(torch.eye(5), torch.arange(5), start=nn.Linear(5, 5), params=20),
            "start= has 30 parameters, and params=20: prune it before",
        ),
        (
            lambda: search.fit(torch.eye(5), torch.arange(5), params=7),
            "the smallest network has 26 parameters",
        ),
        (
            lambda: search.Regression(torch.eye(2), torch.eye(2) / 0, torch.eye(2), torch.eye(2)),
            "the targets hold numbers that are not finite",
        ),
        (
            lambda: search.Classification(torch.ones(3, 2), torch.ones(2), torch.ones(1, 2), torch.ones(1)),
            "3 inputs with 2 targets",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make()
