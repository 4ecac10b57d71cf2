"""A space of numbers for tests of studies; torch is not imported, so that processes start at once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from naivegraph.search.study import History, Proposal, Rung


class Numbers:
    """Structures that are a number below a bound; some are children of the best so far."""

    def __init__(self, bound: int = 1_000_000) -> None:
        self.bound = bound
        self.fingerprint = f"numbers below {bound}"

    def propose(self, history: History, rng: random.Random) -> Proposal:
        """A number near the best one, or any."""
        best = history.best
        if best is None or rng.random() < 0.3:
            return Proposal({"number": rng.randrange(self.bound)}, mutation="any")
        near = (best.structure["number"] + rng.choice((-40, -9, -2, -1, 1, 3, 8, 50))) % self.bound
        return Proposal({"number": near}, parents=(best.name,), mutation="near")


def loss(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
    """Measure a number: it shall be near 1000, and have a small last digit."""
    number = structure["number"]
    return {"loss": abs(number - 1000) + 1 / rung.end, "digit": number % 10}
