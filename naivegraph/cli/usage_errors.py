"""Errors of what a user wrote on the command line, in a sentence."""

from naivegraph.errors import NaivegraphError

__all__ = ["UsageError", "first_line"]


class UsageError(NaivegraphError):
    """A request on the command line that cannot be carried out; the message says what to write instead."""


def first_line(error: BaseException) -> str:
    """Say an exception in one line: its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
