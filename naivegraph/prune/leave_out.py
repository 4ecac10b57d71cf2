"""Branches left out of a network together with the change of its sizes, as one edit."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from naivegraph.costs import Costs
from naivegraph.edits import Change, Edit
from naivegraph.edits.structure.transaction import rewire
from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph.run.state_users import state_users
from naivegraph.ir.recording import Recording
from naivegraph.network import Graph
from naivegraph.prune.branches import Branch
from naivegraph.prune.captured import Captured
from naivegraph.prune.leave_out_in_class import Check, InClassEdit, NotInClass, steps_without
from naivegraph.widths import SizeConstraints, relate

__all__ = ["leave_out", "trial_without", "without_gone"]


def without_gone(change: Change, graph: Recording, gone: frozenset[str]) -> Change:
    """A change of sizes without what leaves the graph with these vertices."""
    users = state_users(graph)
    layers = {v.path for v in graph.vertices if v.name in gone and isinstance(v.target, nn.Module)}
    layers -= {v.path for v in graph.vertices if v.name not in gone}

    def stays(name: str) -> bool:
        """Tell whether a parameter or buffer stays."""
        return not users.get(name) or not users[name] <= gone

    return dataclasses.replace(
        change,
        tensors={name: axes for name, axes in change.tensors.items() if stays(name)},
        attributes=[each for each in change.attributes if each.path not in layers],
        scalings=tuple(each for each in change.scalings if stays(each.tensor)),
    )


def trial_without(found: Captured, branches: Sequence[Branch], change: Change) -> Edit:
    """Leave branches out of a copy of a network that is to be timed, as `leave_out` does.

    Layers that do nothing stay in their lists: that takes no time.
    """
    gone = frozenset(name for branch in branches for name in branch.vertices)
    widths = relate(found.graph)
    after = {each.name: each.after for each in change.widths.values()}
    sizes = {width.atom: after.get(width.name, width.size) for width in widths}
    costs = Costs.of(widths, lambda atom: sizes.get(atom, atom.length), gone=gone)
    return leave_out(
        found, branches, change, optimizer=None, after=costs, check=lambda graph, seen: None, refit=None,
        asked={}, notes=(), certificate=None, sizes=None, latency=None,
    )  # fmt: skip


def leave_out(
    found: Captured,
    branches: Sequence[Branch],
    change: Change,
    *,
    optimizer: Any,
    after: Costs,
    check: Check,
    refit: Callable[[Change], Any] | None,
    asked: dict[str, Any],
    notes: tuple[str, ...],
    constraints: SizeConstraints | None = None,
    said: bool = False,
    **options: Any,
) -> Edit:
    """Leave branches out and change sizes, all of it or nothing.

    Of a network, modules of its own class are changed, if its forward then does what the graph without the
    branches does. Layers of which nothing is left leave their list, if the network's config can say that.
    Where the forward does something else, and of a graph, the graph is changed.

    Args:
        found: The network and its graph.
        branches: The branches.
        change: The change of sizes, without those of tensors that go.
        optimizer: The optimizers and averaged models that follow.
        after: The costs afterwards.
        check: Compares the network's forward with the graph.
        refit: Refits weights after a change.
        asked: The request.
        notes: Sentences for the reader.
        constraints: The constraints of the network's code, by which the config follows; None to leave it.
        said: Whether the network's config has to say all of it.
        options: More for the edit.

    Raises:
        EditError: The network does not run without them, or its config cannot say that it is without; it is
            as it was.
    """
    graph, names = found.graph, tuple(branch.name for branch in branches)
    more = {**options, "asked": asked, "dropped": names}
    told = InClassEdit(found, branches, change, optimizer, after, check, refit, constraints)
    if not isinstance(found.edited, Graph):
        try:
            return told.made(notes, more, said=said)
        except (NotInClass, NaivegraphError) as error:
            if said:
                raise EditError(f"uniform=True: the network's config cannot say it: {error}") from error
            why = str(error)
        notes = (*notes, f"The branches are left out of the graph alone: {why}.")
    else:
        notes = (*notes, "The branches are left out of the graph.")
    structural = dataclasses.replace(change, structure={"verb": "leave out", "branches": ", ".join(names)})
    return rewire(
        graph, structural, steps_without(graph, branches), asked=asked, certificate=options["certificate"],
        optimizer=optimizer, sizes=options["sizes"], notes=notes, dropped=names, latency=options["latency"],
        refit=None if refit is None else functools.partial(refit, structural),
        costs=(options["before"], after) if "before" in options else None,
    )  # fmt: skip
