"""The argument `depth=` of pruning: what it may be, and the columns that it adds to the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from naivegraph.calibration import Calibration
from naivegraph.errors import EditError
from naivegraph.network import Graph
from naivegraph.prune.branch_values import branch_values
from naivegraph.prune.branches import Branch, find_branches
from naivegraph.prune.budget_program import BudgetProgram
from naivegraph.prune.captured import Captured
from naivegraph.prune.layers import find_layers, with_layers
from naivegraph.utility.collect import Floats
from naivegraph.utility.criteria import CriterionData
from naivegraph.widths import Width, Widths

__all__ = ["check_depth", "let_go", "may_go"]


def check_depth(depth: Any, ratio: Any) -> None:
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


def may_go(found: Captured, widths: Widths, *, uniform: bool) -> list[Branch]:
    """The branches and layers that a network could do without.

    Args:
        found: The network.
        widths: Its related axes.
        uniform: Only whole layers, as a config has no number for single branches.

    Raises:
        EditError: Only whole layers may go, and there are none.
    """
    layers = [] if isinstance(found.edited, Graph) else find_layers(found, widths)
    if not uniform:
        return with_layers(widths.graph, find_branches(widths), layers)
    if not layers:
        raise EditError(
            "depth= with uniform=True leaves out whole layers, as a config has no number for single "
            f"branches: {type(widths.graph.module).__name__} has no list of layers that its config counts"
            + " (and of a graph only branches can go)"
            * isinstance(found.edited, Graph)
        )
    return layers


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
