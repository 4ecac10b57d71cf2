"""Training by epochs, which goes on from its last checkpoint bit for bit."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from naivegraph.edits.request.validate import whole
from naivegraph.errors import EditError, nearest
from naivegraph.learning.learners import Learner
from naivegraph.learning.levenberg_marquardt_optimizer import LevenbergMarquardt
from naivegraph.learning.splits import Split
from naivegraph.learning.training_checkpoints import load_checkpoint, restore, save_checkpoint
from naivegraph.learning.training_log import TrainingLog, opened_log
from naivegraph.own_randomness import own_randomness

__all__ = ["DivergedError", "Epochs", "TrainedLearner", "train"]


class DivergedError(EditError):
    """The loss is no number any more."""


@dataclasses.dataclass(frozen=True)
class Epochs:
    """A plan of epochs, and what is kept.

    Attributes:
        epochs: The number of epochs.
        batch_size: Examples in a step.
        checkpoint_every: Epochs from checkpoint to checkpoint.
        score: The score by which the best epoch is chosen, on the examples held out.
        direction: Whether it is to be small ("min") or large ("max").
        seed: The seed of the order of examples, and of dropout.

    Raises:
        EditError: A number is none, or below 1.
    """

    epochs: int = 100
    batch_size: int = 64
    checkpoint_every: int = 10
    score: str = "loss"
    direction: Literal["min", "max"] = "min"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every"):
            whole(getattr(self, name), name, 1)
        if self.direction not in ("min", "max"):
            raise EditError(f"direction is {self.direction!r}: say 'min' or 'max'")


@dataclasses.dataclass(frozen=True)
class TrainedLearner:
    """The end of a training.

    Attributes:
        folder: Where its checkpoints `last` and `best` are, JSON and the tensors it names, and its log.
        history: The scores on the examples held out, after each epoch.
        best: The best epoch, from 1 on.
        score: The score of that epoch.
        report: One line on the network as it is at the end.
    """

    folder: Path
    history: list[dict[str, float]]
    best: int
    score: float
    report: str

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the best epoch."""
        return self.history[self.best - 1]


def train(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    folder: str | os.PathLike[str],
    plan: Epochs | None = None,
    *,
    split: Split | None = None,
    config: Mapping[str, Any] | None = None,
    console: bool = False,
    tensorboard: bool | None = False,
) -> TrainedLearner:
    """Train, or go on with a training that was stopped, from its last checkpoint.

    Args:
        learner: What is trained. After a stop, one made in the same way.
        optimizer: An optimizer of its parameters.
        folder: Where checkpoints and logs are kept.
        plan: How long is trained; more epochs than before train further.
        split: How examples are shared out.
        config: Plain data that says what is trained; a checkpoint of another config is not gone on with.
        console: Whether to say the scores on standard error.
        tensorboard: Whether to write for TensorBoard; if None, where it is installed.

    Raises:
        EditError: The checkpoint is damaged or of another training, or there is no such score.
        DivergedError: The loss is no number any more.

    Example:
        >>> import tempfile
        >>> from naivegraph.learning import QuineLearner, perceptron
        >>> learner = QuineLearner(perceptron([4, 6, 1]), dim=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     adam = torch.optim.Adam(learner.module.parameters())
        ...     found = train(learner, adam, folder, Epochs(epochs=3))
        >>> len(found.history), sorted(found.scores)
        (3, ['largest', 'loss', 'relative'])
    """
    plan, place = plan or Epochs(), Path(folder)
    chosen, held = (split or Split()).of(learner.count)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"{place} is no folder, and cannot be made one: {error.strerror}") from error
    with (
        own_randomness(plan.seed, threads=None),
        opened_log(place, console=console, tensorboard=tensorboard) as log,
    ):
        run = _Run(learner, optimizer, place, plan, dict(config or {}), log)
        run.go_on()
        while len(run.history) < plan.epochs:
            run.epoch(chosen, held)
        report = learner.report()
        if report:
            log.say(report)
    return TrainedLearner(place, run.history, run.best, run.history[run.best - 1][plan.score], report)


