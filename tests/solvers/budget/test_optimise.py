"""The budget optimiser against exhaustive search, and at the edges of its domain."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest

from naivegraph.solvers.budget import (
    BudgetError,
    BudgetProblem,
    BudgetSolution,
    Certificate,
    CostFunction,
    LinearSum,
    Row,
    Term,
    optimise,
    smallest,
)
from naivegraph.solvers.budget.compact import compact
from naivegraph.solvers.budget.message_bound import MessageBound
from naivegraph.solvers.budget.problem import Floats, Ints
from naivegraph.solvers.budget.row_search import RowSearch
from naivegraph.solvers.budget.tangent_bound import TangentBound
from naivegraph.solvers.solution import Outcome, Solution
from naivegraph.solvers.solve import solve


def domain(problem: BudgetProblem, w: int) -> list[int]:
    low, high, step = int(problem.lower[w]), int(problem.upper[w]), int(problem.steps[w])
    return [high] if high < step else [v for v in range(low, high + 1) if v % step == 0]


def exhaustive(problem: BudgetProblem) -> float:
    """Return the best value by trying everything; minus infinity if nothing fits."""
    grid = np.array(list(itertools.product(*(domain(problem, w) for w in range(len(problem.names))))))
    good = np.ones(len(grid), dtype=bool)
    for row in problem.rows:
        s = grid[:, row.indices] @ row.coefficients
        good &= (s >= row.lower - 1e-9) & (s <= row.upper + 1e-9)
    for cost, limit in problem.costs:
        total = np.zeros(len(grid))
        for term in cost.terms:
            product = np.full(len(grid), term.coefficient)
            for f in term.factors:
                product = product * (f.constant + grid[:, f.indices] @ f.coefficients)
            total += product
        good &= total <= limit
    worth = sum(problem.values[w][grid[:, w]] for w in range(len(problem.names)))
    return float(np.max(np.asarray(worth)[good], initial=-math.inf))


def random_values(rng: np.random.Generator, n: int) -> Floats:
    worth = [
        rng.lognormal(size=n),
        rng.normal(0.5, 1, size=n),
        np.round(rng.random(n) * 3),
        1 + 0.01 * rng.random(n),
    ]
    return np.concatenate([[0.0], np.cumsum(np.sort(worth[int(rng.integers(4))])[::-1])])


def random_form(rng: np.random.Generator, n: int) -> LinearSum:
    parts = rng.choice(n, min(n, int(rng.choice([1, 1, 1, 2, 3, 4]))), replace=False)
    constant = float(rng.integers(0, 3)) if rng.random() < 0.4 else 0.0
    return LinearSum.of(constant, {int(i): float(rng.choice([1, 1, 1, 2, 0.5])) for i in parts})


def random_rows(rng: np.random.Generator, n: int) -> list[Row]:
    i, j, k = (int(v) for v in rng.permutation(max(n, 3))[:3])
    rows = [
        Row.of("equal", {i: 1, j: -1}, 0, 0),
        Row.of("sum", {i: 1, j: 1, k: -1}, 0, 0),
        Row.of("between", {i: 1, j: 1}, 3, float(rng.integers(6, 15))),
        Row.of("wide", {v: float(rng.choice([1, 2, -1])) for v in range(n)}, -2, 12),
        Row.of("double", {i: 2, j: -4}, 0, 0),
        Row.of("tied", {i: 2, j: -3}, 1, 1),
        Row.of("more", {k: 1, j: -1}, 1, 1),
    ]
    chosen = [rows[int(v)] for v in rng.choice(len(rows), int(rng.integers(1, 3)), replace=False)]
    return [row for row in chosen if row.indices.max() < n]


def random_problem(seed: int, with_rows: bool) -> BudgetProblem:
    """Return a small problem with steps, repeated factors, sums, constants and up to two budgets."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    top = rng.integers(2, {2: 24, 3: 14, 4: 9, 5: 7}[n], size=n)
    costs: list[tuple[CostFunction, float]] = []
    for b in range(int(rng.integers(1, 3))):
        terms = []
        for _ in range(int(rng.integers(1, 5))):
            factors = [random_form(rng, n) for _ in range(int(rng.integers(1, 4)))]
            if rng.random() < 0.2:
                factors.append(factors[0])
            terms.append(Term.of(float(rng.integers(1, 5)), *factors))
        cost = CostFunction(f"cost{b}", tuple(terms))
        costs.append((cost, math.floor(cost(top) * rng.uniform(0.1, 0.9))))
    return BudgetProblem.of(
        [random_values(rng, int(t)) for t in top],
        costs,
        lower=np.minimum(rng.integers(0, 3, size=n), top),
        steps=rng.choice([1, 1, 1, 2, 3], size=n),
        rows=random_rows(rng, n) if with_rows else (),
    )


