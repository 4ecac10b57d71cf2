"""Pruning to exact budgets, and a report on what may change."""

from naivegraph.prune.gradually import prune_gradually
from naivegraph.prune.prune import prune
from naivegraph.prune.report import Report, inspect

__all__ = ["Report", "inspect", "prune", "prune_gradually"]
