"""Branches that a budget program may leave out: a column of 0 or 1 for each."""

from __future__ import annotations

import dataclasses

import numpy as np

from naivegraph.prune.branches import Branch
from naivegraph.solvers.budget import Row
from naivegraph.solvers.budget.problem import Ints
from naivegraph.utility.collect import Floats
from naivegraph.widths import Width, Widths

__all__ = ["BranchChoices", "Form", "widths_gone"]

# A linear form `constant + sum of factor * column`: (constant, ((column, factor), ...)).
Form = tuple[int, tuple[tuple[int, int], ...]]


@dataclasses.dataclass(frozen=True)
class BranchChoices:
    """Columns that say which branches stay.

    All that a branch alone costs is multiplied by its column. Its inner widths then cost nothing where it
    goes, so the program leaves them as they are, at all of their utility; what is lost with the branch is the
    value of its column. Where it stays, what is lost is that of the neurons that go. So both are told in one
    unit, and neither depends on the other.

    Attributes:
        first: The number of the first of these columns.
        branches: The branches.
        values: The utility of keeping each.
    """

    first: int
    branches: tuple[Branch, ...]
    values: tuple[float, ...]

    @property
    def tables(self) -> list[Floats]:
        """The utility of each column at 0 and at 1."""
        return [np.array([0.0, value]) for value in self.values]

    def forms(self, where: tuple[str, ...]) -> list[Form]:
        """The factors of a cost that these vertices have: the column of each branch that has them all."""
        return [
            (0, ((self.first + number, 1),))
            for number, branch in enumerate(self.branches)
            if where and branch.inside.issuperset(where)
        ]

    def broken_rows(self, sizes: Ints) -> list[Row]:
        """The constraints that sizes break: of several summands of one sum that may go, one stays.

        So does one of the layers in a list. They are few and seldom broken, and with them a search takes
        longer; so each is added when it is.
        """
        sums: dict[str, list[int]] = {}
        lists: dict[tuple[str, int], list[int]] = {}
        for number, branch in enumerate(self.branches):
            column = self.first + number
            if branch.entry is None:
                sums.setdefault(f"a summand of {branch.total}", []).append(column)
            else:
                lists.setdefault((branch.name.rpartition(".")[0], branch.among), []).append(column)
        several = {what: columns for what, columns in sums.items() if len(columns) > 1}
        several |= {f"a layer of {home}": all_ for (home, count), all_ in lists.items() if len(all_) == count}
        return [
            Row.of(f"{what} stays", dict.fromkeys(columns, 1.0), 1.0)
            for what, columns in several.items()
            if not sizes[columns].any()
        ]

    def dropped(self, sizes: Ints) -> list[Branch]:
        """The branches that go at these sizes of the columns; those within another one that goes first."""
        gone = [b for number, b in enumerate(self.branches) if not sizes[self.first + number]]
        return [b for b in gone if not any(b.inside < other.inside for other in gone)]

    def gone(self, sizes: Ints) -> frozenset[str]:
        """The vertices that go at these sizes of the columns."""
        return frozenset(name for branch in self.dropped(sizes) for name in branch.vertices)

    def idle_value(self, sizes: Ints) -> float:
        """The utility of branches which are said to stay, but are inside of one that goes."""
        gone = self.dropped(sizes)
        return sum(
            value * int(sizes[self.first + number])
            for number, (branch, value) in enumerate(zip(self.branches, self.values, strict=True))
            if any(branch.inside < other.inside for other in gone)
        )


def widths_gone(widths: Widths, gone: frozenset[str]) -> list[Width]:
    """The widths that nothing has any more once these vertices leave the graph."""
    if not gone:
        return []
    users = widths.users
    return [
        width
        for width in widths
        if width.lives and all(users[name] and users[name] <= gone for name, _ in width.lives)
    ]