def check(problem: BudgetProblem, answer: BudgetSolution) -> None:
    """Check everything an answer must meet whatever it is worth."""
    for cost, limit in problem.costs:
        assert cost(answer.k) <= limit
    for row in problem.rows:
        s = float(row.coefficients @ answer.k[row.indices])
        assert row.lower - 1e-9 <= s <= row.upper + 1e-9
    for w in range(len(problem.names)):
        assert int(answer.k[w]) in domain(problem, w)
    assert answer.certificate.value == pytest.approx(problem.value(answer.k))
    assert answer.certificate.bound >= answer.certificate.value


def nothing_more_fits(problem: BudgetProblem, k: Ints) -> bool:
    """Tell whether no size can take one more step that is worth something."""
    for w in range(len(k)):
        larger = k.copy()
        larger[w] += problem.steps[w]
        gains = larger[w] <= problem.upper[w] and problem.value(larger) > problem.value(k)
        if gains and all(cost(larger) <= limit for cost, limit in problem.costs):
            return False
    return True


@pytest.mark.parametrize("gap", [0.0, 1e-2])
@pytest.mark.parametrize("with_rows", [False, True])
def test_random_problems_against_exhaustive_search(with_rows: bool, gap: float) -> None:
    solved = 0
    for seed in range(18):
        problem = random_problem(seed, with_rows)
        best = exhaustive(problem)
        if best == -math.inf:
            with pytest.raises(BudgetError):
                optimise(problem, gap=gap)
            continue
        answer = optimise(problem, gap=gap)
        check(problem, answer)
        solved += 1
        room = 1e-8 * max(1.0, abs(best))
        assert answer.certificate.bound >= best - room, f"seed {seed}: the bound is below the optimum"
        assert answer.certificate.value >= best - gap * abs(best) - room, f"seed {seed}"
        assert answer.outcome is Outcome.OPTIMAL, f"seed {seed}"
        assert with_rows or nothing_more_fits(problem, answer.k), f"seed {seed}"
    assert solved > 6


@pytest.mark.parametrize("seed", range(12))
def test_without_budgets_rows_alone_are_met_at_best(seed: int) -> None:
    problem = dataclasses.replace(random_problem(seed, True), costs=[])
    best = exhaustive(problem)
    if best == -math.inf:
        with pytest.raises(BudgetError, match=r"no sizes meet|no value is allowed"):
            optimise(problem)
        return
    answer = optimise(problem, gap=0.0)
    assert answer.certificate.value == pytest.approx(best)
    assert answer.certificate.bound == pytest.approx(best)


def test_bound_holds_when_time_is_over_at_once() -> None:
    for seed in range(12):
        problem = random_problem(seed, with_rows=False)
        best = exhaustive(problem)
        if best > -math.inf:
            answer = optimise(problem, gap=0.0, time_limit=0.0)
            check(problem, answer)
            assert answer.certificate.bound >= best - 1e-8
            assert (answer.outcome is Outcome.OPTIMAL) == (answer.certificate.gap <= 1e-9)


