"""Python's garbage collector, for work that makes many small objects."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["uncollected"]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collector during a block, or a function decorated with it.

    A graph and what is worked out from it are many small objects that live on, and none large. They make the
    collector go through all objects of the process, which may take longer than the work itself.

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
