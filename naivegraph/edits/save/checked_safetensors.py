"""Safetensors files with a header of their own and checksums of all content; no pickle."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from naivegraph.edits.save.layer_spec import checksum
from naivegraph.errors import LoadError

__all__ = ["is_saved", "read", "write"]

_KEY = "naivegraph"
_CHECK = "naivegraph_crc32"
# 2 has the graphs a network was exported from, in "origins".
_FORMATS = (1, 2)


def write(path: Path, header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a file; one that is there is replaced once the new one is complete."""
    full = {
        "format": 2 if "origins" in header else 1,
        **header,
        "checksums": {name: checksum(tensor) for name, tensor in tensors.items()},
    }
    partial = path.with_name(path.name + ".partial")
    try:
        text = json.dumps(full)
        partial.touch()
        mode = partial.stat().st_mode & 0o777  # safetensors gives files to their owner alone
        save_file(tensors, partial, metadata={_KEY: text, _CHECK: str(zlib.crc32(text.encode()))})
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def is_saved(path: Path) -> bool:
    """Check whether `write` wrote this file; False for anything that cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False


def read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The header and the tensors of a file, checked.

    Raises:
        LoadError: It is not as it was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise LoadError(f"there is no file {path}") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise LoadError(
            f"{path} is no complete safetensors file ({error}); one that torch.save wrote, torch.load reads"
        ) from error
    if _KEY not in metadata:
        raise LoadError(f"{path} was not written by ng.save; read it by safetensors.torch.load_file")
    try:
        if str(zlib.crc32(metadata[_KEY].encode())) != metadata[_CHECK]:
            raise LoadError(f"the description of the edits in {path} is damaged (not as it was saved)")
        header = json.loads(metadata[_KEY])
        found = header["format"], header["edits"], header["aliases"], header["checksums"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LoadError(f"the description of the edits in {path} is damaged ({error})") from error
    if found[0] not in _FORMATS:
        raise LoadError(
            f"{path} has format {found[0]!r}; this version reads {' and '.join(map(str, _FORMATS))}"
        )
    if not (isinstance(found[1], list) and isinstance(found[2], dict) and isinstance(found[3], dict)):
        raise LoadError(f"the description of the edits in {path} is damaged (a part has the wrong type)")
    if tensors.keys() != found[3].keys():
        missing = sorted(tensors.keys() ^ found[3].keys())
        raise LoadError(f"{path} is damaged: tensors do not match its description, {missing[0]} among them")
    for name, tensor in tensors.items():
        if checksum(tensor) != found[3][name]:
            raise LoadError(f"{path} is damaged: the numbers of {name} are not those that were saved")
    return header, tensors
