"""The budget optimiser on problems of the size and structure of real networks."""

import numpy as np
import pytest

from naivegraph.solvers.budget import optimise
from naivegraph.solvers.budget.bucket_elimination import BucketElimination
from naivegraph.solvers.budget.compact import compact
from naivegraph.solvers.budget.factor_graph import FactorGraph
from naivegraph.solvers.budget.local_search import LocalSearch
from naivegraph.solvers.solution import Outcome
from tests.solvers.budget.networks import NETWORKS, network


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_half_of_all_multiply_accumulates(name: str) -> None:
    problem = network(name, "spread", 0.5)
    answer = optimise(problem, gap=1e-3, time_limit=20)
    (cost, limit) = problem.costs[0]
    assert 0.998 * limit <= cost(answer.k) <= limit
    assert answer.outcome is Outcome.OPTIMAL
    assert answer.certificate.gap <= 1e-3


@pytest.mark.parametrize("name", ["resnet56", "vgg16", "densenet121", "mobilenet"])
def test_two_budgets_and_flat_worth(name: str) -> None:
    problem = network(name, "flat", 0.3, params=0.3)
    answer = optimise(problem, gap=2e-3, time_limit=20)
    assert all(cost(answer.k) <= limit for cost, limit in problem.costs)
    assert answer.certificate.gap <= 2e-3


@pytest.mark.parametrize("name", ["resnet50", "vit"])
def test_steps_of_eight(name: str) -> None:
    problem = network(name, "decay", 0.4, step=8)
    answer = optimise(problem, gap=2e-3, time_limit=20)
    assert np.all((answer.k % 8 == 0) | (problem.upper < 8))
    assert answer.certificate.gap <= 2e-3


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_priced_maximum_is_above_every_point_and_met_by_its_own(name: str) -> None:
    """Whatever the prices: no point is worth more, and with single values the maximum is a point's worth."""
    c = compact(network(name, "decay", 0.4))
    rng = np.random.default_rng(1)
    search = LocalSearch(c)
    middle = search.climb(c.count - 1)
    low = np.maximum(0, middle - 8)
    high = np.minimum(c.count - 1, middle + 8)
    grid = BucketElimination(FactorGraph(c), low, high, [middle])
    prices = search.prices * rng.uniform(0.7, 1.4)

    def priced(x: np.typing.NDArray[np.int64]) -> float:
        return c.value(x) + float(prices @ (c.limits - c.costs(c.size(x))))

    found = grid.maximise(prices)
    for _ in range(200):
        assert priced(rng.integers(low, high + 1)) <= found.value
    if all(runs.exact for runs in grid.runs):
        assert priced(found.first) == pytest.approx(found.value, rel=1e-9)
    for v in range(len(c.count)):  # no neighbour is better: the way back through the steps is right
        for change in (-1, 1):
            x = found.first.copy()
            x[v] = np.clip(x[v] + change, low[v], high[v])
            assert priced(x) <= found.value


def test_bound_is_above_what_many_starts_find() -> None:
    problem = network("mobilenet", "flat", 0.2)
    answer = optimise(problem, gap=1e-3)
    c = compact(problem)
    rng = np.random.default_rng(0)
    for _ in range(5):
        search = LocalSearch(c)
        found = search.finish(search.climb(rng.integers(0, c.count)))
        assert found is not None
        assert c.value(found) <= answer.certificate.bound
