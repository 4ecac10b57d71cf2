"""JSON files of runs, which are there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from naivegraph.errors import TrackError
from naivegraph.whole_files import write_whole

__all__ = ["read_whole_json", "write_whole_json"]


def write_whole_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file in place of an old one, which stays until the new one is complete.

    Raises:
        TrackError: It cannot be written, such as where the disk is full.
    """
    try:
        write_whole(path, json.dumps(data, indent=1).encode())
    except OSError as error:
        raise TrackError(
            f"{path} could not be written: {error.strerror or error}. What was there is as it was; once "
            "there is room, the same call goes on"
        ) from error


def read_whole_json(path: Path) -> dict[str, Any] | None:
    """Read a file; None if there is none, or if it is damaged, as after a power cut."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