class _Run:
    """A training under way."""

    def __init__(
        self,
        learner: Learner,
        optimizer: torch.optim.Optimizer,
        folder: Path,
        plan: Epochs,
        config: Mapping[str, Any],
        log: TrainingLog,
    ) -> None:
        self._learner, self._optimizer, self._folder = learner, optimizer, folder
        self._plan, self._config, self._log = plan, config, log
        self.history: list[dict[str, float]] = []
        self.best = 0

    def go_on(self) -> None:
        """Take up the last checkpoint, if there is one."""
        found = load_checkpoint(self._folder, "last")
        if found is None:
            return
        if found.config != self._config:
            keys = {*found.config, *self._config}
            other = sorted(key for key in keys if found.config.get(key) != self._config.get(key))
            raise EditError(
                f"{self._folder} holds a training of another config ({', '.join(other)} differ): give "
                "another folder, or remove this one"
            )
        restore(found, self._learner, self._optimizer)
        self.history, self.best = found.history, found.best
        self._log.say(f"going on after epoch {found.epoch}")

    def epoch(self, chosen: torch.Tensor, held: torch.Tensor) -> None:
        """Train for an epoch, score it, and keep what is to be kept."""
        learner, module, plan = self._learner, self._learner.module, self._plan
        if isinstance(self._optimizer, LevenbergMarquardt):
            learner.solve(chosen, self._optimizer.steps, self._optimizer.tolerance)
        else:
            module.train()
            for part in torch.split(chosen[torch.randperm(len(chosen))], plan.batch_size):
                self._step(part)
        learner.after_epoch(len(self.history) + 1)
        module.eval()
        try:
            scores = {name: float(value) for name, value in learner.scores(held).items()}
        except (TypeError, ValueError, RuntimeError) as error:
            raise EditError(f"{type(learner).__name__}.scores gives what is no number: {error}") from error
        if plan.score not in scores:
            known = nearest(plan.score, scores, otherwise=f"there are {', '.join(scores)}")
            raise EditError(f"there is no score {plan.score!r}{known}")
        self.history.append(scores)
        self._log.scores(len(self.history), plan.epochs, scores)
        self._keep()

    def _step(self, part: torch.Tensor) -> None:
        """One step on a batch; optimizers that look at the loss several times, as L-BFGS, may."""

        def closure() -> float:
            """The loss, with its derivatives."""
            self._optimizer.zero_grad()
            loss = self._learner.loss(part)
            if loss.numel() != 1:
                kind = type(self._learner).__name__
                raise EditError(f"{kind}.loss gives {tuple(loss.shape)}: it is to be a mean, one number")
            now = float(loss.detach())
            if not math.isfinite(now):
                raise DivergedError(
                    f"the loss is {now} in epoch {len(self.history) + 1}: take a smaller learning rate; what "
                    f"{self._folder} holds is from before"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            return now

        try:
            self._optimizer.step(closure)
        except RuntimeError as error:
            raise EditError(f"{type(self._optimizer).__name__} could not take a step: {error}") from error

    def _keep(self) -> None:
        """Write the checkpoints that are due."""
        plan, now = self._plan, len(self.history)
        sign = 1 if plan.direction == "min" else -1
        score = self.history[-1][plan.score]
        record = self.history[self.best - 1][plan.score] if self.best else math.nan
        better = not self.best or sign * score < sign * record or (math.isnan(record) and score == score)
        self.best = now if better else self.best
        if better:
            self._save("best")
        if now % plan.checkpoint_every == 0 or now >= plan.epochs:
            self._save("last")

    def _save(self, name: str) -> None:
        save_checkpoint(
            self._folder,
            name,
            self._learner,
            self._optimizer,
            config=self._config,
            history=self.history,
            best=self.best,
        )
