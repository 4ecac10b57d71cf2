"""Application of a change of sizes to tensors, attributes and optimizers: all of it or nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from torch import nn

from naivegraph.edits.apply.attribute_settings import attribute_settings
from naivegraph.edits.apply.bypass_modules import bypass_modules
from naivegraph.edits.apply.close_gaps import close_gaps, take_out
from naivegraph.edits.apply.give import give
from naivegraph.edits.apply.optimizer_state import NewState, new_states, split_averages
from naivegraph.edits.apply.resize_tensors import NewTensor, new_tensors
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.closing import Closing
from naivegraph.graph.export.history import HistoryNote, note_edit, note_parts
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = ["ChangedModule", "change_module"]


@dataclasses.dataclass(frozen=True)
class ChangedModule:
    """A network whose sizes were changed.

    Attributes:
        network: The network.
        note: The edit in its history.
        tensors: The tensors that were replaced, with the origin of each entry.
        states: The states of optimizers that were replaced.
        averages: The averages of the network, changed with it.
        closing: What closes the gaps that whole layers leave, if some do.
    """

    network: nn.Module
    note: HistoryNote
    tensors: list[NewTensor]
    states: list[NewState]
    averages: list[ChangedModule]
    closing: Closing | None = None

    def close(self, undo: UndoLog) -> None:
        """Close the gaps that whole layers left, in averages, too.

        Args:
            undo: The log that puts everything back.

        Raises:
            EditError: The network is not the one that the change was made for.
        """
        if self.closing is not None:
            close_gaps(self.closing, self.network, undo)
            for average in self.averages:
                average.close(undo)


@uncollected()
def change_module(
    change: Change,
    module: nn.Module,
    optimizers: Iterable[Any],
    undo: UndoLog,
    group: list[HistoryNote] | None = None,
    *,
    close: bool = True,
) -> ChangedModule:
    """Apply a change of sizes and attributes in place, and add it to the network's history.

    Parameters stay the same objects; their data is replaced. Everything is computed before the first tensor
    is changed, and if anything fails after that, all is restored.

    Args:
        change: The change.
        module: The network it was made for, or a fresh copy of that.
        optimizers: Optimizers of its parameters, and averaged models of it, which are resized too.
        undo: The log that restores all of it, bit for bit.
        group: The notes of the edit in the histories of other networks.
        close: Whether to close the gaps that whole layers leave, too; else `ChangedModule.close` does that.

    Raises:
        EditError: The module is not the one the change was made for, or an optimizer cannot follow.
    """
    averages, others = split_averages(optimizers)
    made = new_tensors(change, module)
    settings = attribute_settings([*change.attributes, *change.labels], Modules(module), change.widths)
    states = new_states(made, others, module)
    with all_or_nothing(undo):
        for state in states:
            undo.push(state.way_back())
            state.apply()
        for new in made:
            undo.push(functools.partial(give, new.tensor, new.before, new.tensor.grad))
            give(new.tensor, new.data, new.grad)
        for owner, name, value in settings:
            undo.keep_entry(vars(owner), name)
            vars(owner)[name] = value
        if change.modules or change.closing is not None:
            note_parts(module, undo)
            bypass_modules(module, change.modules, undo)
        if change.closing is not None:
            take_out(change.closing, module, undo)
        changed = [name.rpartition(".")[0] for name in change.tensors]
        changed += [attribute.path for attribute in change.attributes]
        changed += [labels.path for labels in change.labels]
        changed += [each.path.rpartition(".")[0] for each in change.modules]
        changed += [] if change.closing is None else [g.path for g in change.closing.lists if not g.name]
        note = note_edit(module, change.to_json, undo, _label(change), group, changed)
        followed = [change_module(change, average, (), undo, note.group, close=False) for average in averages]
        changed_module = ChangedModule(module, note, made, states, followed, change.closing)
        if close:
            changed_module.close(undo)
    return changed_module


def _label(change: Change) -> str:
    """The change in a few words, for messages."""
    sizes = ", ".join(f"{w.name} {w.before} -> {w.after}" for w in list(change.widths.values())[:3])
    more = len(change.widths) - 3
    lists = () if change.closing is None else change.closing.lists[:3]
    told = [*([change.structure["verb"]] if change.structure else []), *([sizes] if sizes else [])]
    told += [f"left out of {each.path}" for each in change.modules[:3]]
    told += [f"layers left out of {each.path}" for each in lists if not each.name]
    told += [f"refit of {len(change.refitted)} tensors"] if change.refitted else []
    return ", ".join([*told, *([f"and {more} more widths"] if more > 0 else [])])
