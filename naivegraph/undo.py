"""The way back from a change: one log for graphs, tensors, attributes, optimizers and history alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

__all__ = ["Undo", "UndoLog", "all_or_nothing"]

Undo = Callable[[], object]

_ABSENT = object()


class UndoLog:
    """Steps that put things back as they were, taken the last first.

    Push the step before the thing is done: an interrupt may come in between. So a step must do no harm where
    nothing was done yet, and none when it is taken twice.

    `all_or_nothing` makes a block of it.

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
        """Note what undoes the thing that is done next."""
        self._steps.append(step)

    def keep_entry(self, mapping: MutableMapping[Any, Any], key: Any) -> None:
        """Put one entry of a mapping back as it is now; take it out if there is none now."""
        before = mapping.get(key, _ABSENT)

        def put_back() -> None:
            if before is _ABSENT:
                mapping.pop(key, None)
            else:
                mapping[key] = before

        self.push(put_back)

    def keep_mapping(self, mapping: MutableMapping[Any, Any]) -> None:
        """Put all entries of a mapping back as they are now, in the order they have now."""
        before = dict(mapping)

        def put_back() -> None:
            mapping.clear()
            mapping.update(before)

        self.push(put_back)

    def mark(self) -> int:
        """Give the place in the log to which `rollback_to` goes back."""
        return len(self._steps)

    def rollback_to(self, mark: int) -> None:
        """Undo what was pushed since a mark, the last first.

        A step that raises, as any does when it is interrupted, is taken once more; those before it are taken
        whatever happens.

        Raises:
            BaseException: The first thing that a step raised, once all of them were taken.
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
    """A block whose steps are undone if it raises, and kept if it does not; blocks may be nested.

    Args:
        undo: Takes the steps; by default a new log.

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
