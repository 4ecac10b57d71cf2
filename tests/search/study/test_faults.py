"""Workers and drivers are killed: every result is there in the end, and nothing finished is trained again."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from naivegraph.search import StudyView
from tests.test_packaging import ROOT

PATIENCE = 280.0


@dataclass
class Wreckers:
    """A study with one or two drivers, and somebody who kills them and their workers."""

    folder: Path
    engine: str
    networks: int
    workers: int = 3
    drivers: int = 1
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    numbers: random.Random = field(default_factory=lambda: random.Random(0))

    def start(self) -> subprocess.Popen[str]:
        """Start a driver."""
        words = [sys.executable, "-W", "ignore", "-m", "tests.search.study.fault_driver", str(self.folder)]
        words += [self.engine, str(self.workers), str(self.networks)]
        return subprocess.Popen(
            words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def lines(self, kind: str) -> list[list[str]]:
        """Lines of the log of one kind."""
        log = self.folder.with_suffix(".log")
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.split() for line in lines if line.startswith(kind)]

    def kill_worker(self) -> bool:
        """Kill a worker in the middle of a job, if there is one."""
        ended = {(name, process) for _, name, process in self.lines("end")}
        busy = [process for _, name, process in self.lines("start")[-9:] if (name, process) not in ended]
        if not busy:
            return False
        try:
            os.kill(int(self.numbers.choice(busy)), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def wreck(self, workers: int, drivers: int) -> None:
        """Run until all is done, and kill so many on the way, evenly."""
        self.running = [self.start() for _ in range(self.drivers)]
        began = time.monotonic()
        killed = {"workers": 0, "drivers": 0}
        while any(driver.poll() is None for driver in self.running):
            assert time.monotonic() - began < PATIENCE, f"{len(self.lines('end'))} ended, {killed} killed"
            done = len(self.lines("end")) / self.networks / 0.8
            if killed["drivers"] < drivers and done > (killed["drivers"] + 0.5) / (drivers + 1):
                index = killed["drivers"] % self.drivers
                self.running[index].kill()
                self.running[index].communicate()
                self.running[index] = self.start()
                killed["drivers"] += 1
            elif killed["workers"] < workers and done > (killed["workers"] + 0.5) / (workers + 1):
                killed["workers"] += self.kill_worker()
            time.sleep(0.01)
        for driver in self.running:
            said, complaint = driver.communicate()
            assert (driver.returncode, said.split()[-1:]) == (0, [str(self.networks)]), complaint
        assert killed == {"workers": workers, "drivers": drivers}

    def check(self) -> None:
        """Everything is there, and nothing that was written was trained again."""
        view = StudyView(self.folder)
        assert len(view.results) == len(view.candidates) == self.networks
        assert {row["status"] for row in view.results} == {"done"}
        assert self.lines("repeated") == []
        assert {name for _, name, _ in self.lines("end")} == {row["network"] for row in view.results}

    def clean(self) -> None:
        """Leave no driver behind."""
        for driver in self.running:
            if driver.poll() is None:
                driver.kill()
                driver.communicate()


def needs(engine: str) -> None:
    """Skip where an engine is not installed, or does not start on this machine in 150 s."""
    if engine == "processes":
        return
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    code = "from naivegraph.search.engines import engine_named; engine_named('ray', 1).shutdown()"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            cwd=ROOT,
            timeout=150,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("Ray did not start within 150 s")
    if done.returncode:
        pytest.skip(f"Ray did not start: {done.stderr.decode()[-300:]}")


@pytest.mark.skipif(os.name != "posix", reason="processes are killed by signals")
@pytest.mark.parametrize(
    ("engine", "networks", "workers", "drivers", "at_once"),
    [
        ("processes", 30, 3, 2, 1),
        ("processes", 30, 2, 1, 2),
        ("ray", 30, 3, 0, 1),
        pytest.param("processes", 200, 20, 10, 1, marks=pytest.mark.slow),
        pytest.param("processes", 200, 20, 10, 2, marks=pytest.mark.slow),
        pytest.param("ray", 200, 20, 10, 1, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param("ray", 200, 20, 4, 2, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_what_is_killed_costs_nothing_that_was_finished(
    tmp_path: Path, engine: str, networks: int, workers: int, drivers: int, at_once: int
) -> None:
    needs(engine)
    wreckers = Wreckers(tmp_path / "study", engine, networks, drivers=at_once)
    try:
        wreckers.wreck(workers, drivers)
    finally:
        wreckers.clean()
    wreckers.check()
