"""Python's garbage collector, for work that makes many small objects."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["uncollected"]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Run a block, or a function decorated with it, without the collector.

    A graph and what is worked out from it are many small objects which live on, and nothing large. The
    collector goes through all objects of the process on their account, which may take longer than the work.

    Example:
        >>> with uncollected():
        ...     gc.isenabled()
        False
        >>> gc.isenabled()
        True
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
