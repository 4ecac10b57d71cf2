"""What a network remembers of how it came about: the edits made on it, and the graph it was exported from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from naivegraph.graph.restore import resetting

__all__ = ["Origin", "history_of", "note_edits", "note_origins", "origins_of"]

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


def history_of(module: nn.Module) -> list[str]:
    """The edits made on a module so far, as JSON, oldest first."""
    return list(_notes(module).get(_EDITS, []))


def note_edits(module: nn.Module, edits: list[str]) -> Callable[[], None]:
    """Remember these edits as those made on a module; gives what restores those remembered before."""
    notes = _notes(module)
    restore = resetting(notes, _EDITS)
    notes[_EDITS] = edits
    return restore


def note_origins(module: fx.GraphModule, origins: tuple[Origin, ...]) -> None:
    """Remember the graphs a module was exported from."""
    _notes(module)[_ORIGINS] = origins


def origins_of(module: nn.Module) -> tuple[Origin, ...]:
    """The graphs a module was exported from, one after the other, the first one first."""
    found: tuple[Origin, ...] = _notes(module).get(_ORIGINS, ())
    return found
