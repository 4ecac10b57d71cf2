"""History of a network, kept in the module itself: its edits, and the graphs it was exported from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from naivegraph.undo import UndoLog

__all__ = [
    "HistoryNote",
    "Origin",
    "history_of",
    "is_last_note",
    "note_edit",
    "note_origins",
    "origins_of",
]

_EDITS = "_naivegraph_edits"
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

    Attributes:
        copied: Whether it was copied or pickled.
    """

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text
        self.copied = False

    def __str__(self) -> str:
        return self._text()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        self.copied = True
        return str, (str(self),)


def history_of(module: nn.Module) -> list[str]:
    """The edits made on a module so far, as JSON, oldest first."""
    return [str(edit) for edit in _notes(module).get(_EDITS, [])]


def is_last_note(module: nn.Module, note: HistoryNote) -> bool:
    """Tell whether the last edit made on a module is this one."""
    noted = _notes(module).get(_EDITS, [])
    return bool(noted) and noted[-1] is note


def note_edit(module: nn.Module, text: Callable[[], str], undo: UndoLog) -> HistoryNote:
    """Add an edit to the history of a module.

    Args:
        module: The network.
        text: The function that returns the JSON of the edit.
        undo: The log that removes the edit from the history again.
    """
    notes, note = _notes(module), HistoryNote(text)
    undo.keep_entry(notes, _EDITS)
    notes[_EDITS] = [*notes.get(_EDITS, []), note]
    return note


def note_origins(module: fx.GraphModule, origins: tuple[Origin, ...]) -> None:
    """Write down the graphs a module was exported from."""
    _notes(module)[_ORIGINS] = origins


def origins_of(module: nn.Module) -> tuple[Origin, ...]:
    """The graphs a module was exported from, one after the other, the oldest first."""
    found: tuple[Origin, ...] = _notes(module).get(_ORIGINS, ())
    return found
