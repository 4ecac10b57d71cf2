"""Callbacks: what happens beside a study, such as tracking."""

from __future__ import annotations

import warnings

from naivegraph.search.study.candidate import Candidate
from naivegraph.search.study.study_view import StudyView

__all__ = ["Callback", "call_all"]


class Callback:
    """Is called as a study goes on; override what is of interest.

    A callback that raises is told of, once, and not called again in that run: a tracker that is down stops no
    study.

    Example:
        >>> class Names(Callback):
        ...     def on_result(self, study, candidate):
        ...         print(candidate.name)
    """

    def on_start(self, study: StudyView) -> None:
        """Called when a run of a study starts."""

    def on_result(self, study: StudyView, candidate: Candidate) -> None:
        """Called with each result, in the order in which they come; again with each rung of a network."""

    def on_end(self, study: StudyView) -> None:
        """Called when a run ends, also one that was interrupted."""


def call_all(callbacks: list[Callback], event: str, *args: object) -> None:
    """Call a method of each callback; those that raise leave the list."""
    for callback in list(callbacks):
        try:
            getattr(callback, event)(*args)
        except Exception as error:  # whatever a tracker raises
            callbacks.remove(callback)
            warnings.warn(
                f"the callback {type(callback).__name__} is left out from here on: {event} raised "
                f"{type(error).__name__}: {error}",
                stacklevel=3,
            )
