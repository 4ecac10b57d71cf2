"""A lease has one holder, and passes on when that dies, is halted, or gives it back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from naivegraph.errors import TrackError
from naivegraph.track import Lease
from tests.test_packaging import ROOT


def started(path: Path, then: str) -> subprocess.Popen[str]:
    """A process that claims a lease, tells that, and does something."""
    code = (
        "import sys, time; from pathlib import Path; from naivegraph.track import Lease\n"
        f"lease = Lease(Path({str(path)!r})); print(lease.claim(), flush=True); {then}"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_one_of_many_threads_gets_it(tmp_path: Path) -> None:
    leases = [Lease(tmp_path / "lease.json") for _ in range(16)]
    got: list[bool] = []
    threads = [threading.Thread(target=lambda lease=lease: got.append(lease.claim())) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 15 + [True]
    for lease in leases:
        lease.release()


def test_it_passes_on_at_once_when_the_holder_is_killed(tmp_path: Path) -> None:
    holder = started(tmp_path / "lease.json", "time.sleep(60)")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with Lease(tmp_path / "lease.json") as lease:
        assert not lease.claim()
        assert lease.holder().startswith(f"process {holder.pid} of ")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert lease.claim()
    holder.stdout.close()


def elsewhere(path: Path) -> None:
    """Make the holder one of another machine."""
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "machine": "another boot", "host": "far"}))


def test_that_of_another_machine_passes_on_without_a_heartbeat(tmp_path: Path) -> None:
    first = Lease(tmp_path / "lease.json", patience=3600)  # beats every ten minutes: is halted, as it were
    assert first.claim()
    elsewhere(first.path)
    with Lease(first.path, patience=0.4) as second:
        start = time.monotonic()
        while not second.claim():
            time.sleep(0.02)
        assert 0.4 <= time.monotonic() - start < 10
        with pytest.raises(TrackError, match="has taken the run over: nothing more is written here"):
            first.check()
        first.release()  # takes nothing from the second
        second.check()


def test_a_heartbeat_on_another_machine_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    waiting, stop = Lease(path, patience=0.5), threading.Event()

    def beat() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            draft = path.with_suffix(".new")
            draft.write_text(
                json.dumps({"holder": "far", "beat": number, "machine": "far", "pid": 1, "start": ""})
            )
            draft.replace(path)
            time.sleep(0.05)

    thread = threading.Thread(target=beat)
    thread.start()
    until = time.monotonic() + 1.5
    claimed = []
    while time.monotonic() < until:
        claimed.append(waiting.claim() if path.exists() else False)
        time.sleep(0.02)
    stop.set()
    thread.join()
    assert not any(claimed)


def test_the_heartbeat_is_there(tmp_path: Path) -> None:
    with Lease(tmp_path / "lease.json", patience=0.3) as lease:
        assert lease.claim()
        assert lease.claim()
        until = time.monotonic() + 20
        while json.loads(lease.path.read_text())["beat"] < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
    assert Lease(lease.path).holder() == ""


def test_a_damaged_lease_is_free(tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text("{")
    with Lease(tmp_path / "lease.json") as lease:
        assert lease.claim()
