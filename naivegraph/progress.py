"""Progress messages for work that takes long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PATIENCE = 2.0
"""Seconds to wait before a message is shown."""


@contextmanager
def working(
    what: str, console: Console | None = None, patience: float = PATIENCE
) -> Iterator[Callable[[str], None]]:
    """Show a message if the work of a block takes long, and how long it has taken so far.

    In a terminal that is one line, which disappears at the end; elsewhere the words are written once.

    Args:
        what: the work, such as `"training"`.
        console: the console to write to; standard error if None.
        patience: seconds to wait before anything is shown.

    Yields:
        A function that takes new words, for work of several stages.

    Examples:
        >>> with working("counting") as say:
        ...     say("counting further")
    """
    console = console or Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task(what)

    def show() -> None:
        """Show the message."""
        if console.is_terminal:
            progress.start()
        else:
            console.print(f"{progress.tasks[0].description} ...", markup=False, highlight=False)

    timer = Timer(patience, show)
    timer.daemon = True
    timer.start()
    try:
        yield lambda words: progress.update(task, description=words)
    finally:
        timer.cancel()
        timer.join()
        if progress.live.is_started:
            progress.stop()
