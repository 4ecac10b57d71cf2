"""History of a network, kept in the module itself: its edits, and the graphs it was exported from."""

from __future__ import annotations

import dataclasses
import functools
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import fx, nn

from naivegraph.graph.export.history_text import shared_text, whole_text
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.undo import UndoLog

__all__ = [
    "HistoryNote",
    "Origin",
    "forget_history",
    "history_of",
    "later_edits",
    "note_edit",
    "note_origins",
    "note_parts",
    "origins_of",
]

# Where a module has its history: its own edits; those which changed it as a layer, of whatever network, with
# its path there; and what had happened to its parts before its own last edit: some may be gone since.
_EDITS = "_naivegraph_edits"
_CHANGES = "_naivegraph_changes"
_EARLIER = "_naivegraph_earlier"
_ORIGINS = "_naivegraph_origins"


@dataclasses.dataclass(frozen=True)
class Origin:
    """A graph that a network was exported from.

    Attributes:
        edits: The edits of its module, as JSON, oldest first.
        network: The class of its module.
        written: Whether it was written by hand, not captured.
        example: Its inputs, by name.
        constants: Arguments of the forward that are no tensors, by name.
        outputs: The names of the vertices whose values it returns as a dict, by key; None if it returns what
            the graph does.
    """

    edits: tuple[str, ...]
    network: str
    written: bool
    example: dict[str, Any]
    constants: dict[str, Any]
    outputs: dict[str, str] | None = None


def _notes(module: nn.Module) -> dict[str, Any]:
    """The dict of a module that holds its history."""
    # Of all that was set on a GraphModule, its copies keep `meta` alone.
    return module.meta if isinstance(module, fx.GraphModule) else vars(module)


class HistoryNote:
    """An edit in the history of a network, whose text is made when it is asked for.

    Copied or pickled with its network it becomes its number and the text, as a copy has its own history from
    then on.

    Args:
        text: The function that returns the JSON of the edit.
        label: The edit in a few words.
        network: The network.
        group: The notes that the same edit made of other networks (its averages), to which this is added.
        changed: The modules that the edit changed.

    Attributes:
        copied: Whether it was copied or pickled.
        label: The edit in a few words.
        number: Its place among all edits, of other processes, too.
    """

    def __init__(
        self,
        text: Callable[[], str],
        label: str,
        network: nn.Module,
        group: list[HistoryNote] | None = None,
        changed: Iterable[nn.Module] = (),
    ) -> None:
        self._text = text
        self.copied = False
        self.label = label
        modules = [module for _, module in modules_of(network)]
        self.number = _new_number(modules)
        parameters = {id(p): p for module in modules for p in module._parameters.values() if p is not None}
        self._members = [weakref.ref(each) for each in (*modules, *parameters.values())]
        # An activation that networks have in common ties nothing of one to the other.
        bare = {id(each) for each in modules if not any(map(_has_tensors, each.modules()))}
        self._free = bare - set(map(id, changed))
        self.group = [] if group is None else group
        self.group.append(self)

    def __str__(self) -> str:
        return self._text()

    def __reduce__(self) -> tuple[type[tuple[Any, ...]], tuple[tuple[int, str]]]:
        self.copied = True
        return tuple, ((self.number, str(self)),)

    def living(self) -> dict[int, Any]:
        """The modules and parameters of the network at that time which still exist, by id."""
        return {id(each): each for each in (ref() for ref in self._members) if each is not None}

    def tying(self) -> dict[int, Any]:
        """Those of `living` that tie the edit to other networks: what it changed, and what has tensors."""
        return {key: each for key, each in self.living().items() if key not in self._free}


def _has_tensors(module: nn.Module) -> bool:
    tensors = (*module._parameters.values(), *module._buffers.values())
    return any(tensor is not None for tensor in tensors)


# A note, or of a copy the number and the text.
_Note = HistoryNote | tuple[int, str]
# The place of an edit in a network: the path of the part that was edited; or of an edit of another network
# the paths of common modules there, with their paths here.
_Place = str | dict[str, str]

_LAST = 0
_DONE: list[HistoryNote] = []  # all edits of the process that were not undone, oldest first
_FEW = 256


def _new_number(modules: Iterable[nn.Module]) -> int:
    """The time, or if clocks differ something after all that happened to the modules."""
    global _LAST
    known = [notes[-1] for m in modules if (notes := _notes(m).get(_EDITS))]
    known += [changes[-1][0] for m in modules if (changes := _notes(m).get(_CHANGES))]
    _LAST = max(time.time_ns(), _LAST + 1, *(_number(note) + 1 for note in known))
    return _LAST


def _number(note: _Note) -> int:
    return note.number if isinstance(note, HistoryNote) else note[0]


def later_edits(note: HistoryNote) -> list[HistoryNote]:
    """The edits that have to be undone before one, in that order: the last one first.

    They are the later ones of a network that has a module or parameter in common with this one (itself, a
    part of it, one that it is a part of or shares a part with), or with another of them. Modules without
    tensors, such as activations, count where an edit changed them.
    """
    union = {key: each for member in note.group for key, each in member.living().items()}
    found: list[HistoryNote] = []
    for other in _DONE:
        if other.number <= note.number or any(other is member for member in note.group):
            continue
        if any(union.get(key) is each for key, each in other.tying().items()):
            union.update(other.living())
            found.append(other)
    heads = {each.group[0].number: each.group[0] for each in found}  # an edit and its averages once
    return [heads[number] for number in sorted(heads, reverse=True)]


