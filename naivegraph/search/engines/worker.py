"""Code that worker processes of engines have in common."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from naivegraph.errors import StudyError

__all__ = ["ONE_THREAD", "WorkerLostError", "call", "prepare_worker"]

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""Environment of workers: as many networks as there are cores train at once, one thread each."""

_busy = threading.Lock()


class WorkerLostError(StudyError):
    """Every worker that a job was sent to has died."""


def prepare_worker(parent: int, modules: Sequence[str] = ()) -> None:
    """Prepare a worker process: Ctrl-C is for its parent, and it does not outlive that for longer than a job.

    Args:
        parent: The process that made it.
        modules: What is imported before the first job. loky takes the memory after that job for all that a
            worker needs, and restarts one that needs 300 MB more, with a warning.
    """
    for module in modules:
        importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a worker that was prepared."""
    with _busy:
        return function(*args)


def _leave_with(parent: int) -> None:
    """End this process once its parent has died, and the job it is at is done and written."""
    while os.getppid() == parent:
        time.sleep(1)
    with _busy:
        os._exit(1)
