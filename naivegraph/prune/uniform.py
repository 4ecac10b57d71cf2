"""Sizes a config can say: the same in all layers that are built from one of its entries.

They are found by trying: widths at the same place of repeated layers, and of the same size, are tied, and the
config is asked for a smaller size of them. Where it cannot say that, they are tied to others of that size;
where that does not help either, they keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.edits.config.sync_config import with_config
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import EditError
from naivegraph.prune.budget_program import BudgetProgram
from naivegraph.solvers.budget import BudgetError, optimise

__all__ = ["UNSAID", "check_said", "tie_uniform"]

UNSAID = "the config has no entry for it alone (uniform=True)"


def tie_uniform(pose: Callable[[dict[Atom, str]], BudgetProgram], round_to: int) -> BudgetProgram:
    """The program in which widths built from one entry of the config have one size.

    Args:
        pose: Makes the program, with widths to keep and the reasons.
        round_to: What sizes are multiples of.

    Raises:
        EditError: The network has no config that describes it.
    """
    posed = pose({})
    steps = posed.steps(round_to)
    groups = _alike(posed)
    said = [_said(posed, steps, groups, number) for number in range(len(groups))]
    tied = [group for group, so in zip(groups, said, strict=True) if so]
    others = _joined(posed, [group for group, so in zip(groups, said, strict=True) if not so])
    more = [_said(posed, steps, [*tied, *others], len(tied) + number) for number in range(len(others))]
    tied += [group for group, so in zip(others, more, strict=True) if so]
    silent = [group for group, so in zip(others, more, strict=True) if not so]
    if not tied:
        raise EditError(
            "uniform=True is for networks built from a config that they keep, as those of transformers: "
            f"{type(posed.widths.graph.module).__name__} has none that says a size which may change"
        )
    unsaid = {posed.free[column].atom: UNSAID for group in silent for column in group}
    names = [[posed.free[column].atom for column in group] for group in tied]
    final = pose(unsaid) if unsaid else posed
    final.tie([[final.column[atom] for atom in group if atom in final.column] for group in names])
    return final


def check_said(change: Change, notes: tuple[str, ...]) -> None:
    """Refuse a change that the config does not say.

    Raises:
        EditError: It does not; the message tells why.
    """
    if change.widths and notes:
        raise EditError(f"uniform=True: no sizes that the config can say were found: {notes[0]}")


def _alike(posed: BudgetProgram) -> list[list[int]]:
    """Columns of widths at the same place of repeated layers, and of one size."""
    found: dict[object, list[int]] = {}
    for column, width in enumerate(posed.free):
        places = sorted((re.sub(r"(?<![^.])\d+(?![^.])", "*", name), dim) for name, dim in width.lives)
        found.setdefault((width.size, *dict.fromkeys(places)), []).append(column)
    return list(found.values())


def _joined(posed: BudgetProgram, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """The groups, with those of one size as one."""
    found: dict[int, list[int]] = {}
    for group in groups:
        found.setdefault(posed.free[group[0]].size, []).extend(group)
    return list(found.values())


def _said(posed: BudgetProgram, steps: Sequence[int], groups: Sequence[Sequence[int]], number: int) -> bool:
    """Tell whether the config says a smaller size of one of the groups, with all that has to follow it."""
    columns = groups[number]
    sizes = [width.size for width in posed.free]
    targets = list(sizes)
    for column in columns:
        step = steps[column]
        targets[column] = max(sizes[column] // 2 // step * step, min(step, sizes[column]))
    values = [
        -np.abs(np.arange(size + 1) - target) / max(size, 1) * (100.0 if column in columns else 1.0)
        for column, (size, target) in enumerate(zip(sizes, targets, strict=True))
    ]
    try:
        found = optimise(posed.valued(values, steps, groups), gap=1e-6, time_limit=1.0)
    except BudgetError:
        return False
    if all(found.k[column] == sizes[column] for column in columns):
        return False
    kept = {width: np.arange(int(size)) for width, size in zip(posed.free, found.k, strict=True)}
    change, notes = with_config(plan(posed.widths, posed.constraints, kept), posed.constraints)
    return not notes and _has_config(change)


def _has_config(change: Change) -> bool:
    """Tell whether a change has one of a config, whose entries are told by keys."""
    return any(a.keys and isinstance(a.keys[0], str) for a in change.attributes)
