"""Lines of the user's code: the one that is running, and how to print it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

import torch

__all__ = ["line_text", "runs_network", "user_line"]

_Run = TypeVar("_Run", bound=Callable[..., Any])

_INNER = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(os.path.dirname(__file__)) + os.sep)
_is_inner: dict[CodeType, bool] = {}
_outermost: set[CodeType] = set()


def runs_network(function: _Run) -> _Run:
    """Mark a function that calls a network, whose callers are no code of the network."""
    _outermost.add(function.__code__)
    return function


def user_line() -> tuple[str, int] | None:
    """File and line of the innermost running frame outside torch and this package.

    None if the running network has no such line, as its code was generated.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code in _outermost:
            return None
        inner = _is_inner.get(code)
        if inner is None:
            inner = code.co_filename.startswith((*_INNER, "<"))
            _is_inner[code] = inner
        if not inner:
            return code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def line_text(where: tuple[str, int]) -> str:
    """A file and line for a person to read: the file relative to the folder Python found it in.

    Example:
        >>> line_text((os.path.join(os.path.dirname(torch.__file__), "nn", "functional.py"), 3))
        'torch/nn/functional.py:3'
    """
    file, line = where
    folders = [os.path.join(folder, "") for folder in (os.getcwd(), *sys.path) if folder]
    folder = max((f for f in folders if file.startswith(f)), key=len, default="")
    return f"{file[len(folder) :]}:{line}"
