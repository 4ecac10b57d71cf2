"""Saving an edited network and loading it into a fresh one: safetensors with the edits as JSON, no pickle."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from naivegraph.edits.change import Change, apply, find_tensor, history_of
from naivegraph.errors import EditError, LoadError, NaivegraphError

__all__ = ["load", "save"]

_KEY = "naivegraph"
_CHECK = "naivegraph_crc32"
_FORMAT = 1


def save(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a network's tensors and its edits to a safetensors file.

    Args:
        module: A network, edited by this package or not.
        path: Where to; an existing file is replaced once the new one is complete.

    Raises:
        NaivegraphError: The network has state that is no tensor.
        EditError: Its structure was edited, which cannot be replayed yet.

    Example:
        >>> import tempfile, torch, naivegraph as ng
        >>> build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> net, x = build(), torch.ones(1, 4)
        >>> edit = ng.prune(net, x, ratio=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ng.save(net, folder + "/small.safetensors")
        ...     copy = ng.load(build(), folder + "/small.safetensors")
        >>> bool((copy(x) == net(x)).all()), copy[0].out_features
        (True, 4)
    """
    _check_replayable(module)
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise NaivegraphError(
                f"{name} of the network is {type(value).__name__}, not a tensor, and cannot be saved"
            )
        key = (
            (value.data_ptr(), tuple(value.shape), value.stride(), value.dtype) if value.numel() else (name,)
        )
        if key in seen:
            aliases[name] = seen[key]
            continue
        seen[key] = name
        tensors[name] = value.detach().cpu().contiguous().clone()
    header = {
        "format": _FORMAT,
        "class": type(module).__name__,
        "edits": history_of(module),
        "aliases": aliases,
        "checksums": {name: _checksum(tensor) for name, tensor in tensors.items()},
    }
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        text = json.dumps(header)
        save_file(tensors, partial, metadata={_KEY: text, _CHECK: str(zlib.crc32(text.encode()))})
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load(module: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Make a fresh network the saved one: replay its edits, then copy the tensors in.

    Args:
        module: A network as it was built before any edit, or one with the very edits of the file.
        path: A file written by `save`.

    Returns:
        `module` itself.

    Raises:
        LoadError: The file is damaged, or was saved from another network; `module` is as it was.
    """
    header, tensors = _read(Path(path))
    undone: list[Callable[[], None]] = []
    try:
        changes = _changes(header["edits"], module, path)
        undone.extend(apply(change, module) for change in changes)
        _copy_in(module, header["aliases"], tensors)
    except BaseException as error:
        while undone:
            undone.pop()()
        if isinstance(error, EditError):
            raise LoadError(f"{path} was saved from another network: {error}") from error
        raise
    return module


def _check_replayable(module: nn.Module) -> None:
    for text in history_of(module):
        structure = json.loads(text).get("structure")
        if structure is not None:
            raise EditError(
                f"the structure of the network was edited ({structure['verb']}), which cannot be replayed "
                "yet: save graph.to_module() instead"
            )


def _checksum(tensor: torch.Tensor) -> int:
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The header and the tensors of a file, checked."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise LoadError(f"there is no file {path}") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise LoadError(f"{path} is no complete safetensors file: {error}") from error
    if _KEY not in metadata:
        raise LoadError(f"{path} was not written by naivegraph.save; load it with safetensors")
    try:
        if str(zlib.crc32(metadata[_KEY].encode())) != metadata[_CHECK]:
            raise LoadError(f"the description of the edits in {path} is damaged (not as it was saved)")
        header = json.loads(metadata[_KEY])
        found = header["format"], header["edits"], header["aliases"], header["checksums"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LoadError(f"the description of the edits in {path} is damaged ({error})") from error
    if found[0] != _FORMAT:
        raise LoadError(f"{path} has format {found[0]!r}; this version reads format {_FORMAT}")
    if not (isinstance(found[1], list) and isinstance(found[2], dict) and isinstance(found[3], dict)):
        raise LoadError(f"the description of the edits in {path} is damaged (a part has the wrong type)")
    if tensors.keys() != found[3].keys():
        missing = sorted(tensors.keys() ^ found[3].keys())
        raise LoadError(f"{path} is damaged: tensors do not match its description, {missing[0]} among them")
    for name, tensor in tensors.items():
        if _checksum(tensor) != found[3][name]:
            raise LoadError(f"{path} is damaged: the numbers of {name} are not those that were saved")
    return header, tensors


def _changes(edits: list[Any], module: nn.Module, path: Any) -> list[Change]:
    """The edits still to be made on the module."""
    done = history_of(module)
    if done and done != edits:
        raise LoadError(f"the network was edited already, not as in {path}: load into a freshly built one")
    try:
        return [] if done else [Change.from_json(text) for text in edits]
    except ValueError as error:
        raise LoadError(f"the description of the edits in {path} is damaged ({error})") from error


def _copy_in(module: nn.Module, aliases: dict[str, str], tensors: dict[str, torch.Tensor]) -> None:
    """Copy tensors into a network of the same shape; checks all first, puts all back if it is stopped."""
    wanted = {name for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    names = {**{name: name for name in tensors}, **{str(k): str(v) for k, v in aliases.items()}}
    for what, difference in (("lacks", wanted - names.keys()), ("has no place for", names.keys() - wanted)):
        if difference:
            subject = "the file" if what == "lacks" else "the network"
            raise EditError(f"{subject} {what} {min(difference)}")
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    for name, source in names.items():
        target, value = find_tensor(module, name), tensors.get(source)
        if target is None or value is None:
            raise EditError(f"{name} is nowhere to be found")
        if target.shape != value.shape or target.dtype != value.dtype:
            raise EditError(
                f"{name} is {tuple(target.shape)} of {target.dtype} in the network and "
                f"{tuple(value.shape)} of {value.dtype} in the file"
            )
        pairs.append((target, value))
    before: list[tuple[torch.Tensor, torch.Tensor]] = []
    with torch.no_grad():
        try:
            for target, value in pairs:
                before.append((target, target.clone()))
                target.copy_(value)
        except BaseException:
            for target, old in before:
                target.copy_(old)
            raise
