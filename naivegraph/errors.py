"""The errors a user can meet, all of them a `NaivegraphError`, and what their messages have in common."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NaivegraphError(Exception):
    """Base class of all errors that this package raises on purpose."""


class CaptureError(NaivegraphError):
    """The network could not be captured; the message says where and what to do instead."""


class EditError(NaivegraphError):
    """An edit was refused; the network is as it was."""


class InfeasibleError(EditError):
    """No network satisfies all requests; the message names those in conflict and the nearest possible."""


class LoadError(NaivegraphError):
    """A file could not be loaded; the network it was to be loaded into is as it was."""


class StudyError(NaivegraphError):
    """A study could not start or go on; what it has found so far is kept in its folder."""


class TrackError(NaivegraphError):
    """An experiment could not be trained, kept or found; what was kept before is as it was."""


class SchemaError(NaivegraphError):
    """A schema has no network of the kind asked for, or is none; the message says which rules conflict."""


def nearest(name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """The end of a message about a name that does not exist: up to three that do and are most like it.

    Args:
        name: The name given.
        known: The names that exist.
        otherwise: The text to return where none is like it.

    Example:
        >>> print("there is no 'cat'" + nearest("cat", ["cart", "dog"]))
        there is no 'cat'; did you mean 'cart'?
    """
    near = difflib.get_close_matches(name, [*dict.fromkeys(known)], n=3, cutoff=0.5)
    if near:
        *first, last = map(repr, near)
        return f"; did you mean {', '.join(first)}{' or ' if first else ''}{last}?"
    return f"; {otherwise}" if otherwise else ""
