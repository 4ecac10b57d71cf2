"""The program of a prune as its arguments ask for it: what is kept, what may go, and what is tied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from naivegraph.algebra.axis import Atom
from naivegraph.prune.branches import Branch, chosen_branches
from naivegraph.prune.budget_program import BudgetProgram, pose
from naivegraph.prune.captured import Captured
from naivegraph.prune.depth_argument import may_go
from naivegraph.prune.keep import Keep, kept_atoms
from naivegraph.prune.uniform import tie_uniform
from naivegraph.widths import Widths, constraints_of

__all__ = ["posed_program"]


def posed_program(
    found: Captured,
    widths: Widths,
    least: Mapping[Atom, int],
    *,
    keep: Keep | Sequence[Keep],
    depth: bool | str | nn.Module | Sequence[Any],
    uniform: bool,
    step: int,
) -> tuple[BudgetProgram, list[Branch]]:
    """The program over the sizes of a network, and the branches of it that may go.

    Args:
        found: The network.
        widths: Its related axes.
        least: The fewest neurons of each width.
        keep: What stays as it is; see `prune`.
        depth: What may be left out; see `prune`.
        uniform: Whether only sizes that a config can say are allowed.
        step: The number that sizes are multiples of.

    Raises:
        EditError: An argument names nothing of the network, or the config can say no other size.
    """
    constraints, held = constraints_of(widths), kept_atoms(widths, keep)
    branches = []
    if depth is not False:
        branches = chosen_branches(may_go(found, widths, uniform=uniform), widths, depth, keep)
    if not uniform:
        return pose(widths, constraints, held, least), branches

    def with_held(more: Mapping[Atom, str]) -> BudgetProgram:
        """Return the program with more widths held."""
        return pose(widths, constraints, {**held, **more}, least)

    return tie_uniform(with_held, step, needed=depth is False), branches
