"""What a network remembers of how it came about: the edits made on it, and the graph it was exported from."""

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
    """One graph, the edits of which led to a network that was exported from it.

    Attributes:
        edits: The edits of its module, as JSON, oldest first.
        network: The class of its module.
        written: Whether it was written by hand, not captured.
        example: Its inputs, by name.
        constants: Arguments of the forward which are no tensors, by name.
    """

    edits: tuple[str, ...]
    network: str
    written: bool
    example: dict[str, Any]
    constants: dict[str, Any]


def _notes(module: nn.Module) -> dict[str, Any]:
    # a copy of a GraphModule keeps `meta` alone of all that was set on it
    return module.meta if isinstance(module, fx.GraphModule) else vars(module)


class HistoryNote:
    """An edit in the history of a network, told by a text that is made when it is wanted.

    Copied or pickled with its network it becomes the text itself: a copy has another history from then on.

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
    """Whether the last edit made on a module is this one."""
    noted = _notes(module).get(_EDITS, [])
    return bool(noted) and noted[-1] is note


def note_edit(module: nn.Module, text: Callable[[], str], undo: UndoLog) -> HistoryNote:
    """Remember an edit made on a module.

    Args:
        module: The network.
        text: Gives the JSON of the edit.
        undo: Takes what forgets the edit again.
    """
    notes, note = _notes(module), HistoryNote(text)
    undo.keep_entry(notes, _EDITS)
    notes[_EDITS] = [*notes.get(_EDITS, []), note]
    return note


def note_origins(module: fx.GraphModule, origins: tuple[Origin, ...]) -> None:
    """Remember the graphs a module was exported from."""
    _notes(module)[_ORIGINS] = origins


def origins_of(module: nn.Module) -> tuple[Origin, ...]:
    """The graphs a module was exported from, one after the other, the first one first."""
    found: tuple[Origin, ...] = _notes(module).get(_ORIGINS, ())
    return found
