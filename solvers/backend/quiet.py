"""Keeping a solver's own words away from a user's standard output."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["first_highs"]

_LOCK = threading.Lock()
_made = False


def first_highs() -> None:
    """Make the first HiGHS of this process, unless there is one.

    Since 1.16 its constructor prints a banner, once per process and before an option could say not to.
    """
    global _made
    with _LOCK:
        if not _made:
            import highspy

            with _no_output():
                new: Any = highspy.Highs
                new()
            _made = True


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Close the standard output of compiled code, which `contextlib.redirect_stdout` does not reach."""
    try:
        kept = os.dup(1)
    except OSError:  # there is none, as in a service
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
