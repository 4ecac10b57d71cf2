"""The words of a training: on the console, in a file, and to TensorBoard."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from naivegraph.optional_package import MissingPackageError, optional_package

__all__ = ["TrainingLog", "opened_log"]

_CONSOLE_EVERY = 2.0  # seconds between lines on the console


class TrainingLog:
    """The log of a training; see `opened_log`."""

    def __init__(self, file: Any, board: Any, console: bool) -> None:
        self._file, self._board, self._console, self._next = file, board, console, 0.0

    def say(self, words: str) -> None:
        """Say something, in the file with the time."""
        self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {words}\n")
        self._file.flush()
        if self._console:
            sys.stderr.write(f"{words}\n")

    def scores(self, epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
        """Tell the scores after an epoch; on the console that is a line every two seconds."""
        words = f"epoch {epoch} of {epochs}: " + ", ".join(f"{name} {x:.4g}" for name, x in scores.items())
        now = time.monotonic()
        console, self._console = self._console, self._console and (now >= self._next or epoch == epochs)
        if self._console:
            self._next = now + _CONSOLE_EVERY
        self.say(words)
        self._console = console
        if self._board is not None:
            for name, value in scores.items():
                self._board.add_scalar(name, value, epoch)


@contextmanager
def opened_log(folder: Path, *, console: bool, tensorboard: bool | None) -> Iterator[TrainingLog]:
    """Open the log of a training, which is added to where there is one.

    Args:
        folder: The folder, for `training.log` and TensorBoard's files.
        console: Whether to say it on standard error, too.
        tensorboard: Whether to write for TensorBoard; if None, where it is installed.

    Raises:
        MissingPackageError: TensorBoard is asked for and not installed.
    """
    board = _board(folder, tensorboard)
    try:
        with open(folder / "training.log", "a", encoding="utf-8") as file:
            yield TrainingLog(file, board, console)
    finally:
        if board is not None:
            board.close()


def _board(folder: Path, wanted: bool | None) -> Any:
    """A writer for TensorBoard, or None."""
    if wanted is False:
        return None
    try:
        optional_package("tensorboard", "tensorboard", "a log for TensorBoard")
    except MissingPackageError:
        if wanted:
            raise
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
