"""The outcome of one evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from naivegraph.errors import StudyError

__all__ = ["Result", "Status", "checked_values"]

Status = Literal["done", "failed", "over"]


@dataclass(frozen=True)
class Result:
    """The outcome of one evaluation, as it is written.

    Attributes:
        name: The name of the architecture.
        rung: The number of the rung.
        status: `done`; `failed`, with the traceback in `error`; or `over`: beyond a limit that could be
            measured before it was trained, so it was not.
        values: What was measured.
        seconds: How long it took.
        finished: When it ended, in seconds since 1970.
        error: The traceback of a failure.
        weights: The weights afterwards are stored.
        notes: What else is to be known.

    Example:
        >>> Result("a", 0, "done", {"accuracy": 0.9}).values["accuracy"]
        0.9
    """

    name: str
    rung: int
    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    finished: float = field(default_factory=time.time)
    error: str = ""
    weights: bool = False
    notes: str = ""

    @property
    def reason(self) -> str:
        """The last line of the traceback of a failure."""
        lines = self.error.strip().splitlines()
        return lines[-1] if lines else ""

    def to_json(self) -> dict[str, Any]:
        """Return it as data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """Read it from data.

        Raises:
            ValueError: The data is not that of a result.
        """
        try:
            result = cls(**{item.name: data[item.name] for item in fields(cls)})
        except KeyError as error:
            raise ValueError(f"{error} is missing") from None
        if result.status not in ("done", "failed", "over") or not isinstance(result.values, dict):
            raise ValueError(f"no status is {result.status!r}, or its values are none")
        if not all(isinstance(value, int | float) for value in result.values.values()):
            raise ValueError("its values are no numbers")
        return result


def checked_values(answer: object, objectives: Mapping[str, str] | tuple[str, ...]) -> dict[str, float]:
    """Check what an evaluation returned.

    Args:
        answer: What it returned.
        objectives: Names that it has to have, each with a finite number.

    Raises:
        StudyError: It is no mapping from names to numbers, a name is missing, or a number is not finite.

    Example:
        >>> checked_values({"accuracy": 1}, ("accuracy",))
        {'accuracy': 1.0}
    """
    if not isinstance(answer, Mapping):
        raise StudyError(
            f"an evaluation returns a dict of numbers; this one returned {type(answer).__name__}"
        )
    values: dict[str, float] = {}
    for key, value in answer.items():
        try:
            values[str(key)] = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise StudyError(f"the evaluation returned {value!r} for {key!r}, which is no number") from error
    for name in objectives:
        if name not in values:
            raise StudyError(
                f"the evaluation returned no {name!r}; it returned {', '.join(values) or 'nothing'}"
            )
        if not math.isfinite(values[name]):
            raise StudyError(f"the evaluation returned {values[name]} for {name!r}")
    return values
