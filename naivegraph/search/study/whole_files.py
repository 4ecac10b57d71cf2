"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from naivegraph.errors import StudyError

__all__ = ["read_json", "remove_leftovers", "write_json", "write_whole"]


def write_whole(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Write a file under another name, flush it to the disk, and rename it; the old one stays until then.

    Args:
        path: The file; its folder exists.
        content: All its bytes.
        flush: Wait for the disk; what can be made again need not survive a power cut.

    Raises:
        StudyError: It cannot be written, such as where the disk is full; an old file is as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder, "a"), b"all of it")
        ...     Path(folder, "a").read_bytes()
        b'all of it'
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(draft, path)
        if flush:
            _flush_folder(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise StudyError(
            f"{path} could not be written: {reason}. Nothing that was there is lost: once this is cured "
            "(free some space, or allow writing), the same call goes on with the study"
        ) from error


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: Any, *, flush: bool = True) -> None:
    """Write data as JSON, whole.

    Raises:
        StudyError: It is no JSON, or cannot be written.
    """
    try:
        text = json.dumps(data, indent=1)
    except (TypeError, ValueError) as error:
        raise StudyError(f"{path.name} is to hold numbers, texts, lists and dicts alone: {error}") from error
    write_whole(path, text.encode(), flush=flush)


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
