"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

__all__ = ["draft_of", "replace_whole", "write_whole"]


def write_whole(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Write a file under another name, flush it to the disk, and rename it; the old one stays until then.

    Args:
        path: The file; its folder exists.
        content: All its bytes.
        flush: Wait for the disk; what can be made again need not survive a power cut.

    Raises:
        OSError: It cannot be written, such as where the disk is full; an old file is as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder, "a"), b"all of it")
        ...     Path(folder, "a").read_bytes()
        b'all of it'
    """
    draft = draft_of(path)
    try:
        with open(draft, "xb") as file:
            file.write(content)
        replace_whole(draft, path, flush=flush)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def draft_of(path: Path) -> Path:
    """A name beside a file under which its successor is written."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")


def replace_whole(draft: Path, path: Path, *, flush: bool = True) -> None:
    """Give a file that is complete the name of another, which it replaces.

    Args:
        draft: The file.
        path: Its new name.
        flush: Wait for the disk, before and after.
    """
    if flush:
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
    os.replace(draft, path)
    if flush:
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
