"""JSON files of runs, which are there whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from naivegraph.errors import TrackError

__all__ = ["draft_of", "read_whole_json", "replace_whole", "write_whole_json"]


def write_whole_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file in place of an old one, which stays until the new one is complete.

    Raises:
        TrackError: It cannot be written, such as where the disk is full.
    """
    draft = draft_of(path)
    try:
        draft.write_text(json.dumps(data, indent=1), encoding="utf-8")
        replace_whole(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise TrackError(
            f"{path} could not be written: {error.strerror or error}. What was there is as it was; once "
            "there is room, the same call goes on"
        ) from error


def draft_of(path: Path) -> Path:
    """A name beside a file under which its successor is written."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")


def replace_whole(draft: Path, path: Path) -> None:
    """Flush a file to the disk and give it the name of another, which it replaces."""
    with open(draft, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(draft, path)


def read_whole_json(path: Path) -> dict[str, Any] | None:
    """Read a file; None if there is none, or if it is damaged, as after a power cut."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
