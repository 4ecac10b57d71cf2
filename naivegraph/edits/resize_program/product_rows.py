"""Products of widths whose rows keep neurons of their own: what the neurons kept are worth together.

In a product `g*c`, such as groups times channels, every neuron of g is a row of neurons of c. A neuron counts
if its row stays and if it is among those that its row keeps, so its value must not be counted for g and c
apart. For each row a binary column tells whether it stays, and a further one, their product, how many of its
neurons do (McCormick's inequalities are exact for a binary factor); the worth of these is a concave function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from naivegraph.algebra.axis import Atom
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.resize_program.size_forms import RowBlock
from naivegraph.solvers import Program
from naivegraph.utility.ranking import NeuronRanking

__all__ = ["ProductRows", "product_rows", "with_inside"]

Floats = npt.NDArray[np.float64]

# More rows than this are valued one by one, as neurons of their own.
_MOST = 256


@dataclasses.dataclass(eq=False)
class ProductRows:
    """The rows of one width, with the neurons of others inside.

    Attributes:
        outer: The width whose neurons are the rows.
        own: The value of each row by itself.
        inner: For each width inside, the ranking of its neurons in every row.
        stay: Rows that must stay.
        go: Rows that must go.
        columns: For each width inside, once they are added, the columns of its neurons kept in every row.
    """

    outer: Atom
    own: Floats
    inner: dict[Atom, list[NeuronRanking]]
    stay: list[int]
    go: list[int]
    columns: dict[Atom, list[int]] = dataclasses.field(default_factory=dict)

    def add(
        self, program: Program, block: RowBlock, kept: Mapping[Atom, int], name: str
    ) -> tuple[list[int], list[float]]:
        """Add columns, and rows to a block; return columns and factors for the objective."""
        count = len(self.own)
        lower, upper = np.zeros(count), np.ones(count)
        lower[self.stay], upper[self.go] = 1.0, 0.0
        rows = program.columns([f"{name} row {row}" for row in range(count)], np.minimum(lower, upper), upper)
        block.row(f"{name} rows", {**dict.fromkeys(rows, 1.0), kept[self.outer]: -1.0}, lower=0, upper=0)
        worth = self.own.copy()
        for number, (atom, rankings) in enumerate(self.inner.items()):
            size = float(atom.length)
            names = [f"{name} row {row} inside {number}" for row in range(count)]
            inside = self.columns[atom] = list(program.columns(names, 0, size))
            for row, column in enumerate(inside):
                stays, less = rows[row], {column: 1.0, kept[atom]: -1.0}
                block.row(f"{names[row]} none", {column: 1.0, stays: -size}, upper=0)
                block.row(f"{names[row]} most", less, upper=0)
                block.row(f"{names[row]} least", {**less, stays: -size}, lower=-size)
                sums = rankings[row].sums
                worth[row] += sums[0]
                if sums.any():
                    program.concave(f"{names[row]} utility", column, sums - sums[0])
        return list(rows), worth.tolist()

    def best(self, counts: Mapping[Atom, int]) -> Indices:
        """The rows that stay, by the numbers of neurons kept of every width; among equals the first."""
        worth = self.own.copy()
        for atom, rankings in self.inner.items():
            worth += [ranking.sums[counts[atom]] for ranking in rankings]
        return NeuronRanking(worth, self.stay, self.go).best(counts[self.outer])


def with_inside(
    values: Mapping[Atom, Floats], outer: Mapping[Atom, Atom], products: Iterable[ProductRows]
) -> dict[Atom, Floats]:
    """Values of which rows have those of the neurons inside as well, where they are no product of these.

    Args:
        values: The values of neurons by width, of rows by themselves; [rows, neurons] for one with rows.
        outer: By width with rows the width whose neurons are the rows.
        products: The products that are valued together.
    """
    found, together = dict(values), {atom for rows in products for atom in rows.inner}
    for atom, rows in outer.items():
        if atom in values and rows in values and atom not in together:
            # Where rows have rows themselves, their values are shared out among these.
            inside, shape = values[atom].sum(axis=1), values[rows].shape
            found[rows] = found[rows] + inside / (shape[0] if len(shape) == 2 else 1)
    return found


def product_rows(
    values: Mapping[Atom, Floats],
    outer: Mapping[Atom, Atom],
    moving: Iterable[Atom],
    stay: Mapping[Atom, list[int]],
    go: Mapping[Atom, list[int]],
) -> list[ProductRows]:
    """The products among some widths of which both factors may change.

    Args:
        values: The values of neurons by width, [rows, neurons] for one with rows.
        outer: By width with rows the width whose neurons are the rows.
        moving: The widths that may change.
        stay: Neurons that must stay, by width.
        go: Neurons that must go, by width.
    """
    free = list(moving)
    inside: dict[Atom, list[Atom]] = {}
    for atom in free:
        rows = outer.get(atom)
        if rows is None or rows not in free or rows in outer or rows.length > _MOST:
            continue
        if values[atom].any():
            inside.setdefault(rows, []).append(atom)
    return [
        ProductRows(
            rows,
            np.array(values[rows], dtype=np.float64),
            {
                atom: [NeuronRanking(each, stay.get(atom, []), go.get(atom, [])) for each in values[atom]]
                for atom in atoms
            },
            stay.get(rows, []),
            go.get(rows, []),
        )
        for rows, atoms in inside.items()
    ]
