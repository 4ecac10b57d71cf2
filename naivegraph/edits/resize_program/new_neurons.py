"""Costs of new neurons, so that none come without need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.edits.resize_program.product_rows import ProductRows
from naivegraph.edits.resize_program.size_forms import SizeForms
from naivegraph.solvers import Program
from naivegraph.utility.ranking import TINY, NeuronRanking
from naivegraph.widths import Widths

__all__ = ["costs_of_new"]


def costs_of_new(
    program: Program,
    sizes: SizeForms,
    come: Mapping[Atom, int],
    widths: Widths,
    rankings: Mapping[Atom, NeuronRanking],
    products: Sequence[ProductRows],
) -> tuple[list[int], list[float]]:
    """Columns that count new neurons, and the factor of each in the objective.

    Those inside the rows of a product count one by one, whether they come as rows or in each of the rows: so
    many are in the tensors of both. A row costs by what it is worth itself besides, if it is.

    Args:
        program: The program.
        sizes: Its sizes; rows are added to their block.
        come: The column of new neurons, by width.
        widths: The widths of the graph.
        rankings: The rankings of neurons, by width; none where only sizes count.
        products: The products that are valued together, whose columns have been added.
    """
    columns = list(come.values())
    factors = [-rankings[atom].cost if rankings else -TINY for atom in come]
    places = {atom: place for place, atom in enumerate(come)}
    inside = {atom: column for rows in products for atom, column in rows.columns.items()}
    for atom, place in places.items():
        rows = widths.outer.get(atom)
        if rows not in places or (sizes.still(rows) and sizes.still(atom)):
            continue
        kept = dict.fromkeys(inside[atom], 1.0) if atom in inside else sizes.kept(rows, atom)
        constant, parts = sizes.of(Polynomial.of_atom(rows) * Polynomial.of_atom(atom))
        column = program.column(f"new inside rows {place}", 0, np.inf, integer=False)
        for index, factor in ((column, 1.0), *kept.items()):
            parts[index] = parts.get(index, 0.0) - factor
        sizes.block.row(f"new inside rows {place}", parts, upper=-constant)
        cost = rankings[atom].cost_of_one if rankings else TINY
        columns.append(column)
        factors.append(-cost)
        # In groups that are normed together a new group leaves those there are alone.
        factors[place] = -cost * rows.length if widths.by_atom[atom].coupled else 0.0
        if not rankings or not rankings[rows].largest:
            factors[places[rows]] = 0.0
    return columns, factors