def test_programs_on_the_way_take_a_part_of_the_gap_and_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that HiGHS cannot finish would take the whole limit of time otherwise, or go on for ever."""
    given: list[tuple[float, float]] = []

    def noted(*args: Any, gap: float = 0.0, time_limit: float = math.inf, **more: Any) -> Solution:
        given.append((gap, time_limit))
        return solve(*args, gap=gap, time_limit=time_limit, **more)

    monkeypatch.setattr("naivegraph.solvers.budget.row_search.solve", noted)
    for seed in range(20):
        problem = random_problem(seed, with_rows=True)
        if exhaustive(problem) > -math.inf:
            c = compact(problem)
            RowSearch(c, "highs", 1e-2, lambda: 40.0).climb(c.count - 1)
    assert given
    assert all(gap < 1e-2 and seconds <= 10.0 for gap, seconds in given)


def test_tangents_bound_every_point_of_a_box() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        problem = random_problem(seed, with_rows=False)
        problem.lower = np.maximum(problem.lower, 1)  # a logarithm of nothing says nothing
        c = compact(problem)
        low = rng.integers(0, c.count)
        high = rng.integers(low, c.count)
        prices = rng.random(len(c.limits)) * c.gain.max() / c.limits.clip(1)
        cutoff = c.value(low)
        found = TangentBound(c).bound(rng.integers(low, high + 1), prices, low, high, cutoff)
        for x in itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))):
            at = np.array(x)
            if c.fits(c.size(at)):
                inside = bool(np.all((at >= found.low) & (at <= found.high)))
                assert c.value(at) <= found.value
                assert inside or c.value(at) <= max(cutoff, found.aside)


def test_messages_bound_every_point_of_a_box_and_rule_out_none_that_is_better() -> None:
    tried = 0
    for seed in range(400):
        c = compact(random_problem(seed, with_rows=False))
        messages = MessageBound(c)
        if not messages.possible:
            continue
        tried += 1
        rng = np.random.default_rng(seed)
        low = rng.integers(0, c.count)
        high = rng.integers(low, c.count)
        grid = np.array(list(itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True)))))
        fitting = grid[[c.fits(c.size(x)) for x in grid]]
        worth = np.array([c.value(x) for x in fitting])
        scale = abs(float(c.gain.max())) / np.maximum(np.abs(c.limits), 1.0)
        for _ in range(2):  # the second time shares begin where they ended
            prices, near = rng.random(len(c.limits)) * scale, float(np.median(worth)) if len(worth) else 0.0
            found = messages.bound(prices, low, high, rng.integers(low, high + 1), near, near)
            assert np.all(worth <= found.value)
            outside = np.any((fitting < found.low) | (fitting > found.high), axis=1)
            assert np.all(worth[outside] <= max(near, found.aside))
    assert tried >= 25


def test_messages_need_products_of_at_most_three_different_sizes() -> None:
    flat = [np.arange(4.0)] * 4
    for factors, possible in (((0, 1, 2), True), ((0, 1, 2, 3), False), ((0, 0), False)):
        cost = CostFunction("cost", (Term.of(2, *factors),))
        assert MessageBound(compact(BudgetProblem.of(flat, [(cost, 5)]))).possible is possible


def test_longer_chain_against_exhaustive_search() -> None:
    rng = np.random.default_rng(5)
    for flat in (False, True):
        worth = [1 + 0.2 * rng.random(40) if flat else rng.lognormal(size=40) for _ in range(3)]
        values = [np.concatenate([[0.0], np.cumsum(np.sort(u)[::-1])]) for u in worth]
        cost = CostFunction("macs", (Term.of(27, 0), Term.of(9, 0, 1), Term.of(9, 1, 2), Term.of(10, 2)))
        problem = BudgetProblem.of(values, [(cost, 9000)])
        answer = optimise(problem, gap=0.0)
        assert answer.certificate.value == pytest.approx(exhaustive(problem))


def simple(limit: float, **more: object) -> BudgetProblem:
    """Two sizes of up to 4 whose product times 10 is the cost."""
    values = [np.array([0.0, 4, 7, 9, 10]), np.array([0.0, 5, 8, 9, 9.5])]
    cost = CostFunction("macs", (Term.of(10, 0, 1),))
    return BudgetProblem.of(values, [(cost, limit)], names=["conv1", "conv2"], **more)  # type: ignore[arg-type]


def test_no_budget_keeps_everything_worth_keeping() -> None:
    values = [np.array([0.0, 2, 3, 2.5]), np.array([0.0, 1, 1, 1])]
    answer = optimise(BudgetProblem.of(values))
    assert answer.k.tolist() == [2, 3]  # what is worth nothing stays, what is worth less goes
    assert answer.certificate == Certificate(4.0, 4.0)


def test_no_budget_with_rows() -> None:
    values = [np.array([0.0, 3, 5, 6]), np.array([0.0, 2, 3, 3.5]), np.arange(7.0)]
    problem = BudgetProblem.of(
        values, rows=[Row.of("stack", {0: 1, 1: 1, 2: -1}, 0, 0), Row.of("few", {0: 2, 2: 1}, 0, 9)]
    )
    answer = optimise(problem, gap=0.0)
    assert answer.certificate.value == pytest.approx(exhaustive(problem))
    assert answer.k[0] + answer.k[1] == answer.k[2]


def test_limit_above_the_full_cost_changes_nothing() -> None:
    answer = optimise(simple(160))
    assert answer.k.tolist() == [4, 4]
    assert answer.certificate.gap == 0.0


def test_limit_is_met_to_the_last_unit() -> None:
    assert optimise(simple(90), gap=0.0).certificate.value == 18.0  # [3, 3] uses all of it
    problem = simple(79)
    answer = optimise(problem, gap=0.0)
    assert answer.certificate.value == exhaustive(problem)
    assert answer.certificate.value < 18.0


def test_worth_nothing_is_still_an_answer() -> None:
    problem = BudgetProblem.of([np.zeros(9), np.zeros(9)], [(CostFunction("macs", (Term.of(1, 0, 1),)), 20)])
    answer = optimise(problem)
    assert answer.certificate == Certificate(0.0, 0.0)
    assert 1 <= answer.k[0] * answer.k[1] <= 20


def test_equal_bounds_leave_no_choice() -> None:
    answer = optimise(simple(100, lower=[2, 3], upper=[2, 3]))
    assert answer.k.tolist() == [2, 3]
    assert answer.certificate.gap == 0.0


def test_step_above_the_upper_bound_keeps_the_upper_bound() -> None:
    answer = optimise(simple(90, steps=[8, 2]))
    assert answer.k.tolist() == [4, 2]


def test_merged_sizes_add_their_worth() -> None:
    row = Row.of("residual", {0: 1, 1: -1}, 0, 0)
    answer = optimise(simple(100, rows=[row]), gap=0.0)
    assert answer.k.tolist() == [3, 3]
    assert answer.certificate.value == 18.0


def test_more_budget_is_never_worth_less() -> None:
    worth = [optimise(simple(limit), gap=0.0).certificate.value for limit in range(10, 161, 10)]
    assert worth == sorted(worth)


def test_impossible_budget_names_the_smallest_cost() -> None:
    with pytest.raises(
        BudgetError, match=r"macs at most 50 \(impossible\); the smallest that can be reached is 60"
    ) as e:
        optimise(simple(50, lower=[2, 3]))
    assert e.value.smallest == {"macs": 60.0}


def test_impossible_rows_are_named() -> None:
    with pytest.raises(BudgetError, match="no sizes meet the rows much together with"):
        optimise(simple(160, rows=[Row.of("much", {0: 1, 1: 1}, 9)]))
    with pytest.raises(BudgetError, match="row one leaves no value for conv1"):
        optimise(simple(160, rows=[Row.of("one", {0: 1}, 9)]))


def test_steps_and_bounds_that_exclude_each_other() -> None:
    with pytest.raises(BudgetError, match="no value is allowed for conv1"):
        optimise(simple(160, lower=[3, 1], upper=[3, 4], steps=[2, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower": [5, 1]}, "conv1: bounds 5 to 4"),
        ({"steps": [0, 1]}, "conv1: step 0 is below 1"),
        ({"names": ["conv1"]}, "values has 2 entries for 1 names"),
        ({"rows": [Row.of("r", {7: 1})]}, "r: indices"),
        ({"costs": [(CostFunction("c", (Term.of(-1, 0),)), 3)]}, "c: coefficient -1.0 is negative"),
        (
            {"costs": [(CostFunction("c", (Term.of(1, LinearSum.of(-1)),)), 3)]},
            "c: a factor has a negative number",
        ),
        ({"costs": [(CostFunction("c", ()), math.inf)]}, "c: the limit inf is not finite"),
    ],
)
def test_malformed_problems_are_refused(change: dict[str, object], message: str) -> None:
    problem = simple(90)
    for name, value in change.items():
        setattr(problem, name, np.array(value) if name in ("lower", "steps") else value)
    with pytest.raises(ValueError, match=message):
        optimise(problem)


def test_smallest_follows_rows() -> None:
    rows = [Row.of("stack", {0: 1, 1: -1}, 1)]
    assert smallest(simple(160, rows=rows)).tolist() == [2, 1]
    assert smallest(simple(160), "macs").tolist() == [1, 1]
    with pytest.raises(ValueError, match="no cost is named latency; there are macs"):
        smallest(simple(160), "latency")


def test_costs_are_exact_beyond_what_a_float_holds() -> None:
    k = np.array([94906267, 94906267])
    assert CostFunction("c", (Term.of(1, 0, 1),))(k) == 94906267**2
    assert CostFunction("c", (Term.of(0.5, 0),))(np.array([3])) == 1.5


def test_progress_is_told() -> None:
    lines: list[str] = []
    optimise(simple(90), progress=lines.append)
    assert lines[0].startswith("first answer: value")


def blocks(seed: int, count: int, top: int) -> tuple[BudgetProblem, list[list[tuple[int, float]]]]:
    """Return blocks of two layers that share the budget alone, and the choices of each: cost and worth."""
    rng = np.random.default_rng(seed)
    values = [random_values(rng, top) for _ in range(2 * count)]
    scale = rng.integers(1, 10, size=(count, 3))
    cost = CostFunction(
        "cost",
        tuple(
            term
            for b, (both, one, two) in enumerate(scale.tolist())
            for term in (Term.of(both, 2 * b, 2 * b + 1), Term.of(one, 2 * b), Term.of(two, 2 * b + 1))
        ),
    )
    choices = [
        [
            (both * i * j + one * i + two * j, float(values[2 * b][i] + values[2 * b + 1][j]))
            for i in range(1, top + 1)
            for j in range(1, top + 1)
        ]
        for b, (both, one, two) in enumerate(scale.tolist())
    ]
    limit = math.floor(0.37 * cost(np.full(2 * count, top)))
    return BudgetProblem.of(values, [(cost, limit)], lower=[1] * (2 * count)), choices


def knapsack(choices: list[list[tuple[int, float]]], limit: int) -> float:
    """Return the most worth of one choice from each block within a limit, by dynamic programming."""
    best = np.zeros(limit + 1)
    for block in choices:
        following = np.full(limit + 1, -math.inf)
        for cost, worth in block:
            if cost <= limit:
                following[cost:] = np.maximum(following[cost:], best[: limit + 1 - cost] + worth)
        best = following
    return float(best[-1])


@pytest.mark.parametrize("gap", [0.0, 1e-3])
@pytest.mark.parametrize("seed", range(6))
def test_small_blocks_are_settled_by_labels_as_by_dynamic_programming(seed: int, gap: float) -> None:
    problem, choices = blocks(seed, count=4, top=7)
    expected = knapsack(choices, int(problem.costs[0][1]))
    answer = optimise(problem, gap=gap)
    check(problem, answer)
    assert answer.outcome is Outcome.OPTIMAL
    assert answer.certificate.value >= expected * (1 - gap) - 1e-9
    assert answer.certificate.bound >= expected - 1e-9 * abs(expected)


def test_tied_sizes_become_one_variable() -> None:
    rows = [Row.of("heads", {0: 1, 1: -4}, 0, 0), Row.of("sum", {2: 1, 0: -1, 1: -1}, 2, 2)]
    problem = BudgetProblem.of([[*range(13)], [*range(4)], [*range(30)]], lower=[1, 1, 1], rows=rows)
    c = compact(problem)
    assert len(c.count) == 1
    assert [c.lift(np.array([x])).tolist() for x in range(3)] == [[4, 1, 7], [8, 2, 12], [12, 3, 17]]


def test_tied_sizes_without_a_common_value_are_refused() -> None:
    problem = BudgetProblem.of([[0, 1, 2]] * 2, lower=[1, 2], rows=[Row.of("twice", {0: 1, 1: -2}, 0, 0)])
    with pytest.raises(BudgetError, match=r"no value is allowed for .*tied to"):
        optimise(problem)
