"""One width with its neurons in another order, and new ones that start as combinations of old ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from naivegraph.algebra.axis import Atom, Axis, reasons
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.plan.start import Start, Sums
from naivegraph.edits.resize import carry_out
from naivegraph.edits.resize_program.decision_check import objection
from naivegraph.edits.resize_program.strategy import Decision
from naivegraph.errors import EditError
from naivegraph.network import Graph
from naivegraph.solvers.budget import Certificate
from naivegraph.transfer.kept_function import KeptFunction
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of

__all__ = ["Rearrangement", "rearrange", "starts_of", "width_along"]


@dataclasses.dataclass(frozen=True)
class Rearrangement:
    """A width's neurons after an edit.

    Attributes:
        width: The width.
        old: For each place afterwards, the neuron before that stays there; -1 for a new one.
        sums: The combinations as which new neurons start.
        chosen: For each new neuron, in the order of their places, the number of its combination.
    """

    width: Width
    old: Indices
    sums: Sums = ()
    chosen: Indices | None = None

    @property
    def new(self) -> int:
        """The number of new neurons."""
        return int((self.old < 0).sum())

    @property
    def kept(self) -> Indices:
        """The sorted neurons that stay."""
        return np.sort(self.old[self.old >= 0])

    @property
    def order(self) -> Indices | None:
        """The places of the kept neurons and then the new ones; None if they come in that order."""
        order = np.empty(len(self.old), np.int64)
        stays = self.old >= 0
        order[stays] = np.searchsorted(self.kept, self.old[stays])
        order[~stays] = len(self.kept) + np.arange(self.new)
        return None if np.array_equal(order, np.arange(len(order))) else order


def width_along(widths: Widths, axis: Axis, what: str) -> Width:
    """The width that an axis consists of.

    Args:
        widths: The widths.
        axis: The axis.
        what: What has that axis, for messages, such as "the neurons of 'fc'".

    Raises:
        EditError: It cannot change, or is made of several widths.
    """
    first = axis.terms[0][0] if [len(term) for term in axis.terms] == [1] else None
    if isinstance(first, Atom) and first in widths.by_atom:
        return widths.by_atom[first]
    if axis.fixed or isinstance(first, (int, Atom)):
        why = "; ".join(reasons(axis)) or "it is a number of the network's code"
        raise EditError(f"{what} cannot change: {why}")
    raise EditError(f"{what} are made of several runs ({axis}): name the layer that gives one of them")


def rearrange(
    graph: Graph,
    widths: Widths,
    asked: dict[str, Any],
    wanted: Rearrangement,
    *,
    adjust: Callable[[Change, str], Change] = lambda change, key: change,
    kept: KeptFunction,
    notes: Callable[[float], tuple[str, ...]],
    optimizer: Any = None,
    seed: int = 0,
) -> Edit:
    """Give a width other neurons, in place: tensors, attributes, config and optimizers follow.

    Args:
        graph: Changed in place.
        widths: Its widths.
        asked: What was asked, by name.
        wanted: The neurons.
        adjust: Changes the plan further; it is given the key of the width.
        kept: The outputs before, which those that stay are compared with.
        notes: Sentences for the reader, from the largest difference of these.
        optimizer: Optimizers that follow.
        seed: For new neurons without a combination.

    Raises:
        EditError: The network's code does not allow the sizes; nothing is changed.
    """
    constraints = constraints_of(widths)
    width, planned = wanted.width, list[Change]()
    stay, come, order = {width: wanted.kept}, {width: wanted.new}, wanted.order
    check(widths, constraints, stay, come)

    def adjusted(change: Change) -> Change:
        """Return the change with the starts of new neurons."""
        key = next((key for key, each in change.widths.items() if each.name == width.name), None)
        if key is None:
            return change
        if wanted.sums:
            change = dataclasses.replace(change, starts=tuple(starts_of(graph, change, key, wanted)))
        planned.append(adjust(change, key))
        return planned[-1]

    def differences() -> tuple[str, ...]:
        """Return the sentences, and keep the difference."""
        found.extend(kept.difference(change) for change in planned)
        return notes(found[0]) if found else ()

    found = list[float]()
    decision = Decision(stay, come, Certificate(0.0, 0.0), weighed=False)
    edit = carry_out(
        graph, widths, constraints, decision, asked, optimizer=optimizer, seed=seed,
        order={} if order is None else {width: order}, adjust=adjusted, notes=differences,
    )  # fmt: skip
    # New neurons that start as sums act from the start, which the operators alone do not tell.
    keeps = None if wanted.sums else edit.function_kept
    return dataclasses.replace(edit, function_kept=keeps, difference=found[0] if found else None)


def check(
    widths: Widths, constraints: SizeConstraints, kept: Mapping[Width, Indices], new: Mapping[Width, int]
) -> None:
    """Check that the network's code allows a decision.

    Raises:
        EditError: It does not.
    """
    wrong = objection(widths, constraints, kept, new)
    if wrong:
        raise EditError(f"that cannot be done: {wrong}")


def starts_of(graph: Graph, change: Change, key: str, wanted: Rearrangement) -> Iterator[Start]:
    """The starts of the new neurons in every tensor of numbers that lies along their width."""
    done = set[tuple[int, int]]()
    for name, axes in change.tensors.items():
        stub = graph.state[name]
        for dim, axis in enumerate(axes):
            if _names(axis, key) and stub.dtype.is_floating_point and (stub.id, dim) not in done:
                done.add((stub.id, dim))
                chosen = np.zeros(wanted.new, np.int64) if wanted.chosen is None else wanted.chosen
                yield Start(name, dim, key, tuple(wanted.sums), chosen)


def _names(axis: Any, key: str) -> bool:
    return any(
        factor == key or (isinstance(factor, list) and _names(factor, key))
        for term in axis
        for factor in term
    )
