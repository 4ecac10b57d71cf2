"""Locks that the kernel takes back from a process that dies."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType

__all__ = ["KernelLock"]


class KernelLock:
    """A lock on a file, held by one process of this machine at a time.

    A file with a process id and a time in it can be stale, and two that find it stale can both break it. This
    one is `flock`: when its holder dies, however that happens, the kernel frees it. Its file stays: to remove
    it would let two hold locks on two files of one name. It holds among the processes of one machine.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, second = (KernelLock(Path(folder, "a.lock")) for _ in range(2))
        ...     print(first.claim(), second.claim())
        ...     first.release()
        ...     print(second.claim())
        ...     second.release()
        True False
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def claim(self) -> bool:
        """Take the lock if it is free, at once; tell whether it is held now."""
        if self._handle is not None:
            return True
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(handle):
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> KernelLock:
        """Wait for the lock; meant for work of milliseconds."""
        while not self.claim():
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        """Lock an open file, or tell that another process has."""
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        """Lock an open file, or tell that another process has."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
