"""State dicts as safetensors, in memory and in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naivegraph.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pack", "read_weights", "unpack"]


def pack(state: Mapping[str, Any]) -> bytes:
    """Write a state dict as safetensors.

    Raises:
        StudyError: It holds something else than tensors, which could only be pickled.

    Example:
        >>> import torch
        >>> unpack(pack({"weight": torch.ones(2)}))["weight"].tolist()
        [1.0, 1.0]
    """
    import torch
    from safetensors.torch import save

    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise StudyError(
            f"the state dict holds {others[0]!r}, which is no tensor; a study stores tensors alone. Make it "
            "a buffer, or leave it out of the state dict"
        )
    # A copy each: safetensors refuses tensors that share memory, and tied weights do.
    return save({name: value.detach().cpu().clone().contiguous() for name, value in state.items()})


def unpack(content: bytes) -> dict[str, Tensor]:
    """Read a state dict.

    Raises:
        ValueError: The content is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def read_weights(path: Path) -> dict[str, Tensor] | None:
    """Read a file; None if there is none.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return unpack(path.read_bytes())
    except FileNotFoundError:
        return None
