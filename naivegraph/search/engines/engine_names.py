"""Engines by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from naivegraph.errors import StudyError, nearest
from naivegraph.search.engines.dask_client import DaskEngine
from naivegraph.search.engines.processes import ProcessesEngine
from naivegraph.search.engines.ray_tasks import RayEngine
from naivegraph.search.engines.serial import SerialEngine

__all__ = ["ENGINES", "engine_named", "worker_count"]

ENGINES: dict[str, Callable[[int], Executor]] = {
    "serial": lambda workers: SerialEngine(),
    "processes": ProcessesEngine,
    "ray": RayEngine,
    "dask": DaskEngine,
}
"""What makes an engine, from a number of workers."""


def engine_named(name: str, workers: int) -> Executor:
    """Start an engine.

    Raises:
        StudyError: There is none of this name.
        MissingPackageError: It needs a package that is not installed.

    Example:
        >>> engine_named("serial", 1).submit(max, 1, 2).result()
        2
    """
    if name not in ENGINES:
        raise StudyError(f"there is no engine {name!r}{nearest(name, ENGINES, otherwise=_known())}")
    return ENGINES[name](workers)


def _known() -> str:
    return f"there are {', '.join(ENGINES)}, and any concurrent.futures.Executor"


def worker_count(engine: object, workers: int | None) -> int:
    """The number of jobs to run at once: as asked, or what the engine or else the machine has.

    Raises:
        StudyError: It is less than one.
    """
    if workers is not None and (type(workers) is not int or workers < 1):
        raise StudyError(f"workers={workers}: at least one is needed, a whole number")
    if engine == "serial":
        return 1
    if workers is not None:
        return workers
    own: Any = getattr(engine, "_max_workers", None)
    if isinstance(own, int):
        return own
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
