"""Solutions: the outcome of a solve, the answer, and a bound that proves how good it is."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from naivegraph.solvers.arrays import FloatArray


class Outcome(enum.Enum):
    """Outcome of a solve; `sentence` tells it to a person.

    >>> Outcome.INFEASIBLE.sentence
    'No answer satisfies all rows at once.'
    """

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    NO_ANSWER = "no answer"
    ERROR = "error"

    @property
    def sentence(self) -> str:
        """A sentence for a person to read."""
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.OPTIMAL: "The best answer was found, and proven best within the gap asked for.",
    Outcome.FEASIBLE: "A limit was reached; the answer satisfies every row but is not proven best.",
    Outcome.INFEASIBLE: "No answer satisfies all rows at once.",
    Outcome.UNBOUNDED: "The objective can grow without end: some column or row lacks a bound.",
    Outcome.NO_ANSWER: "A limit was reached before any answer was found.",
    Outcome.ERROR: "The solver failed, or its answer did not satisfy the rows when checked.",
}


@dataclass(frozen=True)
class Solution:
    """The result of `solve`, in the program's own units.

    Attributes:
        outcome: how the solve ended.
        values: one value per column, integer columns exactly integral; None without an answer.
        objective: the objective of `values`; -inf without an answer.
        bound: an upper bound on the objective of every answer; inf when nothing is known.
        seconds: wall-clock time of the solve.
        detail: the solver's own message, where the outcome alone does not tell.
        names: the index of each column by its name.
    """

    outcome: Outcome
    values: FloatArray | None
    objective: float
    bound: float
    seconds: float
    detail: str = ""
    names: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def gap(self) -> float:
        """Relative gap `|bound - objective| / max(|objective|, 1e-12)`; inf without an answer."""
        if self.values is None or math.isinf(self.bound):
            return math.inf
        return abs(self.bound - self.objective) / max(abs(self.objective), 1e-12)

    def __bool__(self) -> bool:
        """True if there is an answer."""
        return self.values is not None

    def __getitem__(self, name: str) -> float:
        """The value of the column called `name`.

        Raises:
            KeyError: no column has that name.
            ValueError: there is no answer.
        """
        if self.values is None:
            raise ValueError(f"there is no value for column {name!r}: {self.outcome.sentence}")
        if name not in self.names:
            raise KeyError(f"no column is named {name!r}")
        return float(self.values[self.names[name]])
