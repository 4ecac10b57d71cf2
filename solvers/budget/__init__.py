"""Sizes worth the most within budgets, with a proof of how good they are."""

from naivegraph.solvers.budget.optimise import optimise, smallest
from naivegraph.solvers.budget.problem import (
    BudgetError,
    BudgetProblem,
    BudgetSolution,
    Certificate,
    CostFunction,
    LinearSum,
    Row,
    Term,
)

__all__ = [
    "BudgetError",
    "BudgetProblem",
    "BudgetSolution",
    "Certificate",
    "CostFunction",
    "LinearSum",
    "Row",
    "Term",
    "optimise",
    "smallest",
]
