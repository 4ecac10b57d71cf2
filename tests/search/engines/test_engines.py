"""Engines: what a job gives or raises comes back, and a worker that dies is replaced."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from pathlib import Path

import pytest

from naivegraph.errors import StudyError
from naivegraph.search.engines import (
    MissingPackageError,
    ProcessesEngine,
    WorkerLostError,
    engine_named,
    worker_count,
)
from tests.search.engines.jobs import dies_until, modules_loaded, naps, raises, threads

NAMES = ["serial", "processes", "ray", "dask"]
PACKAGES = {"ray": "ray", "dask": "distributed"}


@pytest.fixture(scope="module", params=NAMES)
def engine(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Each engine, with two workers."""
    package = PACKAGES.get(request.param)
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    try:
        started = engine_named(request.param, 2)
    except StudyError as error:
        pytest.skip(str(error))
    yield started
    started.shutdown(wait=True, cancel_futures=True)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
class TestEveryEngine:
    def test_it_gives_what_a_job_gives(self, engine: Executor) -> None:
        scale = 3
        futures = [engine.submit(lambda x: scale * x, number) for number in range(8)]
        assert [future.result(timeout=200) for future in futures] == [3 * number for number in range(8)]

    def test_it_raises_what_a_job_raises(self, engine: Executor) -> None:
        with pytest.raises(ValueError, match="from the job"):
            engine.submit(raises).result(timeout=200)

    def test_a_job_whose_worker_dies_is_sent_again(self, engine: Executor, tmp_path: Path) -> None:
        if type(engine).__name__ == "SerialEngine":
            pytest.skip("its worker is this process")
        assert engine.submit(dies_until, str(tmp_path), 2).result(timeout=200) != os.getpid()
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_job_of_which_all_workers_die_is_given_up(self, engine: Executor, tmp_path: Path) -> None:
        if type(engine).__name__ == "SerialEngine":
            pytest.skip("its worker is this process")
        with pytest.raises(WorkerLostError, match=r"died of this job"):
            engine.submit(dies_until, str(tmp_path), 100).result(timeout=200)
        assert engine.submit(max, 1, 2).result(timeout=200) == 2


def ends(process: int) -> bool:
    """Whether a process ends within half a minute."""
    for _ in range(300):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


class TestProcesses:
    def test_workers_use_one_thread(self) -> None:
        with ProcessesEngine(1) as engine:
            assert engine.submit(threads).result() == ("1", 1)

    def test_only_the_job_of_a_worker_that_dies_starts_again(self) -> None:
        with ProcessesEngine(2) as engine:
            victim = engine.submit(naps, 0.01).result()
            other = engine.submit(naps, 1.5)
            time.sleep(0.2)
            again = engine.submit(naps, 1.5)
            time.sleep(0.3)
            os.kill(victim, signal.SIGKILL)
            processes = {other.result(), again.result()}
        assert len(processes) == 2
        assert victim not in processes

    def test_stopping_at_once_ends_workers_and_cancels_what_waits(self) -> None:
        engine = ProcessesEngine(1)
        worker = engine.submit(naps, 0).result()
        running, waiting = engine.submit(naps, 100), engine.submit(naps, 100)
        time.sleep(0.3)
        began = time.monotonic()
        engine.shutdown(wait=True, cancel_futures=True)
        assert time.monotonic() - began < 50
        for future in (running, waiting):
            with pytest.raises(CancelledError):
                future.result()
        assert ends(worker)
        with pytest.raises(RuntimeError, match="was shut down"):
            engine.submit(naps, 0)


class TestNames:
    def test_an_unknown_name_lists_what_is_near(self) -> None:
        with pytest.raises(StudyError, match="there is no engine 'process'; did you mean 'processes'"):
            engine_named("process", 1)
        with pytest.raises(StudyError, match="there are serial, processes, ray, dask, and any concurrent"):
            engine_named("xyz", 1)

    @pytest.mark.parametrize(("name", "package"), PACKAGES.items())
    def test_a_package_that_is_not_installed_is_told_with_how_to_install_it(
        self, name: str, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in [module for module in sys.modules if module.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])
        told = rf"engine '{name}' needs {package}, which is not installed: pip install 'naivegraph\[{name}\]'"
        with pytest.raises(MissingPackageError, match=told):
            engine_named(name, 1)

    def test_the_number_of_workers(self) -> None:
        assert worker_count("serial", 5) == 1
        assert worker_count("processes", 5) == 5
        assert worker_count("processes", None) >= 1
        with pytest.raises(StudyError, match="workers=0: at least one is needed"):
            worker_count("processes", 0)


class Without:
    """An importer that does as if a package were not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_what_the_parent_uses_is_there_before_the_first_job() -> None:
    """Otherwise loky takes torch for a leak of memory, and restarts the worker with a warning."""
    import torch

    assert torch.__name__ in sys.modules
    with ProcessesEngine(1) as engine:
        assert "torch" in engine.submit(modules_loaded).result()
