"""Leases: the right to train a run, which passes on when its holder dies, on whatever machine."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from naivegraph.errors import TrackError
from naivegraph.kernel_lock import KernelLock
from naivegraph.track.whole_json import read_whole_json, write_whole_json

__all__ = ["Lease"]


class Lease:
    """The right to train one run, held by one process among those that share a folder.

    The holder's heartbeat is a number in a file, which a thread of it raises. Another process takes the lease
    over once that number has not changed for some seconds of its own clock, so that clocks need not agree;
    on the holder's own machine as soon as the holder is gone. A holder that was halted for longer than that
    finds the lease lost, and must not write any more (`check`).

    Args:
        path: The file.
        patience: Seconds without a heartbeat after which a holder counts as dead.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, second = (Lease(Path(folder, "lease.json")) for _ in range(2))
        ...     print(first.claim(), second.claim())
        ...     first.release()
        ...     print(second.claim())
        ...     second.release()
        True False
        True
    """

    def __init__(self, path: Path, *, patience: float = 60.0) -> None:
        self.path, self.patience = path, patience
        self._own = uuid.uuid4().hex
        self._seen: tuple[Any, float] | None = None
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def claim(self) -> bool:
        """Take the lease if nobody alive holds it; tell whether it is held now."""
        with self._lock():
            found = self._read()
            if found.get("holder") not in (None, self._own) and not self._dead(found):
                return False
            self._write(0)
        if self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._beat, args=(self._stop,), daemon=True)
            self._thread.start()
        return True

    def holder(self) -> str:
        """The process that holds the lease, in words; empty if none does."""
        found = self._read()
        return f"process {found.get('pid')} of {found.get('host')}" if found.get("holder") else ""

    def check(self) -> None:
        """Check that the lease is held still; to be called before anything is written.

        Raises:
            TrackError: Another process took it over.
        """
        found = self._read()
        if found.get("holder") != self._own:
            raise TrackError(
                f"this process was halted for more than {self.patience:g} s, and process "
                f"{found.get('pid')} of {found.get('host')} has taken the run over: nothing more is written "
                "here. Call again to wait for it"
            )

    def release(self) -> None:
        """Give the lease back, if it is held."""
        if self._thread is None or self._stop is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        with self._lock():
            if self._read().get("holder") == self._own:
                write_whole_json(self.path, {})

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _lock(self) -> KernelLock:
        """The lock of the file, held for moments; the kernel frees it when a process dies."""
        return KernelLock(self.path.with_suffix(".lock"))

    def _read(self) -> dict[str, Any]:
        return read_whole_json(self.path) or {}

    def _write(self, beat: int) -> None:
        data = {"holder": self._own, "beat": beat, "host": platform.node(), "pid": os.getpid()}
        write_whole_json(self.path, {**data, "machine": _machine(), "start": _start_of(os.getpid())})

    def _beat(self, stop: threading.Event) -> None:
        """Raise the number until told to stop, or until the lease is lost."""
        beat = 0
        while not stop.wait(self.patience / 6):
            with self._lock():
                if self._read().get("holder") != self._own:
                    return
                beat += 1
                self._write(beat)

    def _dead(self, found: dict[str, Any]) -> bool:
        """Tell whether the holder of a lease is gone, as far as can be seen from here."""
        if found.get("machine") and found["machine"] == _machine():
            return str(found["start"]) != _start_of(int(found["pid"]))
        key, now = (found.get("holder"), found.get("beat")), time.monotonic()
        if self._seen is None or self._seen[0] != key:
            self._seen = (key, now)
        return now - self._seen[1] >= self.patience


def _machine() -> str:
    """A name for what process numbers count within: a boot of a machine and a container; empty if unknown."""
    if sys.platform != "linux":
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """The time a process was started, as its number is used again one day; empty if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
    except OSError:
        return ""
    state, *more = fields.split()
    return "" if state in ("Z", "X") else more[18]
