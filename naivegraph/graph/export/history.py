"""History of a network, kept in the module itself: its edits, and the graphs it was exported from."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from torch import fx, nn

from naivegraph.graph.export.history_text import shared_text, whole_text
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.undo import UndoLog

__all__ = [
    "HistoryNote",
    "Origin",
    "history_of",
    "later_edits",
    "note_edit",
    "note_origins",
    "origins_of",
]

_EDITS = "_naivegraph_edits"
_ORIGINS = "_naivegraph_origins"
_PARTS = "_naivegraph_parts"  # by index of an edit: how many edits each part had had before it


@dataclasses.dataclass(frozen=True)
class Origin:
    """A graph that a network was exported from.

    Attributes:
        edits: The edits of its module, as JSON, oldest first.
        network: The class of its module.
        written: Whether it was written by hand, not captured.
        example: Its inputs, by name.
        constants: Arguments of the forward that are no tensors, by name.
    """

    edits: tuple[str, ...]
    network: str
    written: bool
    example: dict[str, Any]
    constants: dict[str, Any]


def _notes(module: nn.Module) -> dict[str, Any]:
    """The dict of a module that holds its history."""
    # Of all that was set on a GraphModule, its copies keep `meta` alone.
    return module.meta if isinstance(module, fx.GraphModule) else vars(module)


class HistoryNote:
    """An edit in the history of a network, whose text is made when it is asked for.

    Copied or pickled with its network it becomes the text itself, as a copy has its own history from then on.

    Args:
        text: The function that returns the JSON of the edit.
        label: The edit in a few words.
        network: The network.
        group: The notes that the same edit made of other networks (its averages), to which this is added.

    Attributes:
        copied: Whether it was copied or pickled.
        label: The edit in a few words.
        number: Its place among all edits of the process.
    """

    def __init__(
        self, text: Callable[[], str], label: str, network: nn.Module, group: list[HistoryNote] | None = None
    ) -> None:
        self._text = text
        self.copied = False
        self.label = label
        self.number = next(_NUMBERS)
        modules = modules_of(network)
        parameters = {id(p): p for _, module in modules for p in module._parameters.values() if p is not None}
        self._modules = [(path, weakref.ref(module)) for path, module in modules]
        self._parameters = [weakref.ref(parameter) for parameter in parameters.values()]
        self.group = [] if group is None else group
        self.group.append(self)

    def __str__(self) -> str:
        return self._text()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        self.copied = True
        return str, (str(self),)

    def living(self) -> dict[int, Any]:
        """The modules and parameters of the network at that time which still exist, by id."""
        modules: list[Any] = [ref() for _, ref in self._modules]
        found = [*modules, *(ref() for ref in self._parameters)]
        return {id(each): each for each in found if each is not None}

    def paths(self, present: Mapping[int, tuple[str, nn.Module]]) -> dict[str, str]:
        """The paths of modules in the network at that time, with the paths they have in another.

        Args:
            present: The modules of that one by id, with their paths.
        """
        found = ((path, ref()) for path, ref in self._modules)
        return {
            path: present[id(module)][0]
            for path, module in found
            if id(module) in present and present[id(module)][1] is module
        }


_NUMBERS = itertools.count()
_DONE: list[HistoryNote] = []  # all edits of the process that were not undone, oldest first
_FEW = 256


def later_edits(note: HistoryNote) -> list[HistoryNote]:
    """The edits that have to be undone before one, in that order: the last one first.

    They are the later ones of a network that has a module or parameter in common with this one (itself, a
    part of it, one that it is a part of or shares a part with), or with another of them.
    """
    union = {key: each for member in note.group for key, each in member.living().items()}
    found: list[HistoryNote] = []
    for other in _DONE:
        if other.number > note.number and not any(other is member for member in note.group):
            living = other.living()
            if any(union.get(key) is each for key, each in living.items()):
                union.update(living)
                found.append(other)
    heads = {each.group[0].number: each.group[0] for each in found}  # an edit and its averages once
    return [heads[number] for number in sorted(heads, reverse=True)]


def history_of(module: nn.Module) -> list[str]:
    """The edits made on a module so far, as JSON, oldest first; those of its parts are told by its names.

    So are those of other networks of this process with which it has a part in common, as far as they changed
    that part.
    """
    dated = _merged(module)
    present = {id(each): (path, each) for path, each in modules_of(module)}
    for note in _DONE:
        paths = note.paths(present)
        text = shared_text(str(note), paths) if paths and "" not in paths else None
        if text is not None:
            later = (i for i, (number, _) in enumerate(dated) if number is not None and number > note.number)
            dated.insert(next(later, len(dated)), (note.number, text))
    return [text for _, text in dated]


def _merged(root: nn.Module) -> list[tuple[int | None, str]]:
    """The edits of a network and of its parts in order, with their numbers, which copies have not."""
    noted = {path: _notes(m) for path, m in modules_of(root) if _notes(m).get(_EDITS)}
    done = dict.fromkeys(noted, 0)
    out: list[tuple[int | None, str]] = []

    def emit(path: str, upto: int) -> None:
        """Add the edits of the part at a path, up to a number, each after those that it came after."""
        edits, parts = noted[path][_EDITS], noted[path].get(_PARTS, {})
        for index in range(done[path], min(upto, len(edits))):
            done[path] = index + 1
            for below, count in parts.get(index, {}).items():
                inner = f"{path}.{below}" if path else below
                if inner in noted:
                    emit(inner, count)
            note = edits[index]
            number = note.number if isinstance(note, HistoryNote) else None
            out.append((number, whole_text(str(note), path) if path else str(note)))

    for path in noted:
        emit(path, len(noted[path][_EDITS]))
    return out


def note_edit(
    module: nn.Module,
    text: Callable[[], str],
    undo: UndoLog,
    label: str = "",
    group: list[HistoryNote] | None = None,
) -> HistoryNote:
    """Add an edit to the history of a module.

    Args:
        module: The network.
        text: The function that returns the JSON of the edit.
        undo: The log that removes the edit from the history again.
        label: The edit in a few words.
        group: The notes that the same edit made of other networks.
    """
    notes, note = _notes(module), HistoryNote(text, f"{type(module).__name__}: {label}", module, group)
    edits, parts = notes.get(_EDITS, []), notes.get(_PARTS, {})
    before = {path: len(own) for path, each in modules_of(module)[1:] if (own := _notes(each).get(_EDITS))}
    undo.keep_entry(notes, _EDITS)
    if before:
        undo.keep_entry(notes, _PARTS)
        notes[_PARTS] = {**parts, len(edits): before}
    undo.push(functools.partial(_forget, note))
    _DONE.append(note)
    notes[_EDITS] = [*edits, note]
    _drop_dead()
    return note


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
    for _, part in modules_of(module)[1:]:
        _notes(part).pop(_EDITS, None)
        _notes(part).pop(_PARTS, None)
    _notes(module)[_ORIGINS] = origins


def origins_of(module: nn.Module) -> tuple[Origin, ...]:
    """The graphs a module was exported from, one after the other, the oldest first."""
    found: tuple[Origin, ...] = _notes(module).get(_ORIGINS, ())
    return found
