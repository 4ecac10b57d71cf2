"""Checkpoints of a training: safetensors files, with what is no tensor as JSON in the header; no pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from naivegraph.errors import EditError
from naivegraph.whole_files import write_whole

__all__ = ["TrainingState", "load_checkpoint", "restore", "save_checkpoint"]

_KEY = "naivegraph_training"


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """The state of a training.

    Attributes:
        config: What is trained and how.
        epoch: The epochs that are done.
        history: The scores after each epoch.
        best: The epoch with the best score.
        tensors: The tensors of the network and of the optimizer, and torch's random state.
        optimizer: What the optimizer's state dict holds beside tensors.
    """

    config: Mapping[str, Any]
    epoch: int
    history: list[dict[str, float]]
    best: int
    tensors: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]


def save_checkpoint(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    config: Mapping[str, Any],
    history: list[dict[str, float]],
    best: int,
) -> None:
    """Write where a training stands; an old file stays until the new one is complete.

    Raises:
        EditError: The optimizer holds something that JSON cannot say, or the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {f"module.{name}": each for name, each in module.state_dict().items()}
    rest = _without_tensors(optimizer.state_dict(), "optimizer", tensors)
    tensors["random"] = torch.get_rng_state()
    text = {"config": config, "history": history, "best": best, "optimizer": rest}
    try:
        header = {_KEY: json.dumps(text)}
    except TypeError as error:
        raise EditError(
            f"the state of {type(optimizer).__name__} cannot be saved as JSON: {error}"
        ) from error
    # A copy each: safetensors refuses tensors that share memory, as tied weights do.
    own = {name: each.detach().cpu().clone().contiguous() for name, each in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(own, metadata=header))
    except OSError as error:
        raise EditError(f"{path} could not be written: {error.strerror or error}") from error


def load_checkpoint(path: Path) -> TrainingState | None:
    """Read where a training stands; None if there is no file.

    Raises:
        EditError: The file is damaged, or something else than a checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[_KEY]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        data = json.loads(text)
        history, best = data["history"], data["best"]
        return TrainingState(data["config"], len(history), history, best, tensors, data["optimizer"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise EditError(
            f"{path} is no complete checkpoint ({type(error).__name__}: {error}): remove it to begin anew"
        ) from error


def restore(found: TrainingState, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give a network, its optimizer and torch's random numbers the state of a checkpoint.

    Raises:
        EditError: The checkpoint is of another network.
    """
    state = {
        name.removeprefix("module."): each
        for name, each in found.tensors.items()
        if name.startswith("module.")
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise EditError(f"the checkpoint is of another network: {' '.join(str(error).split())}") from error
    optimizer.load_state_dict(_with_tensors(found.optimizer, found.tensors))
    torch.set_rng_state(found.tensors["random"])


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Plain data, with each tensor put into a mapping and named by `{"tensor": path}`."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        # Pairs, as JSON has no keys that are numbers.
        return {
            "pairs": [[key, _without_tensors(each, f"{path}.{key}", tensors)] for key, each in value.items()]
        }
    if isinstance(value, (list, tuple)):
        rows = [_without_tensors(each, f"{path}.{i}", tensors) for i, each in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": rows}
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "pairs":
        return {key: _with_tensors(each, tensors) for key, each in content}
    rows = [_with_tensors(each, tensors) for each in content]
    return tuple(rows) if kind == "tuple" else rows
