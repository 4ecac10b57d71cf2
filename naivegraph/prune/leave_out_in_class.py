"""Branches left out of a network in its own class, whose modules, lists of layers and config follow."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from naivegraph.costs import Costs
from naivegraph.edits import Change, Edit
from naivegraph.edits.apply.apply import apply, checkpoint_of
from naivegraph.edits.apply.optimizer_state import as_optimizers
from naivegraph.edits.config.sync_config import config_name, with_config
from naivegraph.edits.plan.module_change import ModuleChange
from naivegraph.edits.structure.bypass import bypass, summand_gone
from naivegraph.edits.structure.optimizer_params import Following
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.errors import EditError, NaivegraphError
from naivegraph.graph.run.caches import cached, gone_with
from naivegraph.graph.run.liveness import idle
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.graph.verify.continued import Continuation
from naivegraph.graph.verify.verify import difference
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.prune.branches import Branch
from naivegraph.prune.captured import Captured
from naivegraph.prune.in_class import InClass, call_forms
from naivegraph.prune.layer_gaps import (
    OwnRun,
    config_layers,
    fewer_layers,
    marked,
    moved_up,
    whole_layers,
)
from naivegraph.undo import UndoLog, all_or_nothing
from naivegraph.widths import SizeConstraints

__all__ = ["Check", "InClassEdit", "NotInClass", "steps_without"]

Steps = Sequence[Callable[[Rewiring], None]]
# A comparison of the network's forward with a graph, of outputs as a function leaves them.
Check = Callable[[Recording, Callable[[Any], Any]], None]


class NotInClass(Exception):
    """The network's own class cannot do without the branches."""


def steps_without(graph: Graph, branches: Sequence[Branch]) -> Steps:
    """The steps that leave branches out of a graph, and what they made out of its caches."""
    place = {vertex.name: number for number, vertex in enumerate(graph.vertices)}
    layers = [(branch, branch.entry) for branch in branches if branch.entry is not None]
    # The last first: what one takes is what the one before gives.
    steps: list[Callable[[Rewiring], None]] = [
        functools.partial(bypass, gone=graph[layer.total], other=entry)
        for layer, entry in sorted(layers, key=lambda pair: -place[pair[0].total])
    ]
    steps += [
        functools.partial(summand_gone, user=graph[branch.total], stub=_summand(graph, branch))
        for branch in branches
        if branch.entry is None
    ]
    vertices = [graph[name] for branch in branches for name in branch.vertices]
    made = {stub.id for vertex in vertices for stub in stubs_in(vertex.output)}
    gone = gone_with(graph, cached(graph) & made)
    lost = list({stub.id: stub for stub in stubs_in(graph.output) if stub.id in gone}.values())
    return [*steps, functools.partial(Rewiring.forget, stubs=lost)] if lost else steps


def _summand(graph: Graph, branch: Branch) -> Stub:
    stub: Stub = graph[branch.total].args[branch.place]
    return stub


@dataclasses.dataclass(frozen=True)
class _Way:
    """A way to leave branches out: whether layers leave their lists, and others get their numbers."""

    close: bool
    move_up: bool = False


