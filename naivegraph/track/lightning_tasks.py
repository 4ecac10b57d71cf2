"""Tasks that Lightning trains a network for: classification, regression, distillation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from naivegraph.errors import TrackError
from naivegraph.track.edits_in_checkpoint import EditsInCheckpoint
from naivegraph.tuning import Distillation, distillation

__all__ = ["ClassificationTask", "DistillationTask", "NetworkTask", "RegressionTask"]

MakeOptimizer = Callable[[Iterable[Any]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


class NetworkTask(EditsInCheckpoint, LightningModule):  # type: ignore[misc]
    """A network, its optimizer and its schedule; checkpoints hold the edits of the network.

    A subclass says what the loss of a batch is, and what is measured.

    Args:
        network: The network.
        optimizer: A function of parameters that makes their optimizer; AdamW with rate 0.001 if None.
        scheduler: A function of the optimizer that makes its scheduler; none if None.
        scheduler_interval: The time after which the scheduler moves on.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        self.network = network
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self._interval = scheduler_interval

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network."""
        return self.network(*args, **kwargs)

    def measured(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of a batch, and what else is measured of it, by name."""
        raise NotImplementedError

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        """The loss, logged as `train_loss`, the mean of an epoch."""
        loss, values = self.measured(batch)
        self._tell("train", {"loss": loss, **values}, batch)
        return loss

    def validation_step(self, batch: Any, number: int) -> None:
        """Log `val_loss` and what else is measured."""
        loss, values = self.measured(batch)
        self._tell("val", {"loss": loss, **values}, batch)

    def test_step(self, batch: Any, number: int) -> None:
        """Log `test_loss` and what else is measured."""
        loss, values = self.measured(batch)
        self._tell("test", {"loss": loss, **values}, batch)

    def _tell(self, stage: str, values: dict[str, torch.Tensor], batch: Any) -> None:
        named = {f"{stage}_{name}": value.detach() for name, value in values.items()}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(_inputs(batch)))

    def configure_optimizers(self) -> Any:
        """The optimizer, and the scheduler if there is one."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        make = self._make_optimizer
        optimizer = torch.optim.AdamW(parameters, lr=1e-3) if make is None else make(parameters)
        if self._make_scheduler is None:
            return optimizer
        scheduler = self._make_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self._interval}}


class ClassificationTask(NetworkTask):
    """Cross entropy of the network's outputs `[samples, classes, ...]` and labels; logs the accuracy.

    Args:
        network: The network; a batch is its input and the labels.
        label_smoothing: As for `torch.nn.CrossEntropyLoss`.
        options: Those of `NetworkTask`.
    """

    def __init__(self, network: nn.Module, *, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(network, **options)
        self._smoothing = label_smoothing

    def measured(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss and the accuracy."""
        output, labels = self.network(_inputs(batch)), _targets(batch)
        loss = F.cross_entropy(output, labels, label_smoothing=self._smoothing)
        return loss, {"accuracy": (output.argmax(1) == labels).float().mean()}


class RegressionTask(NetworkTask):
    """Mean squared error of the network's outputs and targets of the same shape."""

    def measured(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and the mean absolute error."""
        output, targets = self.network(_inputs(batch)), _targets(batch)
        if output.shape != targets.shape:
            targets = targets.reshape(output.shape) if output.numel() == targets.numel() else targets
        if output.shape != targets.shape:
            raise TrackError(
                f"the network gives {tuple(output.shape)}, the targets are {tuple(targets.shape)}: a loss of "
                "both would compare each with all others"
            )
        targets = targets.to(output.dtype)
        return F.mse_loss(output, targets), {"absolute_error": (output - targets).abs().mean()}


class DistillationTask(NetworkTask):
    """Cross entropy with labels, and what `ng.distillation` gives of a teacher's outputs.

    Args:
        network: The student; a batch is its input and the labels.
        teacher: The teacher, such as `naivegraph.track.trained` gives of a run.
        weight: The part of the loss that the distillation has, from 0 to 1.
        temperature: As for `ng.distillation`.
        options: Those of `NetworkTask`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        teacher: nn.Module,
        weight: float = 0.5,
        temperature: float = 4.0,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self._weight, self._temperature = weight, temperature
        self._teacher = (teacher.eval().requires_grad_(False),)  # in a tuple: no part of the checkpoint
        self._distillation: Distillation | None = None

    def measured(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, its parts, and the accuracy."""
        inputs, labels = _inputs(batch), _targets(batch)
        if self._distillation is None:
            self._distillation = distillation(
                self.network, self._teacher[0], inputs[:1], temperature=self._temperature
            )
        output, soft = self._distillation(inputs)
        hard = F.cross_entropy(output, labels)
        loss = self._weight * soft + (1 - self._weight) * hard
        accuracy = (output.argmax(1) == labels).float().mean()
        return loss, {"distillation": soft, "cross_entropy": hard, "accuracy": accuracy}


def _inputs(batch: Any) -> Any:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TrackError(
            f"a batch is to be inputs and targets, not {type(batch).__name__}: have the dataset give such "
            "pairs, or name a task of your own (task.class_path)"
        )
    return batch[0]


def _targets(batch: Any) -> Any:
    return batch[1]
