"""Distillation in trainers of other libraries, which need not be installed."""

from __future__ import annotations

from typing import Any

from naivegraph.tuning.distillation import Distillation

__all__ = ["DistillationMixin"]


class DistillationMixin:
    """Makes a `transformers.Trainer` add a distillation loss to its own; it comes before the Trainer.

    Attributes:
        distillation: The distillation; set it before `train()`.

    Example:
        >>> class Trainer:  # stands for transformers.Trainer
        ...     def compute_loss(self, model, inputs, return_outputs=False, **more):
        ...         output = model(**inputs)
        ...         return (output["loss"], output) if return_outputs else output["loss"]
        >>> class DistillingTrainer(DistillationMixin, Trainer):
        ...     pass
    """

    distillation: Distillation | None = None

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        """The trainer's own loss of one batch, and that of the distillation.

        Args:
            model: The student, wrapped or not.
            inputs: The batch, with labels.
            return_outputs: Whether the outputs are returned along with the loss.
            more: What the trainer's own version takes besides.
        """
        parent: Any = super()
        if self.distillation is None:
            return parent.compute_loss(model, inputs, return_outputs=return_outputs, **more)
        with self.distillation.watching(model) as seen:
            loss, outputs = parent.compute_loss(model, inputs, return_outputs=True, **more)
        loss = loss + self.distillation.loss(outputs, seen, (), self.distillation.inputs_of(inputs))
        return (loss, outputs) if return_outputs else loss
