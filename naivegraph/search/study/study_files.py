"""Files of a study, which are there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.whole_files import write_whole

__all__ = ["read_json", "remove_leftovers", "write_bytes", "write_json"]


def write_bytes(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Write a file whole.

    Args:
        path: The file; its folder exists.
        content: All its bytes.
        flush: Wait for the disk; what can be made again need not survive a power cut.

    Raises:
        StudyError: It cannot be written, such as where the disk is full; an old file is as it was.
    """
    try:
        write_whole(path, content, flush=flush)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyError(
            f"{path} could not be written: {reason}. Nothing that was there is lost: once this is cured "
            "(free some space, or allow writing), the same call goes on with the study"
        ) from error


def write_json(path: Path, data: Any, *, flush: bool = True) -> None:
    """Write data as JSON, whole.

    Raises:
        StudyError: It is no JSON, or cannot be written.
    """
    try:
        text = json.dumps(data, indent=1)
    except (TypeError, ValueError) as error:
        raise StudyError(f"{path.name} is to hold numbers, texts, lists and dicts alone: {error}") from error
    write_bytes(path, text.encode(), flush=flush)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read an object written as JSON; None if there is no file.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    data = json.loads(content.decode())
    if not isinstance(data, dict):
        raise ValueError(f"an object was expected, not {type(data).__name__}")
    return data


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed have left half written; an hour old, so that nobody is at it."""
    for draft in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):  # another process may do the same
            if draft.stat().st_mtime < time.time() - 3600:
                draft.unlink()
