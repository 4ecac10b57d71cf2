"""Checks of a decision, also of one that a strategy of the user's made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from naivegraph.algebra.axis import Atom
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.widths import SizeConstraints, Width, Widths

__all__ = ["objection"]


def objection(
    widths: Widths, constraints: SizeConstraints, kept: Mapping[Width, Indices], new: Mapping[Width, int]
) -> str:
    """The first reason for which a decision cannot be carried out; empty if there is none.

    Args:
        widths: The widths of the graph.
        constraints: The constraints of the network's code and of custom rules.
        kept: The neurons that stay, by width: sorted indices, or an array [rows, k] of them.
        new: The number of new neurons, by width.
    """
    return next(_objections(widths, constraints, kept, new), "")


def _objections(
    widths: Widths, constraints: SizeConstraints, kept: Mapping[Width, Indices], new: Mapping[Width, int]
) -> Iterator[str]:
    for width in (*kept, *new):
        if widths.by_atom.get(width.atom) is not width:
            yield f"{width.name} is no width of this network (they are in attempt.widths)"
        if width not in kept:
            yield f"it says how many neurons of {width.name} come, but not which stay"
    for width, indices in kept.items():
        yield from _of_width(widths, constraints, width, indices, new.get(width, 0))
    sizes = {width.atom: int(indices.shape[-1]) + new.get(width, 0) for width, indices in kept.items()}
    yield from _of_sizes(widths, constraints, sizes, _changed(kept, new))


def _of_width(
    widths: Widths, constraints: SizeConstraints, width: Width, indices: Indices, come: int
) -> Iterator[str]:
    name, outer = width.name, widths.outer.get(width.atom)
    by_row = outer is not None and indices.ndim == 2 and len(indices) == outer.length
    if indices.dtype.kind != "i" or not (indices.ndim == 1 or by_row):
        yield f"the neurons of {name} that stay are {indices!r}, not an array of whole numbers"
        return
    if indices.size and (indices.min() < 0 or indices.max() >= width.size or (np.diff(indices) <= 0).any()):
        last = width.size - 1
        yield f"the neurons of {name} that stay are {indices}, not in order, each once, from 0 to {last}"
    if come < 0 or come != int(come) or (come and width.atom.alone):
        yield f"{come} neurons cannot come to {name}"
    if indices.shape[-1] == width.size and not come:
        return
    if width.atom in constraints.fixed:
        yield f"{name} changes, which it must not: {constraints.fixed[width.atom]}"
    for required in constraints.must_stay.get(width.atom, ()):
        if not np.isin(required.indices, indices).all():
            yield required.reason
    for required in constraints.must_go.get(width.atom, ()):
        if np.isin(required.indices, indices).any():
            yield required.reason


def _changed(kept: Mapping[Width, Indices], new: Mapping[Width, int]) -> set[Atom]:
    return {w.atom for w, stay in kept.items() if stay.shape[-1] != w.size or new.get(w, 0)}


def _of_sizes(
    widths: Widths, constraints: SizeConstraints, sizes: Mapping[Atom, int], changed: set[Atom]
) -> Iterator[str]:
    def count(atom: Atom) -> int:
        """Return the size of a width after the decision."""
        return sizes.get(atom, atom.length)

    for name, axes in widths.axes.items():
        for dim, axis in enumerate(axes):
            if not changed.isdisjoint(axis.atoms()) and axis.size(count) < 1:
                yield f"nothing is left of dimension {dim} of {name}"
    for row in constraints.width_constraints:
        if changed.isdisjoint(row.polynomial.atoms()):
            continue
        value = row.polynomial.value(count)
        if row.multiple > 1:
            met = value % row.multiple == 0
        else:
            met = (row.low is None or value >= row.low) and (row.high is None or value <= row.high)
        if not met:
            yield row.reason
