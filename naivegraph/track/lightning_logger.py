"""Logger of Lightning that writes to a run, once each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from naivegraph.edits import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.tables import Column, TextTable, as_text
from naivegraph.track.tracked_run import TrackedRun

__all__ = ["RunLogger", "log_edit"]


class RunLogger(Logger):  # type: ignore[misc]
    """Writes metrics and edits to a run.

    A run that is taken up after a kill gives the metrics of the steps since its last checkpoint again: they
    are there already, and not written twice.

    Args:
        run: The run.
    """

    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self.run = run
        self._last = {name: run.history(name)[-1][0] for name in run.metrics}

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.run.name

    @property
    def version(self) -> str:
        """MLflow's name for the run."""
        return self.run.id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write numbers measured at a step, those that are not there yet."""
        at = 0 if step is None else int(step)
        new = {name: float(value) for name, value in metrics.items() if at > self._last.get(name, -1)}
        if new:
            self.run.store.log_metrics(self.run.id, new, at)
            self._last.update(dict.fromkeys(new, at))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config of the run is written already."""

    def log_edit(self, edit: Edit, number: int, step: int) -> None:
        """Write an edit: its table, its JSON, a picture, and what costs are left."""
        self.log_change(edit.to_json(), number, str(edit))
        self.run.store.log_text(self.run.id, str(edit.plot()), f"edits/{number:03}.svg")
        costs = {name: float(value) for name, value in edit.after.items() if math.isfinite(value)}
        self.log_metrics(costs, step)

    def log_change(self, text: str, number: int, table: str | None = None) -> None:
        """Write an edit of which there is only its JSON."""
        shown = _table(text) if table is None else table
        self.run.store.log_text(self.run.id, shown, f"edits/{number:03}.txt")
        self.run.store.log_text(self.run.id, text, f"edits/{number:03}.json")


def log_edit(trainer: Any, edit: Edit, number: int) -> None:
    """Tell an edit to those loggers of a Lightning trainer that write edits.

    Args:
        trainer: The trainer.
        edit: The edit.
        number: How many edits the network had before it.
    """
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            logger.log_edit(edit, number, trainer.global_step)


def _table(text: str) -> str:
    """The sizes before and after an edit, from its JSON."""
    change = Change.from_data(json.loads(text))
    rows = [(width.name, str(width.before), str(width.after)) for width in change.widths.values()]
    told = [] if change.structure is None else [f"structure: {change.structure['verb']}"]
    columns = (Column("width"), Column("before", right=True), Column("after", right=True))
    return as_text([*told, TextTable(columns, rows)])
