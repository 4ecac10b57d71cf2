"""What a network remembers of how it came about: the edits made on it, and the graph it was exported from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from naivegraph.graph.torch_utils.preserve_state import resetting

__all__ = ["Origin", "history_of", "is_last_edit", "note_edit", "note_origins", "origins_of"]

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


class _Later:
    """A text that is made when it is wanted; copied and pickled as the text itself."""

    def __init__(self, make: Callable[[], str]) -> None:
        self.make = make

    def __str__(self) -> str:
        return self.make()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def history_of(module: nn.Module) -> list[str]:
    """The edits made on a module so far, as JSON, oldest first."""
    return [str(edit) for edit in _notes(module).get(_EDITS, [])]


def is_last_edit(module: nn.Module, text: Callable[[], str]) -> bool:
    """Whether the last edit made on a module is the one of which `text` gives the JSON."""
    noted = _notes(module).get(_EDITS)
    if not noted:
        return False
    last = noted[-1]
    return (isinstance(last, _Later) and last.make == text) or str(last) == text()


def note_edit(module: nn.Module, text: Callable[[], str]) -> Callable[[], None]:
    """Remember an edit made on a module, of which `text` gives the JSON; gives what forgets it again."""
    notes = _notes(module)
    restore = resetting(notes, _EDITS)
    notes[_EDITS] = [*notes.get(_EDITS, []), _Later(text)]
    return restore


def note_origins(module: fx.GraphModule, origins: tuple[Origin, ...]) -> None:
    """Remember the graphs a module was exported from."""
    _notes(module)[_ORIGINS] = origins


def origins_of(module: nn.Module) -> tuple[Origin, ...]:
    """The graphs a module was exported from, one after the other, the first one first."""
    found: tuple[Origin, ...] = _notes(module).get(_ORIGINS, ())
    return found
