"""Jobs for tests of engines."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def dies_until(marks: str, times: int) -> int:
    """Kill this process, a number of times; then give its id."""
    folder = Path(marks)
    if len(list(folder.iterdir())) < times:
        (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def raises() -> None:
    """Raise what a job may raise."""
    raise ValueError("from the job")


def threads() -> tuple[str | None, int]:
    """Give the number of threads that libraries may use."""
    import torch

    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()


def naps(seconds: float) -> int:
    """Sleep, and give the process."""
    time.sleep(seconds)
    return os.getpid()


def modules_loaded() -> set[str]:
    """The names of the modules that this process has imported."""
    return set(sys.modules)
