"""Random sequences of all mutations on random graphs; every invariant is checked after each step."""

from __future__ import annotations

import collections
import os
import random
import time
import traceback

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.machine.walk import STEPS, Walk


class Machine(RuleBasedStateMachine):
    """The walk as hypothesis shrinks it."""

    @initialize(seed=st.integers(0, 2**20))
    def begin(self, seed: int) -> None:
        self.walk = Walk(random.Random(seed))

    @rule(kind=st.sampled_from(sorted(set(STEPS) - {"undo"})), seed=st.integers(0, 2**20))
    def step(self, kind: str, seed: int) -> None:
        self.walk.rng.seed(seed)
        self.walk.step(kind)

    @precondition(lambda self: self.walk.done)
    @rule()
    def undo(self) -> None:
        self.walk.step("undo")

    def teardown(self) -> None:
        if hasattr(self, "walk"):
            self.walk.undo_all()


Machine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase


def walked(seed: int, edits: int, tally: collections.Counter[str]) -> str | None:
    """Walk one graph; what failed, if anything."""
    walk: Walk | None = None
    rng = random.Random(seed)
    kind = "build"
    try:
        walk = Walk(rng)
        for _ in range(edits):
            kind = rng.choice(STEPS)
            walk.step(kind)
        kind = "undo all"
        walk.undo_all()
        walk.check()
    except Exception as error:  # whatever goes wrong is counted
        last = traceback.extract_tb(error.__traceback__)[-1]
        about = f"{walk.case.about}, after: {walk.log[-4:]}" if walk is not None else ""
        where = f"{type(error).__name__} {os.path.basename(last.filename)}:{last.lineno}"
        return f"{kind} | {where} | {error} | {about}"
    finally:
        if walk is not None:
            tally.update(walk.tally)
    return None


def long_run(first: int, graphs: int, edits: int, seconds: float = float("inf")) -> dict[int, str]:
    """Walk many graphs; prints figures, and gives the failures by seed."""
    tally: collections.Counter[str] = collections.Counter()
    failures: dict[int, str] = {}
    start, count = time.monotonic(), 0
    for seed in range(first, first + graphs):
        if time.monotonic() - start > seconds:
            break
        count += 1
        failed = walked(seed, edits, tally)
        if failed is not None:
            failures[seed] = failed
    taken = time.monotonic() - start
    print(f"\n{count} graphs x {edits} steps in {taken:.0f} s, {len(failures)} failures")
    print("\n".join(f"{number:7d} {kind}" for kind, number in sorted(tally.items())))
    return failures


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_edits_of_many_graphs() -> None:
    failures = long_run(0, 2000, 15)
    assert not failures, "\n".join(f"seed {seed}: {text}" for seed, text in failures.items())
