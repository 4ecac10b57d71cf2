"""Conjugates against the maximum over all points, written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from naivegraph.solvers.budget.elimination_tables import conjugate

NUMBERS = st.one_of(st.integers(-9, 9).map(float), st.floats(-1e3, 1e3), st.just(-np.inf))


@given(
    points=st.lists(st.tuples(st.integers(0, 40), NUMBERS), min_size=1, max_size=60),
    slopes=st.lists(st.floats(-50, 50), min_size=1, max_size=9),
)
def test_the_conjugate_is_the_highest_of_all_points(
    points: list[tuple[int, float]], slopes: list[float]
) -> None:
    low, best = np.array(sorted(points, key=lambda point: point[0]), dtype=float).T
    slope = np.array(slopes)
    expected = (best[:, None] - low[:, None] * slope).max(axis=0)
    np.testing.assert_allclose(conjugate(low, best, slope), expected, rtol=1e-12, atol=1e-9)


def test_a_long_run_below_its_hull_is_left_out_point_by_point() -> None:
    low = np.arange(600.0)
    best = (low - 300) ** 2  # convex: only the two ends are corners, and one round finds few of the others
    best[::50] += 1e4 * np.sin(low[::50])
    slope = np.linspace(-700, 700, 41)
    expected = (best[:, None] - low[:, None] * slope).max(axis=0)
    np.testing.assert_allclose(conjugate(low, best, slope), expected, rtol=1e-12)
