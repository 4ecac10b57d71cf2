"""Sizes a config can say: the same in all layers that are built from one of its entries.

They are found by trying: widths at the same place of repeated layers, and of the same size, are tied, and the
config is asked for a smaller size of them. Where it cannot say that, they are tied to others of that size;
where that does not help either, they shrink in proportion to one or two other groups, if the config can say
that (a width that it divides by the number of heads, with these); else they keep theirs.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.edits.config.sync_config import with_config
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import EditError
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.prune.budget_program import BudgetProgram
from naivegraph.solvers.budget import BudgetError, optimise

__all__ = ["UNSAID", "check_said", "tie_uniform"]

UNSAID = "the config has no entry for it alone (uniform=True)"
_FOLLOWS = "its size follows from others"
# The most tries to find groups that shrink together; each takes a tenth of a second or more.
_TRIES = 30


def tie_uniform(
    pose: Callable[[dict[Atom, str]], BudgetProgram], round_to: int, *, needed: bool = True
) -> BudgetProgram:
    """The program in which widths built from one entry of the config have one size.

    Args:
        pose: Makes the program, with widths to keep and the reasons.
        round_to: What sizes are multiples of.
        needed: Whether some size has to be one that the config can say; else something beside sizes may go.

    Raises:
        EditError: The network has no config that describes it.
    """
    posed = pose({})
    found = _Groups(posed, posed.steps(round_to))
    if not found.tied and needed:
        raise EditError(
            "uniform=True is for networks built from a config that they keep, as those of transformers: "
            f"{type(posed.widths.graph.module).__name__} has none that says a size which may change"
            + "".join(f" ({reason})" for reason in [*dict.fromkeys(found.silent.values())][:1] if reason)
        )
    unsaid = {posed.free[column].atom: UNSAID for group in found.silent for column in group}
    names = [[posed.free[column].atom for column in group] for group in found.tied]
    shares = [[posed.free[group[0]].atom for group in groups] for groups in found.together]
    final = pose(unsaid) if unsaid else posed
    final.tie([[final.column[atom] for atom in group if atom in final.column] for group in names])
    final.tie_shares([[final.column[atom] for atom in group if atom in final.column] for group in shares])
    final.told = tuple(found.sentences())
    return final


# Columns of widths that have one size.
_Group = tuple[int, ...]


class _Groups:
    """The widths of a network in groups that its config can say.

    Attributes:
        tied: The groups of columns of which the config says one size.
        together: Those of them that shrink in proportion to each other.
        silent: The groups of which it says none, with the reason.
    """

    def __init__(self, posed: BudgetProgram, steps: Sequence[int]) -> None:
        self._posed, self._steps = posed, steps
        self._unsaved = frozenset(unsaved_buffers(posed.widths.graph.module))
        self.tied: list[_Group] = []
        self.together: list[list[_Group]] = []
        self.silent: dict[_Group, str] = {}
        alone = self._sort(_alike(posed), [])
        self._sort(_joined(posed, [*alone]), self.tied)
        said = {column for group in self.tied for column in group}
        self.silent = {group: why for group, why in alone.items() if not said & {*group}}
        self._couple()

    def sentences(self) -> Iterator[str]:
        """Tell which groups change together alone, and which not at all, and why."""
        for groups in self.together:
            several = " and ".join(self._named(group) for group in groups)
            yield f"{several} keep the same share of their sizes, as the config has no entry for one alone"
        for group, reason in self.silent.items():
            if reason and reason != _FOLLOWS:
                yield f"{self._named(group)} keeps its size: {UNSAID}: {reason}"

    def _named(self, group: _Group) -> str:
        width = self._posed.free[group[0]]
        return f"{width.name} ({width.size})"

    def _sort(self, groups: Sequence[_Group], others: Sequence[_Group]) -> dict[_Group, str]:
        """Add the groups of which the config says a size to `tied`; return the others, with reasons."""
        everything = [*others, *groups]
        reasons = {group: self._unsaid([group], everything) for group in groups}
        self.tied += [group for group, reason in reasons.items() if reason is None]
        return {group: reason for group, reason in reasons.items() if reason is not None}

    def _couple(self) -> None:
        """Let silent groups shrink in proportion to one or two others, where the config can say that."""
        tried: set[frozenset[_Group]] = set()
        for group in [each for each, why in self.silent.items() if why != _FOLLOWS and not self._lost(each)]:
            for others in self._partners(group) if group in self.silent else ():
                chosen = [group, *others]
                if frozenset(chosen) in tried or len(tried) == _TRIES:
                    continue
                tried.add(frozenset(chosen))
                if self._unsaid(chosen, [*self.tied, *self.silent]) is None:
                    self.together.append(chosen)
                    self.tied += [each for each in chosen if each in self.silent]
                    self.silent = {each: why for each, why in self.silent.items() if each not in chosen}
                    break

    def _lost(self, group: _Group) -> bool:
        """Tell whether a buffer that the network works out from its config would be cut with a group."""
        return any(name in self._unsaved for column in group for name, _ in self._posed.free[column].lives)

    def _partners(self, group: _Group) -> Iterator[tuple[_Group, ...]]:
        """One or two other groups that are not coupled yet, the finest steps of all together first."""
        coupled = {each for groups in self.together for each in groups}
        size = self._posed.free[group[0]].size
        left = [each for each in (*self.silent, *self.tied) if each not in coupled and each != group]
        left = [each for each in left if self.silent.get(each) != _FOLLOWS and not self._lost(each)]
        for count in (1, 2):
            several = [*itertools.combinations(left, count)]
            several.sort(key=lambda each: -math.gcd(size, *(self._posed.free[g[0]].size for g in each)))
            for others in several:
                if math.gcd(size, *(self._posed.free[g[0]].size for g in others)) > 1:
                    yield others

    def _unsaid(self, chosen: Sequence[_Group], groups: Sequence[_Group]) -> str | None:
        """The reason why the config cannot say half of the sizes of some groups; None if it can.

        With all that has to follow them, and all else as it is as far as possible.
        """
        posed, steps = self._posed, self._steps
        columns = {column for group in chosen for column in group}
        sizes = [width.size for width in posed.free]
        targets = list(sizes)
        for column in columns:
            step = steps[column]
            targets[column] = max(sizes[column] // 2 // step * step, min(step, sizes[column]))
        values = [
            -np.abs(np.arange(size + 1) - target) / max(size, 1) * (100.0 if column in columns else 1.0)
            for column, (size, target) in enumerate(zip(sizes, targets, strict=True))
        ]
        shares = [[group[0] for group in chosen]]
        try:
            found = optimise(posed.valued(values, steps, groups, shares), gap=1e-6, time_limit=1.0)
        except BudgetError as error:
            return str(error)
        if any(found.k[column] == sizes[column] for column in columns):
            return _FOLLOWS
        kept = {width: np.arange(int(size)) for width, size in zip(posed.free, found.k, strict=True)}
        change, notes = with_config(plan(posed.widths, posed.constraints, kept), posed.constraints)
        if notes:
            return notes[0].partition("(")[2].rpartition("): ")[0] or notes[0]
        return None if _has_config(change) else ""


def check_said(change: Change, notes: tuple[str, ...]) -> None:
    """Refuse a change that the config does not say.

    Raises:
        EditError: It does not; the message tells why.
    """
    if change.widths and notes:
        raise EditError(f"uniform=True: no sizes that the config can say were found: {notes[0]}")


def _alike(posed: BudgetProgram) -> list[_Group]:
    """Columns of widths at the same place of repeated layers, and of one size."""
    found: dict[object, list[int]] = {}
    for column, width in enumerate(posed.free):
        places = sorted((re.sub(r"(?<![^.])\d+(?![^.])", "*", name), dim) for name, dim in width.lives)
        found.setdefault((width.size, *dict.fromkeys(places)), []).append(column)
    return [*map(tuple, found.values())]


def _joined(posed: BudgetProgram, groups: Sequence[_Group]) -> list[_Group]:
    """The groups, with those of one size as one."""
    found: dict[int, list[int]] = {}
    for group in groups:
        found.setdefault(posed.free[group[0]].size, []).extend(group)
    return [*map(tuple, found.values())]


def _has_config(change: Change) -> bool:
    """Tell whether a change has one of a config, whose entries are told by keys."""
    return any(a.keys and isinstance(a.keys[0], str) for a in change.attributes)
