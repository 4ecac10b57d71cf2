"""Workers and drivers are killed: every result is there in the end, and nothing finished is trained again."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from naivegraph.search import StudyView
from tests.search.engines.test_engines import ends
from tests.test_packaging import ROOT

PATIENCE = {"processes": 280.0, "ray": 1700.0}  # seconds; each new driver starts Ray anew


@dataclass
class Wreckers:
    """A study with drivers that are killed, and workers that kill themselves."""

    folder: Path
    engine: str
    networks: int
    workers: int = 3
    drivers: int = 1
    deaths: int = 0
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        """Start a driver."""
        words = [sys.executable, "-W", "ignore", "-m", "tests.search.study.fault_driver", str(self.folder)]
        words += [self.engine, str(self.workers), str(self.networks), str(self.deaths)]
        return subprocess.Popen(
            words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def lines(self, kind: str) -> list[list[str]]:
        """Lines of the log of one kind."""
        log = self.folder.with_suffix(".log")
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.split() for line in lines if line.startswith(kind)]

    def wreck(self, drivers: int) -> None:
        """Run until all is done; kill so many drivers on the way, evenly."""
        self.running = [self.start() for _ in range(self.drivers)]
        began, killed = time.monotonic(), 0
        while any(driver.poll() is None for driver in self.running):
            assert time.monotonic() - began < PATIENCE[self.engine], f"{len(self.lines('end'))} ended"
            done = len(self.lines("end"))
            if killed < drivers and done > (killed + 0.5) * self.networks / (drivers + 1):
                index = killed % self.drivers
                self.running[index].kill()
                self.running[index].communicate()
                self.running[index] = self.start()
                killed += 1
            time.sleep(0.02)
        for driver in self.running:
            said, complaint = driver.communicate()
            assert (driver.returncode, said.split()[-1:]) == (0, [str(self.networks)]), complaint
        assert killed == drivers
        assert len(list(self.folder.parent.glob("*.dead"))) == self.deaths

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
    ("engine", "networks", "deaths", "drivers", "at_once"),
    [
        ("processes", 30, 3, 2, 1),
        ("processes", 30, 2, 1, 2),
        ("ray", 30, 3, 0, 1),
        pytest.param("processes", 200, 20, 10, 1, marks=pytest.mark.slow),
        pytest.param("processes", 200, 20, 10, 2, marks=pytest.mark.slow),
        pytest.param("ray", 200, 20, 10, 1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param("ray", 200, 20, 4, 2, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_what_is_killed_costs_nothing_that_was_finished(
    tmp_path: Path, engine: str, networks: int, deaths: int, drivers: int, at_once: int
) -> None:
    needs(engine)
    wreckers = Wreckers(tmp_path / "study", engine, networks, drivers=at_once, deaths=deaths)
    try:
        wreckers.wreck(drivers)
    finally:
        wreckers.clean()
    wreckers.check()


def test_ctrl_c_ends_workers_at_once_and_the_same_call_goes_on(tmp_path: Path) -> None:
    networks = 100  # so many that they do not end before a busy machine lets this process go on
    wreckers = Wreckers(tmp_path / "study", "processes", networks)
    driver = wreckers.start()
    wreckers.running = [driver]
    try:
        began = time.monotonic()
        while len(wreckers.lines("end")) < 8:
            assert time.monotonic() - began < 120
            time.sleep(0.02)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        _, complaint = driver.communicate(timeout=60)
    finally:
        wreckers.clean()
    assert driver.returncode != 0
    assert "KeyboardInterrupt" in complaint
    assert len(StudyView(wreckers.folder).results) < networks
    for *_, process in wreckers.lines("start"):
        assert ends(int(process))
    wreckers.wreck(0)
    wreckers.check()
