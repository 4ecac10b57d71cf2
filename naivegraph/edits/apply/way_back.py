"""The way back from an edit: found by the edit's token, kept apart from the edit, which is data."""

from __future__ import annotations

import uuid
import weakref
from typing import Any

from naivegraph.edits.apply.change_module import ChangedModule
from naivegraph.edits.apply.checkpoint import Checkpoint
from naivegraph.edits.apply.trained_values import TrainedValues
from naivegraph.errors import EditError
from naivegraph.graph.export.history import later_edits
from naivegraph.graph.torch_utils.compiled_code import forget_compiled_code
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.undo import UndoLog

__all__ = ["WayBack", "way_back"]


class WayBack:
    """The means to undo one edit of one network of this process.

    The edit that was returned keeps it alive, and with it the tensors as they were before; until then copies
    of the edit find it by its token.

    Args:
        changed: The network that was changed.
        undo: The log that restores sizes, attributes and structure.
        checkpoint: The state of the network and its followers before the edit.

    Attributes:
        token: An identifier of the edit, unique among all processes.
    """

    def __init__(self, changed: ChangedModule, undo: UndoLog, checkpoint: Checkpoint) -> None:
        self.token = uuid.uuid4().hex
        self._changed = changed
        self._undo = undo
        self._checkpoint = checkpoint
        _KNOWN[self.token] = self

    def check(self, *, copied: bool) -> None:
        """Check that the network can be restored.

        Args:
            copied: Whether the edit to undo is a copy.

        Raises:
            EditError: The edit was undone already, the network was edited again since, it is gone, or it was
                copied as the edit was, so that there are two networks that may be meant.
        """
        if not self._undo:
            raise EditError("this edit was undone already")
        later = later_edits(self._changed.note)
        if later:
            told = "; then ".join(note.label for note in later)
            raise EditError(
                "the network, or one that it has a part in common with, was edited again since: undo the "
                f"later edits first, the last one first: {told}"
            )
        if copied and self._changed.note.copied:
            raise EditError(
                "both this edit and its network were copied, so it is not clear which network to put back: "
                "undo by the edit that was returned; for a copy of the network, ng.load what was saved before"
            )

    @ordinary_mode()
    def undo(self, *, keep_training: bool) -> None:
        """Restore the network; see `check` and `Edit.undo`."""
        steps = UndoLog()  # taken the last first
        if keep_training:
            steps.push(TrainedValues(self._changed, self._checkpoint).put_back)
        else:
            steps.push(self._checkpoint.restore)
        steps.push(self._undo.undo)
        steps.undo()
        self._checkpoint = Checkpoint(())
        forget_compiled_code()


_KNOWN: weakref.WeakValueDictionary[str, WayBack] = weakref.WeakValueDictionary()


def way_back(token: str) -> WayBack:
    """The way back from the edit of a token.

    Raises:
        EditError: The edit was made in another process, or the edit returned then is gone.
    """
    found: Any = _KNOWN.get(token)
    if found is None:
        raise EditError(
            "this is a copy of an edit, and the network it belongs to is not in this process, or the edit "
            "that was returned for it is gone: undo by the edit that was returned there, or build the "
            "network anew and ng.load what was saved before"
        )
    way: WayBack = found
    return way
