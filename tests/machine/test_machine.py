"""Random sequences of all steps on random graphs; every check is made after each of them."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.machine.cases import FREE, table_case
from tests.machine.run_walks import run_walks
from tests.machine.steps import STEPS, take
from tests.machine.walk import Walk
from tests.operators.table import Entry

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:LSTM with proj")


class Machine(RuleBasedStateMachine):
    """The walk as hypothesis shrinks it."""

    @initialize(seed=st.integers(0, 2**20))
    def begin(self, seed: int) -> None:
        self.walk = Walk(random.Random(seed))

    @rule(kind=st.sampled_from(sorted(set(STEPS) - {"undo"})), seed=st.integers(0, 2**20))
    def step(self, kind: str, seed: int) -> None:
        self.walk.rng.seed(seed)
        take(self.walk, kind)

    @precondition(lambda self: self.walk.done)
    @rule()
    def undo(self) -> None:
        take(self.walk, "undo")

    def teardown(self) -> None:
        if hasattr(self, "walk"):
            self.walk.undo_all()


Machine.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("row", FREE, ids=str)
def test_every_layer_grows_and_shrinks(row: Entry) -> None:
    """With memory that has no value at NaN; growth keeps the function."""
    for seed in range(4):
        rng = random.Random(seed)
        walk = Walk(rng, table_case(rng, row))
        for kind in ("resize", "train", "resize", "utility", "resize", "undo keeping", "resize", "save"):
            take(walk, kind)
        walk.undo_all()
        walk.check()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_walks() -> None:
    failures = run_walks(0, 2000, 15)
    assert not failures, "\n".join(f"seed {seed}: {text}" for seed, text in failures.items())
