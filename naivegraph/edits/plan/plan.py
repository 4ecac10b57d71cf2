"""From chosen neurons to a `Change`: the tensors to resize, and the attributes that follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from naivegraph.algebra.axis import Atom
from naivegraph.edits.plan.change import AttributeChange, Change, InputChange, Scaling
from naivegraph.edits.plan.fill import Fill
from naivegraph.edits.plan.index_formula import Indices, formula_of
from naivegraph.edits.plan.mask_starts import mask_starts
from naivegraph.edits.plan.outgoing_weights import KeptGrowth, outgoing, rows_of
from naivegraph.edits.plan.width_change import WidthChange
from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import attribute_of
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.widths.code.size_constraints import SizeConstraints
from naivegraph.widths.widths import Width, Widths

__all__ = ["Initialise", "plan"]

Initialise = str | Callable[[torch.Tensor, str], object]
_NAMES = ("layer", "duplicate")


@uncollected()
def plan(
    widths: Widths,
    constraints: SizeConstraints,
    kept: Mapping[Width, Indices],
    new: Mapping[Width, int] | None = None,
    *,
    initialise: Initialise = "layer",
    seed: int = 0,
    following: Mapping[Atom, int] | None = None,
    order: Mapping[Width, Indices] | None = None,
    growth: KeptGrowth | None = None,
) -> Change:
    """Plan the change that keeps these neurons of each width and adds new ones; other widths stay.

    Args:
        widths: The widths of a graph.
        constraints: The constraints of its code, with the sizes of attributes.
        kept: The neurons that stay, in any order; of a width in `widths.outer` perhaps an array [rows, k].
        new: The number of new neurons of each width; they come after the kept ones, in every run.
        initialise: The initialisation of new neurons. "layer": weights into them as torch's layer initialises
            them (other parameters normal with the mean and standard deviation of their present values),
            weights out of them zero. "duplicate": copies of kept neurons that share their effect. A function
            `f(tensor, name)` that fills a tensor in place, as those in `torch.nn.init` do: weights into them
            by it, out of them zero.
        seed: The seed of the numbers new neurons start with.
        following: New sizes that no parameter has, but perhaps an attribute, such as that of a norm alone.
        order: The order of a width's neurons afterwards, if not that of kept and then new ones: for each
            place the number of the neuron among these.
        growth: What lets widths that enter statistics grow with the function kept.

    Raises:
        EditError: The arguments make no sense, or neurons cannot be duplicated.
    """
    added = {width: int(count) for width, count in (new or {}).items() if count}
    if any(count < 0 for count in added.values()):
        raise EditError(f"{min(added.values())} new neurons were asked for")
    if isinstance(initialise, str) and initialise not in _NAMES:
        raise EditError(f"initialise={initialise!r}: give {' or '.join(map(repr, _NAMES))} or a function")
    changes = _changes(widths, kept, added, order or {})
    keys = {width.atom: str(position) for position, width in enumerate(changes)}
    after = {width.atom: change.after for width, change in changes.items()}

    def count(atom: Atom) -> int:
        """Return the size of a width after the change."""
        return after.get(atom, atom.length)

    grown = {width.atom: keys[width.atom] for width in added}
    growth, copies = growth or KeptGrowth(), initialise == "duplicate"
    out = outgoing(widths, grown, copies=copies, silent=growth.silent) if grown else ()
    masks = (
        []
        if copies
        else [each for each in mask_starts(widths, grown) if each[0] not in {item.tensor for item in out}]
    )
    scalings = _scalings(constraints, count)
    scalings += tuple(Scaling(name, None, factor) for name, factor in growth.scales.items())
    named = {item.tensor for item in out} | {item.tensor for item in scalings}
    tensors = {
        name: [formula_of(axis, keys) for axis in axes]
        for name, axes in widths.axes.items()
        if name in named or not all(keys.keys().isdisjoint(axis.atoms()) for axis in axes)
    }
    return Change(
        {keys[width.atom]: change for width, change in changes.items()},
        tensors,
        _attributes(widths, constraints, {**(following or {}), **after}),
        out,
        scalings,
        int(seed),
        initialise if isinstance(initialise, str) else getattr(initialise, "__name__", "function"),
        None if isinstance(initialise, str) else initialise,
        inputs=tuple(_inputs(widths, keys)),
        fills=(
            *(Fill(name, dim, keys[atom], "one") for name, dim, atom in masks),
            *(Fill(name, dim, keys[atom], kind, gains) for name, dim, atom, kind, gains in growth.fills),
        ),
    )


def _inputs(widths: Widths, keys: Mapping[Atom, str]) -> Iterator[InputChange]:
    """The sizes of inputs that change."""
    for (name, index), place in widths.relation.inputs.items():
        axis = widths.relation.algebra.resolve(place.axis)
        if not keys.keys().isdisjoint(axis.atoms()):
            yield InputChange(name, index, place.dim, formula_of(axis, keys))


def _changes(
    widths: Widths,
    kept: Mapping[Width, Indices],
    added: Mapping[Width, int],
    order: Mapping[Width, Indices],
) -> dict[Width, WidthChange]:
    out = {}
    for width in dict.fromkeys([*kept, *added]):
        stay = _stay(widths, width, np.asarray(kept.get(width, np.arange(width.size)), np.int64))
        if stay.shape[-1] != width.size or width in added or width in order:
            out[width] = WidthChange(width.name, width.size, stay, added.get(width, 0), order.get(width))
    return out


def _stay(widths: Widths, width: Width, kept: Indices) -> Indices:
    """The neurons that stay, sorted; by row where rows differ."""
    in_order = bool((kept[..., 1:] > kept[..., :-1]).all())
    if kept.ndim == 1:
        return kept.copy() if in_order else np.unique(kept)
    outer = widths.outer.get(width.atom)
    rows = [row.copy() if in_order else np.unique(row) for row in kept]
    if outer is None or len(rows) != outer.length or len({len(row) for row in rows}) != 1:
        raise EditError(
            f"the neurons of {width.name} that stay are {kept.shape} numbers: "
            + (f"give one list, or {outer.length} as long as each other" if outer else "give one list")
        )
    stacked = np.stack(rows)
    return rows[0] if bool((stacked == rows[0]).all()) else stacked


def _scalings(constraints: SizeConstraints, count: Callable[[Atom], int]) -> tuple[Scaling, ...]:
    """Scalings of weights that make up for an attention's default scale, which follows its head size."""
    out = []
    for rescaled in constraints.rescales:
        size = rescaled.axis.size(count)
        if size != rescaled.axis.length:
            factor = math.sqrt(size / rescaled.axis.length)
            out += [Scaling(entries.name, rows_of(entries), factor) for entries in rescaled.entries]
    return tuple(out)


def _attributes(
    widths: Widths, constraints: SizeConstraints, sizes: Mapping[Atom, int]
) -> list[AttributeChange]:
    modules, out = Modules(widths.graph.module), []
    for attribute, polynomial in constraints.attributes.items():
        if not any(atom in sizes for monomial in polynomial.terms for atom in monomial):
            continue
        after = polynomial.value(lambda atom: sizes.get(atom, atom.length))
        if after != polynomial.value(lambda atom: atom.length):
            before = int(attribute_of(modules[attribute.path], attribute))
            if after != before:
                out.append(AttributeChange(attribute.path, attribute.name, attribute.keys, before, after))
    return out
