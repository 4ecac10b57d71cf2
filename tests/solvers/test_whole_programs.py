"""Programs of whole numbers that floating point cannot tell apart, against trying everything."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from naivegraph.solvers import Outcome, Program, solve

Row = tuple[list[int], int | None, int | None]


def rows_that_just_hold_or_not(random: np.random.Generator, bounds: list[tuple[int, int]]) -> Iterator[Row]:
    """Rows through a point of the box, one more or one less."""
    size = 10 ** int(random.integers(9, 14))
    for _ in range(int(random.integers(1, 4))):
        weights = [int(w) for w in random.integers(-size // 4, size, len(bounds))]
        point = [int(random.integers(low, high + 1)) for low, high in bounds]
        total = sum(w * x for w, x in zip(weights, point, strict=True)) + int(random.integers(-1, 2))
        kind = random.integers(0, 4)
        yield weights, None if kind < 2 else total, None if kind == 2 else total


def best_of_all(bounds: list[tuple[int, int]], rows: list[Row], gains: list[float]) -> float | None:
    """The objective of the best answer in exact integers; None if there is none."""
    found = [
        sum(gain * x for gain, x in zip(gains, point, strict=True))
        for point in itertools.product(*(range(low, high + 1) for low, high in bounds))
        if all(
            (low is None or total >= low) and (high is None or total <= high)
            for weights, low, high in rows
            for total in [sum(w * x for w, x in zip(weights, point, strict=True))]
        )
    ]
    return max(found, default=None)


@pytest.mark.parametrize(("backend", "seeds"), [("highs", range(150)), ("pulp:CBC", range(25))])
def test_columns_anywhere_in_their_range(backend: str, seeds: range) -> None:
    for seed in seeds:
        random = np.random.default_rng(seed)
        lows = [int(low) for low in random.integers(-2, 2, 3)]
        bounds = [(low, low + int(random.integers(1, 5))) for low in lows]
        rows = list(rows_that_just_hold_or_not(random, bounds))
        gains = [float(gain) for gain in random.integers(-3, 9, 3)]
        program = Program()
        columns = [program.column(f"x{i}", *each, objective=gains[i]) for i, each in enumerate(bounds)]
        for i, (weights, low, high) in enumerate(rows):
            program.row(
                f"r{i}", columns, weights,
                lower=-np.inf if low is None else low, upper=np.inf if high is None else high,
            )  # fmt: skip
        best, found = best_of_all(bounds, rows, gains), solve(program, backend=backend)
        if best is None:
            assert found.outcome is Outcome.INFEASIBLE, (seed, found)
        else:
            assert found.outcome is Outcome.OPTIMAL, (seed, found)
            assert found.objective == found.bound == best, seed


def test_concave_terms_beside_a_row_that_only_integers_tell() -> None:
    a = 5 * 10**11
    program = Program()
    x, y = program.column("x", 0, 6), program.column("y", 0, 6, objective=1.5)
    program.concave("worth of x", x, [0.0, 4.0, 7.0, 9.0, 10.0, 10.5, 10.75])
    program.row("budget", [x, y], [a + 1, a], upper=6 * a + 2)
    found = solve(program)
    worths = [0.0, 4.0, 7.0, 9.0, 10.0, 10.5, 10.75]
    best = max(worths[i] + 1.5 * j for i in range(7) for j in range(7) if i * (a + 1) + j * a <= 6 * a + 2)
    assert found.outcome is Outcome.OPTIMAL
    assert found.objective == pytest.approx(best, rel=1e-12)


def test_the_time_limit_holds_while_boxes_are_split() -> None:
    weights = 10**13 + np.random.default_rng(0).integers(0, 10**6, 8)
    program = Program()
    columns = program.columns([f"x{i}" for i in range(8)], 0, 3, objective=1.0)
    total = float(8 * 10**13 + 10**6 + 1)
    program.row("exactly", list(columns), weights.astype(float), lower=total, upper=total)
    found = solve(program, time_limit=0.5)
    assert not found
    assert found.outcome is not Outcome.UNBOUNDED
    assert found.seconds < 2.0
