"""Checkpoints from which a run goes on as if it had not been stopped."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint

from naivegraph.track.epoch_loader import seed_of
from naivegraph.track.lease import Lease
from naivegraph.whole_files import draft_of, replace_whole

__all__ = ["RunCheckpoints", "last_checkpoint"]

_LAST, _BEFORE = "last.ckpt", "before.ckpt"


class RunCheckpoints(Checkpoint):  # type: ignore[misc]
    """Saves a checkpoint as an epoch ends; seeds random numbers by the epoch as one begins.

    The file appears whole or not at all; the one before it is kept. It holds the metrics of the epoch, which
    Lightning logs only later: a process that is killed in between has them written by the one that goes on.

    Args:
        folder: Where to.
        lease: The lease, without which nothing is written.
        every: Epochs from checkpoint to checkpoint.
        seed: The seed of the run.
    """

    def __init__(self, folder: Path, lease: Lease, every: int, seed: int) -> None:
        self._folder, self._lease, self._every, self._seed = folder, lease, every, seed
        self._metrics: dict[str, float] = {}
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """The metrics of the epoch."""
        return {"metrics": self._metrics, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the metrics of the epoch that was the last."""
        self._metrics, self._step = state_dict["metrics"], state_dict["step"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Log the metrics of the epoch that was the last; the logger knows those it has."""
        for logger in trainer.loggers:
            logger.log_metrics(self._metrics, self._step)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Seed."""
        seed = seed_of(self._seed, "epoch", trainer.current_epoch)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Save."""
        done = trainer.current_epoch + 1
        if done % self._every == 0 or done == trainer.max_epochs or trainer.should_stop:
            self._metrics = {name: float(value) for name, value in trainer.logged_metrics.items()}
            self._step = trainer.global_step - 1
            self._save(trainer)

    def _save(self, trainer: Any) -> None:
        last = self._folder / _LAST
        draft = draft_of(last)
        try:
            trainer.save_checkpoint(draft)
            self._lease.check()
            if last.exists():
                spare = draft_of(self._folder / _BEFORE)
                _linked(last, spare)
                spare.replace(self._folder / _BEFORE)
            replace_whole(draft, last)
        finally:
            draft.unlink(missing_ok=True)


def _linked(path: Path, other: Path) -> None:
    """Give a file a second name; on disks that cannot, a copy."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def last_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """The last checkpoint that can be read, and the epoch after it; a damaged one is set aside."""
    for name in (_LAST, _BEFORE):
        path = folder / name
        if not path.exists():
            continue
        try:
            epoch = int(torch.load(path, map_location="cpu", weights_only=False)["epoch"]) + 1
        except Exception:  # whatever a damaged file makes torch raise
            path.replace(path.with_suffix(".damaged"))
            continue
        return path, epoch
    return None, 0
