"""Training around edits: penalties that make neurons small before, losses that bring accuracy back after."""

from naivegraph.tuning.distillation import Distillation, Distilled, distillation
from naivegraph.tuning.sparsity_penalty import SparsityPenalty, sparsity_penalty
from naivegraph.tuning.trainer_mixin import DistillationMixin

__all__ = [
    "Distillation",
    "DistillationMixin",
    "Distilled",
    "SparsityPenalty",
    "distillation",
    "sparsity_penalty",
]
