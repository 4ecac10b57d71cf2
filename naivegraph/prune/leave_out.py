"""Branches left out of a network together with the change of its sizes, as one edit."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from naivegraph.costs import Costs
from naivegraph.edits import Change, Edit
from naivegraph.edits.apply.apply import apply, checkpoint_of
from naivegraph.edits.apply.optimizer_state import as_optimizers
from naivegraph.edits.config.sync_config import config_name
from naivegraph.edits.plan.module_change import ModuleChange
from naivegraph.edits.structure.bypass import summand_gone
from naivegraph.edits.structure.optimizer_params import Following
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.transaction import rewire
from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph.run.liveness import idle
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.run.state_users import state_users
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.prune.branches import Branch
from naivegraph.prune.captured import Captured
from naivegraph.prune.in_class import InClass, call_forms
from naivegraph.undo import UndoLog, all_or_nothing
from naivegraph.widths import relate

__all__ = ["leave_out", "of_config", "trial_without", "without_gone"]

Steps = Sequence[Callable[[Rewiring], None]]


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


def of_config(module: nn.Module) -> tuple[str, ...]:
    """A note on the config that a network was built from, which has no number for single branches."""
    name = config_name(module)
    if name is None:
        return ()
    return (
        f"the network's {name} cannot describe it any more (branches were left out): "
        "use ng.save and ng.load rather than save_pretrained or the like",
    )


def trial_without(found: Captured, branches: Sequence[Branch], change: Change) -> Edit:
    """Leave branches out of a copy of a network that is to be timed, as `leave_out` does."""
    gone = frozenset(name for branch in branches for name in branch.vertices)
    widths = relate(found.graph)
    after = {each.name: each.after for each in change.widths.values()}
    sizes = {width.atom: after.get(width.name, width.size) for width in widths}
    costs = Costs.of(widths, lambda atom: sizes.get(atom, atom.length), gone=gone)
    return leave_out(
        found, branches, change, optimizer=None, after=costs, check=lambda: None, refit=None, asked={},
        notes=(), certificate=None, sizes=None, latency=None,
    )  # fmt: skip


def leave_out(
    found: Captured,
    branches: Sequence[Branch],
    change: Change,
    *,
    optimizer: Any,
    after: Costs,
    check: Callable[[], None],
    refit: Callable[[Change], Any] | None,
    asked: dict[str, Any],
    notes: tuple[str, ...],
    **options: Any,
) -> Edit:
    """Leave branches out and change sizes, all of it or nothing.

    Of a network, modules of its own class are changed, if its forward then does what the graph without the
    branches does. Where it does not, and of a graph, the graph is changed.

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
        options: More for the edit.

    Raises:
        EditError: The network does not run without them; it is as it was.
    """
    graph, names = found.graph, tuple(branch.name for branch in branches)
    steps = [
        functools.partial(summand_gone, user=graph[branch.total], stub=_summand(graph, branch))
        for branch in branches
    ]
    more = {**options, "asked": asked, "dropped": names}
    if not isinstance(found.edited, Graph):
        try:
            return _in_class(found, branches, change, steps, optimizer, after, check, refit, notes, more)
        except (_NotInClass, NaivegraphError) as error:
            why = str(error)
        notes = (*notes, f"The branches are left out of the graph alone: {why}.")
    else:
        notes = (*notes, "The branches are left out of the graph.")
    structural = dataclasses.replace(change, structure={"verb": "leave out", "branches": ", ".join(names)})
    return rewire(
        graph, structural, steps, asked=asked, certificate=options["certificate"], optimizer=optimizer,
        sizes=options["sizes"], notes=notes, dropped=names, latency=options["latency"],
        refit=None if refit is None else functools.partial(refit, structural),
    )  # fmt: skip


class _NotInClass(Exception):
    """The network's own class cannot do without the branches."""


def _in_class(
    found: Captured,
    branches: Sequence[Branch],
    change: Change,
    steps: Steps,
    optimizer: Any,
    after: Costs,
    check: Callable[[], None],
    refit: Callable[[Change], Any] | None,
    notes: tuple[str, ...],
    options: dict[str, Any],
) -> Edit:
    """Leave branches out by changing modules of the network.

    Raises:
        _NotInClass: No modules can be changed so that the forward does what the graph does.
    """
    graph, network = found.graph, found.graph.module
    try:
        forms = call_forms(network, found.args, found.kwargs)
    except Exception as error:
        raise _NotInClass(f"the network's own forward does not run ({error})") from error
    search = InClass(graph, branches, forms)
    followers = as_optimizers(optimizer)
    follow = Following(network, followers, averages=False)  # these change as the network does
    with all_or_nothing() as log:
        _without(graph, steps, log)
        modules = search.changes(graph)
        if modules is None:
            raise _NotInClass("its code does more around them than pass a tensor on")
        change = _within(dataclasses.replace(change, modules=modules), network)
        checkpoint = checkpoint_of(network, change, followers)

        def checked() -> None:
            """Let optimizers follow, and compare the network with its graph."""
            follow.go(log)
            count = sum(parameter.numel() for parameter in network.parameters())
            if count != after["params"]:
                raise EditError(f"its code holds {count - after['params']} parameters of them")
            check()

        return apply(
            change, network, optimizer=followers, after=after, check=checked, undo=log, notes=notes,
            checkpoint=checkpoint, refit=None if refit is None else functools.partial(refit, change),
            **options,
        )  # fmt: skip


def _summand(graph: Graph, branch: Branch) -> Stub:
    stub: Stub = graph[branch.total].args[branch.place]
    return stub


def _without(graph: Graph, steps: Steps, log: UndoLog) -> None:
    """Change a graph, and leave its module with all the layers it had."""
    kinds = ("_modules", "_parameters", "_buffers")
    held = [(vars(m)[kind], dict(vars(m)[kind])) for _, m in modules_of(graph.module) for kind in kinds]
    log.push(snapshot(graph))
    idle_before = idle(graph)
    rewiring = Rewiring(graph, log)
    for step in steps:
        step(rewiring)
    rewiring.remove_idle(idle_before)
    for mapping, entries in held:
        if list(mapping) != list(entries):
            mapping.clear()
            mapping.update(entries)


def _within(change: Change, network: nn.Module) -> Change:
    """A change without the attributes of modules that go."""
    kept = [_kept(each) for each in change.modules]
    paths = [each.path for each in change.modules]

    def stays(path: str) -> bool:
        """Tell whether the module at a path stays."""
        for top, inside in zip(paths, kept, strict=True):
            if path == top or path.startswith(f"{top}."):
                return any(path == each or path.startswith(f"{each}.") for each in inside)
        return True

    return dataclasses.replace(change, attributes=[each for each in change.attributes if stays(each.path)])


def _kept(change: ModuleChange) -> list[str]:
    return [f"{change.path}.{name}" for kind, name in change.calls if kind == "layer"]
