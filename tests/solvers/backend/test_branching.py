"""A solver of somebody else's, registered from outside and found by its name."""

import pytest

from naivegraph.solvers import Outcome, Program, backends, solve
from naivegraph.solvers.backend_contract import BackendContract
from tests.solvers.backend.branching import BranchingBackend


class TestBranching(BackendContract):
    backend = "branching"


def test_it_is_listed_and_named_in_solve() -> None:
    assert isinstance(backends()["branching"], BranchingBackend)
    program = Program()
    x, y = program.columns(["x", "y"], 0, 4, objective=[2.0, 3.0])
    program.row("room", [x, y], [2.0, 2.0], upper=9)
    solution = solve(program, backend="branching")
    assert (solution.outcome, solution.objective, solution["y"]) == (Outcome.OPTIMAL, 12.0, 4.0)
    with pytest.raises(ValueError, match=r"no solver 'branched' can be used here; there are: .*branching"):
        solve(program, backend="branched")
