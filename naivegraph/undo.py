"""The undo log, one for changes of graphs, tensors, attributes, optimizers and history alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

__all__ = ["Undo", "UndoLog", "all_or_nothing"]

Undo = Callable[[], object]

_ABSENT = object()


class UndoLog:
    """A stack of steps, each of which takes one change back; the last is taken first.

    Push a step before the change: an interrupt may come in between. So a step must do no harm where the
    change was not made yet, and none when it is taken twice. `all_or_nothing` makes a block of it.

    Example:
        >>> undo, box = UndoLog(), {"size": 8}
        >>> undo.keep_entry(box, "size")
        >>> box["size"] = 4
        >>> undo.undo()
        >>> box
        {'size': 8}
    """

    def __init__(self) -> None:
        self._steps: list[Undo] = []

    def __bool__(self) -> bool:
        """Tell if there is anything to undo."""
        return bool(self._steps)

    def push(self, step: Undo) -> None:
        """Push the step that takes back the change made next."""
        self._steps.append(step)

    def keep_entry(self, mapping: MutableMapping[Any, Any], key: Any) -> None:
        """Push a step that restores one entry of a mapping, or removes it if there is none now."""
        before = mapping.get(key, _ABSENT)

        def put_back() -> None:
            """Restore the entry."""
            if before is _ABSENT:
                mapping.pop(key, None)
            else:
                mapping[key] = before

        self.push(put_back)

    def keep_mapping(self, mapping: MutableMapping[Any, Any]) -> None:
        """Push a step that restores all entries of a mapping, in their present order."""
        before = dict(mapping)

        def put_back() -> None:
            """Restore the entries."""
            mapping.clear()
            mapping.update(before)

        self.push(put_back)

    def mark(self) -> int:
        """Return the present length of the log, for `rollback_to`."""
        return len(self._steps)

    def rollback_to(self, mark: int) -> None:
        """Take the steps pushed since a mark, the last first.

        A step that raises, as any does when it is interrupted, is taken once more; those before it are taken
        in any case.

        Raises:
            BaseException: The first exception of a step, once all of them were taken.
        """
        raised: BaseException | None = None
        while len(self._steps) > mark:
            for _ in range(2):
                try:
                    self._steps[-1]()
                except BaseException as error:
                    raised = raised or error
                else:
                    break
            del self._steps[-1]
        if raised is not None:
            raise raised

    def undo(self) -> None:
        """Undo everything, the last first; the log is empty then."""
        self.rollback_to(0)


@contextlib.contextmanager
def all_or_nothing(undo: UndoLog | None = None) -> Iterator[UndoLog]:
    """Run a block whose changes are undone if it raises; blocks may be nested.

    Args:
        undo: The log for the steps; by default a new one.

    Example:
        >>> box = {"size": 8}
        >>> try:
        ...     with all_or_nothing() as undo:
        ...         undo.keep_entry(box, "size")
        ...         box["size"] = 4
        ...         raise ValueError("it does not run")
        ... except ValueError:
        ...     box
        {'size': 8}
    """
    log = UndoLog() if undo is None else undo
    mark = log.mark()
    try:
        yield log
    except BaseException:
        log.rollback_to(mark)
        raise
