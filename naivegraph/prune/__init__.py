"""Pruning to exact budgets."""

from naivegraph.prune.prune import prune

__all__ = ["prune"]
