"""The argument `depth=` of pruning: what it may be, and the columns that it adds to the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from naivegraph.calibration import Calibration
from naivegraph.errors import EditError
from naivegraph.prune.branch_values import branch_values
from naivegraph.prune.branches import Branch
from naivegraph.prune.budget_program import BudgetProgram
from naivegraph.utility.collect import Floats
from naivegraph.utility.criteria import CriterionData
from naivegraph.widths import Width

__all__ = ["check_depth", "let_go"]


def check_depth(depth: Any, ratio: Any, uniform: bool) -> None:
    """Check all of `depth=` that can be checked without a network.

    Raises:
        EditError: It is of the wrong type, or goes with no budget.
    """
    items = [depth] if isinstance(depth, (bool, str, nn.Module)) else depth
    if not isinstance(items, (list, tuple, set)) or not items:
        raise EditError(f"depth= takes True, or module paths, patterns and modules, not {depth!r}")
    for item in items:
        if not isinstance(item, (str, nn.Module)) and not (isinstance(item, bool) and items == [depth]):
            raise EditError(f"depth= takes module paths, glob patterns and modules, not {item!r}")
    if depth is not False and ratio is not None:
        raise EditError("depth= goes with budgets, such as macs=0.5: ratio= sets every size by itself")
    if depth is not False and uniform:
        raise EditError("depth= and uniform= exclude each other: a config has no number for single branches")


def let_go(
    program: BudgetProgram,
    branches: Sequence[Branch],
    values: Mapping[Width, Floats],
    utility: Any,
    calibration: Calibration | None,
    loss: Any,
) -> tuple[str, ...]:
    """Let branches go in a program, for what they are worth; return notes for the reader."""
    if not branches:
        return ("No branch may go: keep= names a layer in each.",)
    data = CriterionData(calibration, loss)
    worth, notes = branch_values(program.widths, branches, values, utility, data)
    program.let_go(branches, worth)
    return notes
