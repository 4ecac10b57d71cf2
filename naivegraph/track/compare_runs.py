"""Runs side by side: what they differ in, and what came of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from naivegraph.tables import Column, TextTable
from naivegraph.track.run_identity import parameter_text
from naivegraph.track.tracked_run import TrackedRun

__all__ = ["comparison_table", "runs_table"]

_METRICS = 3


def runs_table(runs: Sequence[TrackedRun], metrics: Iterable[str] = ()) -> TextTable:
    """A table of runs, a row each.

    Args:
        runs: The runs.
        metrics: The metrics to show; the first three there are if none is named.
    """
    names = [*metrics] or [*dict.fromkeys(name for run in runs for name in run.metrics)][:_METRICS]
    heads = [Column("run"), Column("id", no_wrap=True), Column("status"), Column("started", no_wrap=True)]
    rows = [
        [run.name, run.id[:8], run.status, _time(run), *(_shown(run, name) for name in names)] for run in runs
    ]
    return TextTable([*heads, *(Column(name, right=True) for name in names)], rows)


def comparison_table(runs: Sequence[TrackedRun]) -> list[str | TextTable]:
    """The parameters in which runs differ, and all their metrics: a column per run."""
    given = [run.parameters for run in runs]
    paths = sorted({path for each in given for path in each})
    differing = [path for path in paths if len({parameter_text(each.get(path, "")) for each in given}) > 1]
    metrics = sorted({name for run in runs for name in run.metrics})
    heads = [Column(run.id[:8], right=True) for run in runs]
    differences = [
        [path, *(parameter_text(each[path]) if path in each else "-" for each in given)] for path in differing
    ]
    measured = [[name, *(_shown(run, name) for run in runs)] for name in metrics]
    same = len(paths) - len(differing)
    return [
        TextTable([Column("parameter"), *heads], differences, caption=f"{same} parameters are the same"),
        TextTable([Column("metric"), *heads], measured),
    ]


def _time(run: TrackedRun) -> str:
    return datetime.datetime.fromtimestamp(run.started).strftime("%Y-%m-%d %H:%M")


def _shown(run: TrackedRun, metric: str) -> str:
    value = run.metrics.get(metric)
    return "-" if value is None else f"{value:.4g}"
