"""The way back from a change: one log for graphs, tensors, attributes, optimizers and history alike."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Any

__all__ = ["Undo", "UndoLog"]

Undo = Callable[[], object]

_ABSENT = object()


class UndoLog:
    """Steps that put things back as they were, taken the last first.

    Push the step before the thing is done: an interrupt may come in between. So a step must do no harm where
    nothing was done yet, and none when it is taken twice.

    As a context manager the log makes a block all or nothing: what was pushed inside is undone if the block
    raises, and kept if it does not. Blocks of one log may be nested.

    Example:
        >>> undo, box = UndoLog(), {"size": 8}
        >>> with undo:
        ...     undo.keep_entry(box, "size")
        ...     box["size"] = 4
        >>> try:
        ...     with undo:
        ...         undo.keep_entry(box, "size")
        ...         box["size"] = 1 // 0
        ... except ZeroDivisionError:
        ...     box
        {'size': 4}
        >>> undo.undo()
        >>> box
        {'size': 8}
    """

    def __init__(self) -> None:
        self._steps: list[Undo] = []
        self._blocks: list[int] = []

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

    def __enter__(self) -> UndoLog:
        self._blocks.append(self.mark())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mark = self._blocks.pop()
        if error is not None:
            self.rollback_to(mark)
