"""Work in compiled code or in another process that Ctrl-C ends at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["interruptible", "kill_processes"]

_GLANCE, _PATIENCE = 0.1, 0.2  # seconds between looks for a signal, and for the work to stop

Result = TypeVar("Result")


def interruptible(work: Callable[[], Result], stop: Callable[[int], object]) -> Result:
    """The result of some work, which Ctrl-C (or what else a signal handler raises) stops.

    Python handles signals between its own steps in the main thread only, so the work is done in another.

    Args:
        work: The work; what it raises is raised here.
        stop: Makes it end soon; it is given the identifier of the thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    results: list[Result] = []
    failures: list[BaseException] = []

    def in_thread() -> None:
        """Do the work, and keep what comes of it."""
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=in_thread, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(_GLANCE)
    except BaseException:
        stop(worker.ident or 0)
        worker.join(_PATIENCE)
        raise
    if failures:
        raise failures[0]
    return results[0]


def kill_processes(thread: int) -> None:
    """Kill the processes for which functions that run in a thread wait."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, subprocess.Popen):
                value.kill()
        frame = frame.f_back
