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
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from naivegraph.errors import EditError, LoadError
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
    """Write a model into a folder as `model.safetensors` and `model.json`.

    Raises:
        OSError: It cannot be written.
    """
    _write(Path(folder), _MODEL, _described(model), dict(model.state_dict()))


def load_model(folder: str | os.PathLike[str]) -> NetworkVAE:
    """The model that a folder holds, in eval mode.

    Raises:
        LoadError: There is none, or it is damaged.
    """
    found = _read(Path(folder), _MODEL)
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
    _write(Path(folder), _NETWORKS, {"frame": dataclasses.asdict(networks.frame)}, networks.tensors())


def load_networks(folder: str | os.PathLike[str]) -> Networks:
    """The networks that `save_networks` wrote.

    Raises:
        LoadError: There are none, or they are damaged.
    """
    found = _read(Path(folder), _NETWORKS)
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
    found = _read(Path(folder), _CHECKPOINT)
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
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        described = _described(model) | {
            "settings": self._settings,
            "data": self._data,
            "step": step,
            "networks": self._networks,
            "held_out": self._held_out,
            "history": [dict(row) for row in history],
        }
        _write(self._folder, _CHECKPOINT, described, tensors)
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
        found = _read(self._folder, _CHECKPOINT)
        if found is None:
            return None
        described, tensors = found
        self._check(described, model)
        try:
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
            for name, value in tensors.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = value
            model.load_state_dict(parts["model"])
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in parts["optimizer"].items():
                number, _, rest = name.partition(".")
                state.setdefault(int(number), {})[rest] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            return int(described["step"]), list(described["history"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise LoadError(f"the checkpoint in {self._folder} is damaged: {error}") from error

    def _check(self, described: Mapping[str, Any], model: NetworkVAE) -> None:
        """The checkpoint is of this training."""
        wanted = _as_json(_described(model) | {"settings": self._settings, "data": self._data})
        other = [name for name, value in wanted.items() if described.get(name) != value]
        if other:
            told = {"data": "other networks"}.get(other[0], f"{other[0]} {described.get(other[0])}")
            raise EditError(
                f"{self._folder} holds a training of {told}: give another folder, or the same networks and "
                "settings to go on with it"
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


def _write(folder: Path, name: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, then the JSON that names them; what was there stays until both are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:12]}.safetensors"
    write_whole(folder / file, content, flush=False)
    data = dict(described) | {"tensors": file, "sha256": digest}
    write_whole(folder / f"{name}.json", json.dumps(data, indent=1).encode())
    for old in folder.glob(f"{name}-*.safetensors"):
        if old.name != file:
            old.unlink(missing_ok=True)


def _read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Content that `_write` wrote; None if there is nothing.

    Raises:
        LoadError: It is damaged.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        content = (folder / described["tensors"]).read_bytes()
        wanted = described["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadError(
            f"{path} is damaged, or what it names is missing ({error}): delete it to start anew"
        ) from error
    if hashlib.sha256(content).hexdigest() != wanted:
        raise LoadError(
            f"{folder / described['tensors']} is damaged: its numbers are not those that were saved"
        )
    try:
        return described, load(content)
    except SafetensorError as error:
        raise LoadError(f"{folder / described['tensors']} is damaged: {error}") from error
