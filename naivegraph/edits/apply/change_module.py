"""Application of a change of sizes to tensors, attributes and optimizers: all of it or nothing."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import nn

from naivegraph.edits.apply.bypass_modules import bypass_modules
from naivegraph.edits.apply.give import give
from naivegraph.edits.apply.optimizer_state import NewState, new_states, split_averages
from naivegraph.edits.apply.resize_tensors import NewTensor, new_tensors
from naivegraph.edits.plan.change import AttributeChange, Change
from naivegraph.edits.plan.labels import Labels, relabelled
from naivegraph.errors import EditError
from naivegraph.graph.export.history import HistoryNote, note_edit, note_parts
from naivegraph.graph.run.interpreter import field_of
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.module_paths import Modules
from naivegraph.ir.pytree import with_fields
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = ["ChangedModule", "change_module", "replaced"]


@dataclasses.dataclass(frozen=True)
class ChangedModule:
    """A network whose sizes were changed.

    Attributes:
        network: The network.
        note: The edit in its history.
        tensors: The tensors that were replaced, with the origin of each entry.
        states: The states of optimizers that were replaced.
        averages: The averages of the network, changed with it.
    """

    network: nn.Module
    note: HistoryNote
    tensors: list[NewTensor]
    states: list[NewState]
    averages: list[ChangedModule]


@uncollected()
def change_module(
    change: Change,
    module: nn.Module,
    optimizers: Iterable[Any],
    undo: UndoLog,
    group: list[HistoryNote] | None = None,
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

    Raises:
        EditError: The module is not the one the change was made for, or an optimizer cannot follow.
    """
    averages, others = split_averages(optimizers)
    made = new_tensors(change, module)
    settings = _attribute_settings(change, module)
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
        if change.modules:
            note_parts(module, undo)
            bypass_modules(module, change.modules, undo)
        changed = [name.rpartition(".")[0] for name in change.tensors]
        changed += [attribute.path for attribute in change.attributes]
        changed += [labels.path for labels in change.labels]
        changed += [each.path.rpartition(".")[0] for each in change.modules]
        note = note_edit(module, change.to_json, undo, _label(change), group, changed)
        followed = [change_module(change, average, (), undo, note.group) for average in averages]
    return ChangedModule(module, note, made, states, followed)


def _label(change: Change) -> str:
    """The change in a few words, for messages."""
    sizes = ", ".join(f"{w.name} {w.before} -> {w.after}" for w in list(change.widths.values())[:3])
    more = len(change.widths) - 3
    told = [*([change.structure["verb"]] if change.structure else []), *([sizes] if sizes else [])]
    told += [f"left out of {each.path}" for each in change.modules[:3]]
    told += [f"refit of {len(change.refitted)} tensors"] if change.refitted else []
    return ", ".join([*told, *([f"and {more} more widths"] if more > 0 else [])])


def _attribute_settings(change: Change, module: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """The new values of attributes; containers are copied, never changed, as others may share them.

    Modules that shared a container, with the same changes in it, share the copy.
    """
    by_attribute: dict[tuple[str, str], list[AttributeChange | Labels]] = {}
    every: list[AttributeChange | Labels] = [*change.attributes, *change.labels]
    for a in every:
        by_attribute.setdefault((a.path, a.name), []).append(a)
    made: dict[Any, Any] = {}
    modules, out = Modules(module), []
    for (path, name), changes in by_attribute.items():
        try:
            owner = modules[path]
            value = _present(owner, name)
            key = (id(value), frozenset(_without_place(a) for a in changes))
            if key not in made:
                made[key] = value
                for a in changes:
                    made[key] = replaced(made[key], a.keys, functools.partial(_changed, change, a))
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise EditError(
                f"the network has no attribute to change as in {changes[0]} ({error!r})"
            ) from error
        out.append((owner, name, made[key]))
    return out


def _present(owner: nn.Module, name: str) -> Any:
    """The value of an attribute of a module, or of its class; a change is set on the module alone."""
    if name not in vars(owner) and callable(getattr(type(owner), name, None)):
        raise AttributeError(f"no attribute {name!r}")
    return vars(owner)[name] if name in vars(owner) else getattr(type(owner), name)


def _without_place(a: AttributeChange | Labels) -> Any:
    return (a.keys, a.width, a.new) if isinstance(a, Labels) else (a.keys, a.before, a.after)


def _changed(change: Change, a: AttributeChange | Labels, value: Any) -> Any:
    if isinstance(a, Labels):
        return relabelled(value, change.widths[a.width], a.new)
    if value != a.before:
        raise EditError(f"the edit was made for a network with another value than {value!r}: {a}")
    return type(value)(a.after) if isinstance(value, np.integer) else a.after


def replaced(value: Any, keys: tuple[int | str, ...], change: Callable[[Any], Any]) -> Any:
    """A copy of `value` with `change` applied to the item at these indices and fields."""
    if not keys:
        return change(value)
    key, rest = keys[0], keys[1:]
    if isinstance(value, dict):
        return with_fields(value, {key: replaced(value[key], rest, change)})
    if isinstance(key, int):
        items = list(value)
        items[key] = replaced(items[key], rest, change)
        if hasattr(value, "_make"):
            return value._make(items)
        return type(value)(items)
    out = copy.copy(value)
    # Written past any __setattr__, which may be frozen or write through to shared state.
    object.__setattr__(out, key, replaced(field_of(value, key), rest, change))
    return out
