"""Warnings of the line of the user's code that called this package."""

from __future__ import annotations

import sys
import warnings

__all__ = ["warn_user"]

_PACKAGE = __name__.partition(".")[0]


def warn_user(message: str) -> None:
    """Warn of the first line outside this package.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_user("the optimizer was not handed over")
        >>> str(caught[0].message)
        'the optimizer was not handed over'
    """
    frame, levels = sys._getframe(1), 2
    # Verbs that are decorated by a context are called from contextlib.
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        frame, levels = frame.f_back, levels + 1
    warnings.warn(message, stacklevel=levels)


def _is_inside(module: str) -> bool:
    return module.startswith(f"{_PACKAGE}.") or module == "contextlib"
