from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from naivegraph.solvers import (
    Answer,
    Backend,
    HighsBackend,
    Limits,
    Outcome,
    Program,
    backends,
    register_backend,
    solve,
)
from naivegraph.solvers.arrays import Arrays, FloatArray
from naivegraph.solvers.backend_contract import BackendContract


class TestHighs(BackendContract):
    backend = "highs"
    cases = 400


class TestPulp(BackendContract):
    backend = "pulp"
    cases = 25


def test_the_two_backends_agree_on_programs_too_large_to_count_out() -> None:
    rng = np.random.default_rng(7)
    for _ in range(4):
        program = Program()
        program.columns([f"x{i}" for i in range(12)], 0, 20, objective=rng.normal(0, 0.2, 12))
        for i in range(4):
            program.row(f"r{i}", range(12), rng.integers(0, 4, 12), upper=int(rng.integers(30, 90)))
        for i in range(12):
            gains = -np.sort(-rng.lognormal(0, 1, 20))
            program.concave(f"f{i}", i, np.concatenate([[0.0], np.cumsum(gains)]))
        ours, theirs = solve(program), solve(program, backend="pulp")
        assert ours.outcome is theirs.outcome is Outcome.OPTIMAL
        assert ours.objective == pytest.approx(theirs.objective, rel=1e-9)


def test_pulp_claims_no_bound_beyond_what_optimal_within_the_gap_proves() -> None:
    program = Program()
    x = program.column("x", 0, 10, objective=1.0)
    program.row("r", [x], [2.0], upper=9)
    assert solve(program, backend="pulp").bound == 4.0
    # Within a gap of a half, 8 could still be possible, for all that PuLP tells.
    assert solve(program, backend="pulp", gap=0.5).bound in (4.0, 8.0)


def test_names_lists_pulps_solvers_one_by_one() -> None:
    assert {"highs", "pulp", "pulp:CBC"} <= set(backends())
    assert all(isinstance(found, Backend) for found in backends().values())


def test_unknown_backend_lists_those_there_are() -> None:
    program = Program()
    program.column("x", 0, 1)
    for name in ("simplex", "pulp:NOSUCH", "highs:fast"):
        with pytest.raises(ValueError, match=f"no solver '{name}' can be used here; there are: highs, pulp"):
            solve(program, backend=name)


class _Stubborn(Backend):
    """Says optimal, whatever it is asked, with the same values."""

    name = "stubborn"

    def __init__(self, values: list[float]) -> None:
        self.values = np.array(values)

    @classmethod
    def available(cls) -> bool:
        return False

    def solve_arrays(self, arrays: Arrays, limits: Limits, start: FloatArray | None = None) -> Answer:
        return Answer(Outcome.OPTIMAL, self.values.copy(), float(arrays.cost @ self.values))


def test_an_answer_that_violates_a_row_once_rounded_is_an_error() -> None:
    program = Program()
    columns = program.columns(["a", "b"], 0, 5, objective=1.0)
    program.row("room", columns, [1.0, 1.0], upper=6)
    solution = solve(program, backend=_Stubborn([3.4, 2.6]))
    assert solution.outcome is Outcome.OPTIMAL
    assert solution.values is not None
    assert solution.values.tolist() == [3.0, 3.0]
    solution = solve(program, backend=_Stubborn([3.5000001, 2.6]))
    assert solution.outcome is Outcome.ERROR
    assert solution.values is None
    assert solution.detail == "row 'room' is violated once the integers are whole"
    assert solve(program, backend=_Stubborn([7.0, -1.0])).detail == "column 'a' leaves its bounds"


def test_registering_a_second_class_under_a_name_is_refused() -> None:
    class Impostor(_Stubborn):
        name: ClassVar[str] = "highs"

    with pytest.raises(ValueError, match="there is a backend 'highs' already; replace=True takes this one"):
        register_backend(Impostor)
    assert register_backend(HighsBackend) is HighsBackend


def test_what_is_no_backend_is_not_registered() -> None:
    before = backends()
    wrong: Any
    for wrong in (_Stubborn([]), dict, "highs", None):
        with pytest.raises(TypeError, match=r"register_backend takes a subclass of .*, not an instance"):
            register_backend(wrong)

    class Nameless(_Stubborn):
        name: ClassVar[str] = ""

    with pytest.raises(TypeError, match="Nameless does not say its name"):
        register_backend(Nameless)

    class Variant(_Stubborn):
        name: ClassVar[str] = "mine:fast"

    with pytest.raises(ValueError, match=r"'mine:fast' cannot be the name of a backend: .* variants"):
        register_backend(Variant)
    assert backends().keys() == before.keys()


def test_variants_of_a_backend_which_is_not_available_are_none() -> None:
    found: Mapping[str, Backend] = _Stubborn.variants()
    assert found == {}


def test_cbc_that_calls_a_bounded_program_infeasible_is_not_told_as_unbounded() -> None:
    # CBC finds an answer where nothing is to be maximised, for the row is met but for its tolerance.
    program = Program()
    x, y = program.column("x", 0, 3, objective=0.1), program.column("y", 0, 3, objective=0.2)
    a = 10**12
    program.row("never", [x, y], [2 * a, 2 * a], lower=3 * a, upper=3 * a + 1)
    assert solve(program, backend="pulp:CBC").outcome is Outcome.INFEASIBLE
