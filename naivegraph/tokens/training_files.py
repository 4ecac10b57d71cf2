"""Trained models and checkpoints of trainings as safetensors and JSON, without pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from naivegraph.errors import EditError, LoadError
from naivegraph.tensor_files import joined, parted, read_tensors, write_tensors
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.vae import NetworkVAE, VAESize
from naivegraph.whole_files import write_whole

__all__ = [
    "TrainingFolder",
    "fingerprint",
    "held_out_of",
    "load_model",
    "load_networks",
    "save_model",
    "save_networks",
]

_MODEL, _CHECKPOINT, _NETWORKS, _LOG = "model", "checkpoint", "drawn", "training.log"


def save_model(model: NetworkVAE, folder: str | os.PathLike[str]) -> None:
    """Write a model into a folder as `model.json` and the tensors it names.

    Raises:
        OSError: It cannot be written.
    """
    write_tensors(Path(folder), _MODEL, _described(model), dict(model.state_dict()))


def load_model(folder: str | os.PathLike[str]) -> NetworkVAE:
    """The model that a folder holds, in eval mode.

    Raises:
        LoadError: There is none, or it is damaged.
    """
    found = read_tensors(Path(folder), _MODEL)
    if found is None:
        raise LoadError(
            f"{folder} holds no model ({_MODEL}.json): train one there by ng.tokens.train(folder=)"
        )
    described, tensors = found
    try:
        frame = Frame(**described["frame"])
        model = NetworkVAE(frame, VAESize(**described["size"]), described["condition"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise LoadError(f"the model in {folder} is damaged: {error}") from error
    return model.eval()


def save_networks(networks: Networks, folder: str | os.PathLike[str]) -> None:
    """Write networks without tasks, such as drawn ones, as `drawn.json` and the tensors it names.

    Raises:
        OSError: They cannot be written.
    """
    write_tensors(Path(folder), _NETWORKS, {"frame": dataclasses.asdict(networks.frame)}, networks.tensors())


def load_networks(folder: str | os.PathLike[str]) -> Networks:
    """The networks that `save_networks` wrote.

    Raises:
        LoadError: There are none, or they are damaged.
    """
    found = read_tensors(Path(folder), _NETWORKS)
    if found is None:
        raise LoadError(f"{folder} holds no drawn networks ({_NETWORKS}.json)")
    described, tensors = found
    try:
        return Networks(Frame(**described["frame"]), **tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise LoadError(f"the networks in {folder} are damaged: {error}") from error


def held_out_of(folder: str | os.PathLike[str], count: int) -> Tensor:
    """The numbers of the networks that the model in a folder was not trained on.

    Args:
        folder: The folder of a training.
        count: The number of networks that there are.

    Raises:
        LoadError: The folder has no checkpoint, or it was trained on another number of networks.
    """
    found = read_tensors(Path(folder), _CHECKPOINT)
    if found is None:
        raise LoadError(f"{folder} has no {_CHECKPOINT}.json, which tells what was held out")
    rows = torch.tensor(found[0].get("held_out", []), dtype=torch.int64)
    if found[0].get("networks") != count:
        raise LoadError(
            f"the model in {folder} was trained on a data set of {found[0].get('networks')} networks, not of "
            f"{count}: evaluate it with that"
        )
    return rows


class TrainingFolder:
    """The folder of a training: its checkpoint, its model so far, and its log.

    Args:
        folder: The folder; it is made if need be.
        settings: How the model is trained.
        data: The fingerprint of what it is trained on.
        networks: The number of networks that there are.
        held_out: Those of them that it is not trained on.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], data: str, networks: int, held_out: Tensor
    ) -> None:
        self._folder, self._settings, self._data = folder, dict(settings), data
        self._networks, self._held_out = networks, held_out.tolist()
        folder.mkdir(parents=True, exist_ok=True)

    def save(
        self,
        model: NetworkVAE,
        optimizer: torch.optim.Optimizer,
        step: int,
        history: list[Mapping[str, float]],
    ) -> None:
        """Write a checkpoint over the last, the model, and the log."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        described = _described(model) | {
            "optimizer": parted(optimizer.state_dict(), "optimizer", tensors),
            "settings": self._settings,
            "data": self._data,
            "step": step,
            "networks": self._networks,
            "held_out": self._held_out,
            "history": [dict(row) for row in history],
        }
        write_tensors(self._folder, _CHECKPOINT, described, tensors)
        save_model(model, self._folder)
        lines = [" ".join(f"{name}={value:.6g}" for name, value in row.items()) for row in history]
        write_whole(self._folder / _LOG, "".join(f"{line}\n" for line in lines).encode(), flush=False)

    def restore(
        self, model: NetworkVAE, optimizer: torch.optim.Optimizer
    ) -> tuple[int, list[Mapping[str, float]]] | None:
        """Bring model and optimizer to the checkpoint; return its step and history, None if there is none.

        Raises:
            EditError: The checkpoint is of another training.
            LoadError: It is damaged.
        """
        found = read_tensors(self._folder, _CHECKPOINT)
        if found is None:
            return None
        described, tensors = found
        self._check(described, model)
        try:
            mine = "model."
            state = {name.removeprefix(mine): each for name, each in tensors.items() if name.startswith(mine)}
            model.load_state_dict(state)
            optimizer.load_state_dict(joined(described["optimizer"], tensors))
            return int(described["step"]), list(described["history"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise LoadError(f"the checkpoint in {self._folder} is damaged: {error}") from error

    def _check(self, described: Mapping[str, Any], model: NetworkVAE) -> None:
        """The checkpoint is of this training."""
        wanted = _as_json(_described(model) | {"settings": self._settings, "data": self._data})
        other = [name for name, value in wanted.items() if described.get(name) != value]
        if other:
            told = _differences(described, wanted, other)
            raise EditError(
                f"{self._folder} holds another training ({told}): give another folder, or the same networks "
                "and settings to go on with it"
            )


def fingerprint(*parts: Networks | Tensor | None) -> str:
    """A hash of networks and tensors, by which the same are known again."""
    digest = hashlib.sha256()
    for part in parts:
        tensors = part.tensors() if isinstance(part, Networks) else {"": part}
        for name, value in tensors.items():
            digest.update(name.encode())
            if value is not None:
                digest.update(str((value.dtype, tuple(value.shape))).encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any], names: list[str]) -> str:
    """The differences of two descriptions in words; the hash of data says nothing."""
    found = []
    for name in names:
        if name == "data":
            found.append("of other networks or data")
        elif isinstance(there.get(name), dict) and isinstance(wanted[name], dict):
            inner = [key for key, value in wanted[name].items() if there[name].get(key) != value]
            found.append(_differences(there[name], wanted[name], inner))
        else:
            found.append(f"{name} {there.get(name)!r}, not {wanted[name]!r}")
    return "; ".join(found)


def _described(model: NetworkVAE) -> dict[str, Any]:
    """All it takes to make a model of the same shape."""
    return {
        "frame": dataclasses.asdict(model.frame),
        "size": dataclasses.asdict(model.size),
        "condition": model.condition,
    }


def _as_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """Data as it comes back from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(data))
    return found
