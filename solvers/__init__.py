"""Mixed-integer programs as named arrays, and the backends that solve them."""

if __name__ != "naivegraph.solvers":
    raise ImportError("import this package as 'naivegraph.solvers', not as 'solvers'")

from naivegraph.solvers.backend import Answer, Backend, Limits, Session, backends, register_backend
from naivegraph.solvers.backend.highs import HighsBackend
from naivegraph.solvers.backend.pulp import PulpBackend
from naivegraph.solvers.infeasible import irreducible_infeasible_set
from naivegraph.solvers.program import Program
from naivegraph.solvers.solution import Outcome, Solution
from naivegraph.solvers.solve import solve

__all__ = [
    "Answer",
    "Backend",
    "HighsBackend",
    "Limits",
    "Outcome",
    "Program",
    "PulpBackend",
    "Session",
    "Solution",
    "backends",
    "irreducible_infeasible_set",
    "register_backend",
    "solve",
]
