"""Every mutation and selection of the package meets its contract, and contracts find the faults of others."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch

import naivegraph as ng
from naivegraph import extend, search

MUTATIONS = {
    "wider": search.wider(),
    "narrower": search.narrower(),
    "deeper": search.deeper(),
    "shallower": search.shallower(),
    "skip": search.skip(),
    "kernel": search.kernel((3, 5), grow_only=True),
    "activation": search.activation(),
    "learning_rate": search.learning_rate(1e-3, 1e-1),
    "batch_size": search.batch_size(8, 16),
    "chain": search.chain(search.wider(), search.deeper()),
    "one_of": search.one_of(search.wider(), search.narrower()),
}
SELECTIONS = {
    "elite": search.elite(5),
    "tournament": search.tournament(3),
    "ageing": search.ageing(20, 3),
    "universal": search.universal(),
    "nsga2": search.nsga2(10),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutations(name: str) -> None:
    ran = extend.run_contract(type("T", (extend.MutationContract,), {"mutation": MUTATIONS[name]}))
    assert len(ran) == 6


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections(name: str) -> None:
    given = {"selection": staticmethod(SELECTIONS[name])}
    assert len(extend.run_contract(type("T", (extend.SelectionContract,), given))) == 3


class _Wrong(extend.Mutation):
    """Widens a layer, with a fault."""

    keeps_function = True

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, genome: extend.Genome, rng: random.Random) -> Any:
        names = [v.name for v in genome.graph if isinstance(v.target, torch.nn.Linear)]
        if self.fault == "own numbers":
            with torch.no_grad():
                next(genome.graph.parameters()).add_(torch.rand(()))
        if self.fault == "function":
            with torch.no_grad():
                next(genome.graph.parameters()).add_(1)
        if self.fault == "nowhere":
            raise ng.EditError("no place")
        ng.resize(genome.graph, {names[0]: +1})
        return 3 if self.fault == "words" else "wider"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("own numbers", "weights differ from run to run"),
        ("function", "outputs differ by"),
        ("nowhere", "no network could be mutated"),
        ("words", "it returns 3, not a few words"),
    ],
)
def test_faults_are_found(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        extend.run_contract(type("T", (extend.MutationContract,), {"mutation": _Wrong(fault)}))


def test_a_selection_of_the_worst_is_found() -> None:
    class Worst(extend.SelectionContract):
        @staticmethod
        def selection(past: extend.History, rng: random.Random) -> extend.Candidate:
            return min(past.allowed, key=lambda each: each.result.values["accuracy"])

    with pytest.raises(AssertionError, match="only 0% of the parents are of the better half"):
        extend.run_contract(Worst)


def test_a_selection_of_copies_is_found() -> None:
    class Copies(extend.SelectionContract):
        @staticmethod
        def selection(past: extend.History, rng: random.Random) -> extend.Candidate:
            return copy.copy(past.allowed[0])

    with pytest.raises(AssertionError, match="which is none of them"):
        Copies().test_draws_come_from_the_history()
