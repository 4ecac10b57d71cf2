"""Pruning to exact budgets, and a report on what may change."""

from naivegraph.prune.gradually import prune_gradually
from naivegraph.prune.prune import prune
from naivegraph.prune.report import Report, inspect
from naivegraph.prune.take_profile import profile
from naivegraph.prune.tradeoff import Tradeoff, tradeoff

__all__ = ["Report", "Tradeoff", "inspect", "profile", "prune", "prune_gradually", "tradeoff"]