class InClassEdit:
    """Branches to be left out by changing modules of the network; arguments as of `leave_out`."""

    def __init__(
        self,
        found: Captured,
        branches: Sequence[Branch],
        change: Change,
        optimizer: Any,
        after: Costs,
        check: Check,
        refit: Callable[[Change], Any] | None,
        constraints: SizeConstraints | None,
    ) -> None:
        self._found, self._branches, self._change = found, branches, change
        self._followers, self._after, self._check = as_optimizers(optimizer), after, check
        self._refit, self._constraints = refit, constraints
        self._graph, self._network = found.graph, found.graph.module

    def made(self, notes: tuple[str, ...], options: dict[str, Any], *, said: bool) -> Edit:
        """Make the edit in the first way that does what the graph does.

        Args:
            notes: Sentences for the reader.
            options: More for the edit.
            said: Whether the network's config has to say it.

        Raises:
            NotInClass: There is no such way.
            EditError: Nor is there, and the network is as it was.
        """
        try:
            self._forms = call_forms(self._network, self._found.args, self._found.kwargs)
        except Exception as error:
            raise NotInClass(f"the network's own forward does not run ({error})") from error
        self._own = OwnRun(self._found)
        self._goes_on = Continuation.of(self._graph, self._found.args, self._found.kwargs)
        reason = ""
        for way in self._ways():
            try:
                return self._in(way, notes, options, reason, said)
            except (NotInClass, NaivegraphError) as error:
                reason = reason or str(error)
                if said:
                    break
        raise NotInClass(reason)

    def _ways(self) -> Iterator[_Way]:
        closes = self._constraints is not None and config_name(self._network) is not None
        for close in [True, False] if closes else [False]:
            yield _Way(close)
            if self._goes_on is not None:
                yield _Way(close, move_up=True)

    def _in(
        self, way: _Way, notes: tuple[str, ...], options: dict[str, Any], reason: str, said: bool
    ) -> Edit:
        search = InClass(self._graph, self._branches, self._forms)
        follow = Following(self._network, self._followers, averages=False)  # these change as the network does
        with all_or_nothing() as log:
            self._without(log)
            modules = search.changes(self._graph)
            if modules is None:
                raise NotInClass("its code does more around them than pass a tensor on")
            change, told = self._planned(way, modules, reason)
            if said and told:
                raise NotInClass(told)
            change = within(change, self._network)
            checkpoint = checkpoint_of(self._network, change, self._followers)
            refit = None if self._refit is None else functools.partial(self._refitted, change)
            return apply(
                change, self._network, optimizer=self._followers, after=self._after, undo=log,
                check=functools.partial(self._checked, follow, change, log), checkpoint=checkpoint,
                notes=(*notes, *self._note(told)), refit=refit, closed=self._closed, **options,
            )  # fmt: skip

    # What changes

    def _planned(self, way: _Way, modules: Sequence[ModuleChange], reason: str) -> tuple[Change, str]:
        """The change, and the reason why the network's config cannot say it."""
        gone = whole_layers(self._network, modules)
        closing, told, change = None, reason, self._change
        if way.close and gone and self._constraints is not None:
            fewer, told = fewer_layers(config_layers(self._found), gone)
            if fewer is not None:
                closing = fewer.closing
                change, config_notes = with_config(change, self._constraints, fewer)
                told = told or _inside(config_notes)
        if closing is not None:
            modules = [each for each in modules if closing.after(each.path) is not None]
        if modules:
            told = told or "branches were left out that are no whole layers"
        if way.move_up:
            closing = moved_up(self._network, closing, modules)
            if closing is None:
                raise NotInClass(reason or "its layers know no numbers that could follow")
        modules = marked(self._network, modules)
        return dataclasses.replace(change, modules=tuple(modules), closing=closing), told

    def _note(self, told: str) -> tuple[str, ...]:
        name = config_name(self._network)
        if name is None or not told:
            return ()
        return (
            f"the network's {name} cannot describe it any more ({told}): use ng.save and ng.load, or "
            "naivegraph.hf for networks of transformers, rather than save_pretrained or the like",
        )

    def _without(self, log: UndoLog) -> None:
        """Change the graph, and leave its module with all the layers it had."""
        graph = self._graph
        kinds = ("_modules", "_parameters", "_buffers")
        held = [(vars(m)[kind], dict(vars(m)[kind])) for _, m in modules_of(graph.module) for kind in kinds]
        steps = steps_without(graph, self._branches)
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

    # Checks

    def _checked(self, follow: Following, change: Change, log: UndoLog) -> None:
        """Let optimizers follow, and compare the network with its graph."""
        follow.go(log)
        count = sum(parameter.numel() for parameter in self._network.parameters())
        if count != self._after["params"]:
            raise EditError(f"its code holds {count - self._after['params']} parameters of them")
        seen = copy.copy(self._graph)
        seen.output = self._plain_output
        self._check(seen, self._own.seen)
        if change.closing is None:
            self._check_caches()
        elif self._refit is None:
            self._expected = self._own()

    @property
    def _plain_output(self) -> Any:
        """The output of the graph without caches."""
        return self._own.seen(self._graph.output)

    def _refitted(self, change: Change) -> Any:
        assert self._refit is not None
        report = self._refit(change)
        if change.closing is not None:
            self._expected = self._own()
        return report

    def _closed(self) -> None:
        """Check that the network gives what it gave before the gaps were closed."""
        told = difference(self._expected, self._own())
        if told:
            raise EditError(
                f"once the layers after them have their numbers, it {told.removeprefix('differs: ')}"
            )
        self._check_caches()

    def _check_caches(self) -> None:
        if self._goes_on is not None and not self._goes_on.holds():
            raise EditError("from its cache the network would not go on as it does without one")


def _inside(notes: tuple[str, ...]) -> str:
    """The reason in a note of `with_config`."""
    return notes[0].partition("(")[2].rpartition("): ")[0] or notes[0] if notes else ""


def within(change: Change, network: nn.Module) -> Change:
    """A change without the attributes of modules that go."""
    kept = [[f"{each.path}.{path}" for path in each.kept] for each in change.modules]
    paths = [each.path for each in change.modules]

    def stays(path: str) -> bool:
        """Tell whether the module at a path stays."""
        if change.closing is not None and change.closing.after(path) is None:
            return False
        for top, inside in zip(paths, kept, strict=True):
            if path == top or path.startswith(f"{top}."):
                return any(path == each or path.startswith(f"{each}.") for each in inside)
        return True

    attributes = [each for each in change.attributes if stays(each.path)]
    if change.closing is None:
        return dataclasses.replace(change, attributes=attributes)
    closing = dataclasses.replace(
        change.closing,
        attributes=tuple(each for each in change.closing.attributes if stays(each.path)),
        lists=tuple(each for each in change.closing.lists if stays(each.path)),
    )
    return dataclasses.replace(change, attributes=attributes, closing=closing)
