"""From chosen neurons to a `Change`: which tensors are cut where, and which attributes follow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from naivegraph.edits.change import AttributeChange, Change, WidthChange
from naivegraph.edits.selection import Indices, formula_of
from naivegraph.graph.execute import read_attribute
from naivegraph.widths.axis import Atom
from naivegraph.widths.inplace import Demands
from naivegraph.widths.widths import Width, Widths

__all__ = ["plan"]


def plan(widths: Widths, demands: Demands, kept: Mapping[Width, Indices]) -> Change:
    """The change that keeps these neurons of each width; a width that is not named keeps all of them."""
    changed = {w: np.unique(np.asarray(i, np.int64)) for w, i in kept.items() if len(i) != w.size}
    keys = {width.atom: str(position) for position, width in enumerate(changed)}
    sizes = {width.atom: len(indices) for width, indices in changed.items()}

    def count(atom: Atom) -> int:
        return sizes.get(atom, atom.length)

    tensors = {
        name: [formula_of(axis, keys) for axis in axes]
        for name, axes in widths.axes.items()
        if any(atom in keys for axis in axes for atom in axis.atoms())
    }
    attributes = []
    for attribute, polynomial in demands.attributes.items():
        before = int(read_attribute(widths.graph.module, attribute))
        after = polynomial.value(count)
        if after != polynomial.value(lambda atom: atom.length) and after != before:
            attributes.append(AttributeChange(attribute.path, attribute.name, attribute.keys, before, after))
    return Change(
        {keys[w.atom]: WidthChange(w.name, w.size, indices) for w, indices in changed.items()},
        tensors,
        attributes,
    )
