"""A session whose failures are answers: nothing a solver does wrong gets past it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from naivegraph.solvers.arrays import Arrays, FloatArray, Rows
from naivegraph.solvers.backend.interface import Answer, Backend, Limits, Session
from naivegraph.solvers.solution import Outcome


class GuardedSession(Session):
    """A backend's session; what it raises, and answers that are none, become `Outcome.ERROR`.

    A solver is other people's code, often behind a process or a licence. It must not take down a change of a
    network that has other ways to go on, so its exceptions are told as outcomes, with their text.
    """

    def __init__(self, backend: Backend, arrays: Arrays) -> None:
        super().__init__(backend, arrays)
        self._width = len(arrays.cost)
        self._failure = ""
        self._session: Session | None = None
        try:
            self._session = backend.open(arrays)
        except Exception as error:
            self._failure = self._told(error)

    def add(self, rows: Rows) -> None:
        """Add rows."""
        if self._session is None or self._failure:
            return
        try:
            self._session.add(rows)
        except Exception as error:
            self._failure = self._told(error)

    def run(self, limits: Limits, start: FloatArray | None = None) -> Answer:
        """Maximise with the rows so far."""
        session = self._session
        if session is None or self._failure:
            return Answer(Outcome.ERROR, None, math.inf, self._failure)
        try:
            answer = session.run(limits, start)
        except Exception as error:
            return Answer(Outcome.ERROR, None, math.inf, self._told(error))
        wrong = self._wrong(answer)
        if wrong:
            return Answer(Outcome.ERROR, None, math.inf, f"{type(self._backend).__name__} gave {wrong}")
        values = None if answer.values is None else np.asarray(answer.values, np.float64)
        return replace(answer, values=values, bound=math.inf if math.isnan(answer.bound) else answer.bound)

    def _wrong(self, answer: object) -> str:
        """Description of a value that is no valid answer; empty for a valid one."""
        if not isinstance(answer, Answer) or not isinstance(answer.outcome, Outcome):
            return f"{answer!r}, not an Answer"
        if answer.values is None:
            return ""
        if np.shape(answer.values) != (self._width,):
            return f"values of shape {np.shape(answer.values)} for {self._width} columns"
        return "" if np.isfinite(answer.values).all() else "values that are not finite"

    def _told(self, error: Exception) -> str:
        return f"{type(self._backend).__name__} raised {type(error).__name__}: {error}"