def history_of(module: nn.Module) -> list[str]:
    """The edits made on a module so far, as JSON, oldest first; those of its parts are told by its names.

    So are those of other networks with which it has a part in common, as far as they changed that part.
    """
    out: list[str] = []
    for note, place in _found(module):
        text = str(note) if isinstance(note, HistoryNote) else note[1]
        told = whole_text(text, place) if isinstance(place, str) and place else text
        shared = shared_text(text, place) if isinstance(place, dict) else told
        if shared is not None:
            out.append(shared)
    return out


def _found(root: nn.Module) -> list[tuple[_Note, _Place]]:
    """The edits of a network, of its parts, and of others that changed these, in order, with their places."""
    edits: dict[int, tuple[_Note, str]] = {}
    others: dict[int, tuple[_Note, dict[str, str]]] = {}
    for path, module in modules_of(root):
        notes, prefix = _notes(module), f"{path}." if path else ""
        edits.update({_number(note): (note, path) for note in notes.get(_EDITS, ())})
        changes = [(note, {there: ""}) for note, there in notes.get(_CHANGES, ())]
        for note, place in (*notes.get(_EARLIER, ()), *changes):
            if isinstance(place, str):
                edits.setdefault(_number(note), (note, f"{prefix}{place}".removesuffix(".")))
            else:
                here = {there: f"{prefix}{inner}".removesuffix(".") for there, inner in place.items()}
                others.setdefault(_number(note), (note, {}))[1].update(here)
    # The paths of parts that were edited by themselves were others if layers before them have left since.
    for path, module in reversed(modules_of(root)):
        for note, place in _notes(module).get(_EARLIER, ()):
            if isinstance(place, str):
                edits[_number(note)] = (note, ".".join(filter(None, (path, place))))
    found: dict[int, tuple[_Note, _Place]] = {**others, **edits}
    return [found[number] for number in sorted(found)]


def note_edit(
    module: nn.Module,
    text: Callable[[], str],
    undo: UndoLog,
    label: str = "",
    group: list[HistoryNote] | None = None,
    changed: Iterable[str] = (),
) -> HistoryNote:
    """Add an edit to the history of a module, and to those of the layers in it that it changed.

    Args:
        module: The network.
        text: The function that returns the JSON of the edit.
        undo: The log that removes the edit from the history again.
        label: The edit in a few words.
        group: The notes that the same edit made of other networks.
        changed: The paths of the layers.
    """
    modules = dict(modules_of(module, every_path=True))
    touched = [modules[path] for path in sorted(set(changed))]
    note = HistoryNote(text, f"{type(module).__name__}: {label}", module, group, touched)
    notes = _notes(module)
    note_parts(module, undo)
    undo.push(functools.partial(_forget, note))
    _DONE.append(note)
    _add(notes, _EDITS, note, undo)
    for path in sorted(set(changed)):
        _add(_notes(modules[path]), _CHANGES, (note, path), undo)
    _drop_dead()
    return note


def note_parts(module: nn.Module, undo: UndoLog) -> None:
    """Write down in a module what has happened to its parts so far, as some may leave it."""
    earlier = [(each, place) for each, place in _found(module) if place != ""]
    if earlier:
        undo.keep_entry(_notes(module), _EARLIER)
        _notes(module)[_EARLIER] = earlier


def _add(notes: dict[str, Any], key: str, value: Any, undo: UndoLog) -> None:
    undo.keep_entry(notes, key)
    notes[key] = [*notes.get(key, ()), value]


def forget_history(module: nn.Module, undo: UndoLog) -> None:
    """Take the history out of a module that becomes a part of a network as it is, not by its edits.

    Args:
        module: The module.
        undo: The log that puts it back.
    """
    for _, each in modules_of(module):
        notes = _notes(each)
        for key in notes.keys() & {_EDITS, _CHANGES, _EARLIER}:
            undo.keep_entry(notes, key)
            del notes[key]


def _forget(note: HistoryNote) -> None:
    _DONE[:] = [each for each in _DONE if each is not note]


def _drop_dead() -> None:
    """Drop the edits of networks of which nothing is left, now and then."""
    global _FEW
    if len(_DONE) > _FEW:
        _DONE[:] = [each for each in _DONE if each.living()]
        _FEW = 2 * len(_DONE) + 256


def note_origins(module: fx.GraphModule, origins: tuple[Origin, ...]) -> None:
    """Write down the graphs a module was exported from, whose edits include those of its parts."""
    for part in module.children():
        forget_history(part, UndoLog())
    _notes(module)[_ORIGINS] = origins


def origins_of(module: nn.Module) -> tuple[Origin, ...]:
    """The graphs a module was exported from, one after the other, the oldest first."""
    found: tuple[Origin, ...] = _notes(module).get(_ORIGINS, ())
    return found
