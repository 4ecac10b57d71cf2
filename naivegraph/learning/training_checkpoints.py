"""Checkpoints of a training: safetensors and JSON, from which it goes on bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from naivegraph.errors import EditError, LoadError
from naivegraph.learning.learners import Learner
from naivegraph.tensor_files import joined, parted, read_tensors, write_tensors

__all__ = ["TrainingState", "load_checkpoint", "restore", "save_checkpoint"]

_MODULE = "module."


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """The state of a training.

    Attributes:
        config: What is trained and how.
        history: The scores after each epoch.
        best: The epoch with the best score.
        tensors: The tensors of the network and of the optimizer, and torch's random state.
        optimizer: What the optimizer's state dict holds, with names in the place of tensors.
        learner: What the learner keeps beside its network.
        kind: The class of the optimizer.
    """

    config: Mapping[str, Any]
    history: list[dict[str, float]]
    best: int
    tensors: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    learner: Mapping[str, float]
    kind: str

    @property
    def epoch(self) -> int:
        """The epochs that are done."""
        return len(self.history)


def save_checkpoint(
    folder: Path,
    name: str,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    *,
    config: Mapping[str, Any],
    history: list[dict[str, float]],
    best: int,
) -> None:
    """Write where a training stands, as `NAME.json` and the tensors it names.

    Raises:
        EditError: The optimizer holds something that JSON cannot say, or the files cannot be written.
    """
    tensors = {f"{_MODULE}{key}": each for key, each in learner.module.state_dict().items()}
    described = {
        "config": config,
        "history": history,
        "best": best,
        "optimizer": parted(optimizer.state_dict(), "optimizer", tensors),
        "learner": learner.state(),
        "kind": type(optimizer).__name__,
    }
    tensors["random"] = torch.get_rng_state()
    try:
        write_tensors(folder, name, described, tensors)
    except TypeError as error:
        raise EditError(
            f"the state of {type(optimizer).__name__} cannot be saved as JSON: {error}"
        ) from error
    except OSError as error:
        raise EditError(f"{folder / name} could not be written: {error.strerror or error}") from error


def load_checkpoint(folder: Path, name: str) -> TrainingState | None:
    """Read where a training stands; None if there is no such file.

    Raises:
        LoadError: A file is damaged, or something else than a checkpoint.
    """
    found = read_tensors(folder, name)
    if found is None:
        return None
    described, tensors = found
    fields = ("config", "history", "best", "optimizer", "learner", "kind")
    missing = [field for field in fields if field not in described]
    if missing or "random" not in tensors:
        raise LoadError(f"{folder / name}.json is no checkpoint: it has no {(missing or ['random'])[0]!r}")
    return TrainingState(tensors=tensors, **{field: described[field] for field in fields})


def restore(found: TrainingState, learner: Learner, optimizer: torch.optim.Optimizer) -> None:
    """Give a learner, its optimizer and torch's random numbers the state of a checkpoint.

    Raises:
        EditError: The checkpoint is of another network or optimizer.
    """
    if found.kind != type(optimizer).__name__:
        raise EditError(f"the checkpoint is of optimizer {found.kind}, not {type(optimizer).__name__}")
    state = {
        key.removeprefix(_MODULE): each for key, each in found.tensors.items() if key.startswith(_MODULE)
    }
    try:
        learner.module.load_state_dict(state)
    except RuntimeError as error:
        raise EditError(f"the checkpoint is of another network: {' '.join(str(error).split())}") from error
    optimizer.load_state_dict(joined(found.optimizer, found.tensors))
    learner.restore(found.learner)
    torch.set_rng_state(found.tensors["random"])
