"""Tensors and what tells about them, as safetensors and JSON in a folder; no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from naivegraph.errors import LoadError
from naivegraph.whole_files import write_whole

__all__ = ["joined", "parted", "read_tensors", "write_tensors"]


def write_tensors(
    folder: Path, name: str, described: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write `NAME.json`, and the safetensors that it names with their checksum.

    What was there stays until all is complete, whatever happens.

    Args:
        folder: The folder; it is made if need be.
        name: The name of the content.
        described: What JSON can say.
        tensors: The tensors by name; they may share memory.

    Raises:
        OSError: It cannot be written.
        TypeError: JSON cannot say what is described.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(Path(folder), "a", {"step": 3}, {"x": torch.ones(2)})
        ...     described, tensors = read_tensors(Path(folder), "a")
        >>> described, tensors
        ({'step': 3}, {'x': tensor([1., 1.])})
    """
    from safetensors.torch import save

    json.dumps(described)  # before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:12]}.safetensors"
    write_whole(folder / file, content)
    data = {**described, "tensors": file, "sha256": digest}
    write_whole(folder / f"{name}.json", json.dumps(data, indent=1).encode())
    for old in folder.glob(f"{name}-*.safetensors"):
        if old.name != file:
            old.unlink(missing_ok=True)


def read_tensors(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Read what `write_tensors` wrote; None if there is nothing.

    Raises:
        LoadError: It is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / f"{name}.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from error
    try:
        described = json.loads(text)
        file, wanted = described.pop("tensors"), described.pop("sha256")
        content = (folder / file).read_bytes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(
            f"{path} is damaged, or what it names is missing ({error}): delete it to start anew"
        ) from error
    if hashlib.sha256(content).hexdigest() != wanted:
        raise LoadError(f"{folder / file} is damaged: its numbers are not those that were saved")
    try:
        return described, load(content)
    except SafetensorError as error:
        raise LoadError(f"{folder / file} is damaged: {error}") from error


def parted(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Plain data in the place of data with tensors in it, such as the state of an optimizer.

    Args:
        value: Mappings, lists and tuples of numbers, text and tensors.
        path: The name that tensors' names begin with.
        tensors: Takes the tensors, by name.

    Example:
        >>> import torch
        >>> found = {}
        >>> plain = parted({0: (torch.ones(1), 2)}, "a", found)
        >>> plain, found
        ({'pairs': [[0, {'tuple': [{'tensor': 'a.0.0'}, 2]}]]}, {'a.0.0': tensor([1.])})
        >>> joined(plain, found)
        {0: (tensor([1.]), 2)}
    """
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        # Pairs, as JSON has no keys that are numbers.
        return {"pairs": [[key, parted(each, f"{path}.{key}", tensors)] for key, each in value.items()]}
    if isinstance(value, (list, tuple)):
        rows = [parted(each, f"{path}.{i}", tensors) for i, each in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": rows}
    return value


def joined(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `parted`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "pairs":
        return {key: joined(each, tensors) for key, each in content}
    rows = [joined(each, tensors) for each in content]
    return tuple(rows) if kind == "tuple" else rows
