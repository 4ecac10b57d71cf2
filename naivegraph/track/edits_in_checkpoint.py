"""Edits in the checkpoints of Lightning, as plain data, so that checkpoints of edited networks load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from naivegraph.edits.save.save import edits_header, restored
from naivegraph.errors import LoadError
from naivegraph.graph.export.history import history_of, origins_of

__all__ = ["EditsInCheckpoint", "hold_edits", "load_from_checkpoint", "read_edits", "write_edits"]

_KEY = "naivegraph_edits"

_Task = TypeVar("_Task", bound=nn.Module)


class EditsInCheckpoint:
    """Makes the checkpoints of a LightningModule hold the edits of its networks; it comes before that class.

    With it `load_from_checkpoint`, `trainer.fit(..., ckpt_path=...)` and the like first edit the fresh
    networks as they were edited, and then read the weights. The edits are texts, and tensors of examples
    where a structure was edited; nothing is pickled.

    Example:
        >>> class LightningModule:  # stands for that of Lightning
        ...     def on_save_checkpoint(self, checkpoint): ...
        ...     def on_load_checkpoint(self, checkpoint): ...
        >>> class Classifier(EditsInCheckpoint, LightningModule):
        ...     pass
    """

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the edits."""
        parent: Any = super()
        parent.on_save_checkpoint(checkpoint)
        write_edits(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Carry out the edits, before weights are read."""
        read_edits(self, checkpoint)
        parent: Any = super()
        parent.on_load_checkpoint(checkpoint)


def write_edits(task: Any, checkpoint: dict[str, Any]) -> None:
    """Write the edits of the networks that are children of a module into its checkpoint.

    Raises:
        EditError: A structure was edited, and the child is neither the graph's `to_module()` nor inside one.
    """
    found: dict[str, Any] = {}
    for name, child in task.named_children():
        if history_of(child) or origins_of(child):
            header, examples = edits_header(child)
            names = [key for key in child.state_dict() if _is_tensor(checkpoint, f"{name}.{key}")]
            found[name] = {"header": json.dumps(header), "names": names, "examples": examples}
    if found:
        checkpoint[_KEY] = found


def read_edits(task: Any, checkpoint: Mapping[str, Any]) -> None:
    """Carry out the edits in a checkpoint on the fresh networks of a module; those that have them stay.

    Raises:
        LoadError: A network is another one than that which was edited.
    """
    for name, data in (checkpoint.get(_KEY) or {}).items():
        child = getattr(task, name, None)
        if not isinstance(child, nn.Module):
            raise LoadError(
                f"the checkpoint has edits of {name!r}, which {type(task).__name__} does not have"
            )
        state = {key: checkpoint["state_dict"][f"{name}.{key}"] for key in data["names"]}
        tensors = {**state, **data["examples"]}
        made = restored(child, json.loads(data["header"]), tensors, f"the checkpoint, of {name!r}")
        if made is not child:
            setattr(task, name, made)


def load_from_checkpoint(task: type[_Task], path: str | Path, **options: Any) -> _Task:
    """Load a checkpoint with edits into a LightningModule, one without `EditsInCheckpoint`, too.

    Args:
        task: The class of the LightningModule.
        path: The checkpoint.
        options: Those of its own `load_from_checkpoint`, such as arguments of the class: `network=...`, a
            network as it was built before any edit.

    Raises:
        LoadError: The network is another one than that which was edited.
    """
    kind: Any = task if issubclass(task, EditsInCheckpoint) else _holding(task)
    loaded = kind.load_from_checkpoint(path, **options)
    loaded.__class__ = task
    return loaded  # type: ignore[no-any-return]


def hold_edits(task: Any) -> None:
    """Make a LightningModule without `EditsInCheckpoint` one that has it, from now on."""
    if not isinstance(task, EditsInCheckpoint):
        task.__class__ = _holding(type(task))


def _holding(kind: Any) -> Any:
    """A class that behaves as another one, and has `EditsInCheckpoint`."""
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (EditsInCheckpoint, kind), named)


def _is_tensor(checkpoint: Mapping[str, Any], name: str) -> bool:
    return isinstance(checkpoint["state_dict"].get(name), torch.Tensor)
