"""Jobs in other processes and on other machines: what they need goes there, and what they find comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph.errors import StudyError
from naivegraph.search import Rung, Study
from naivegraph.search.engines import SerialEngine
from naivegraph.search.study.job import Delivery, Job, contexts, run_job
from tests.search.study.layers_space import Layers, count_epochs
from tests.search.study.test_study import rows, study_in


class OtherMachine(Executor):
    """Runs jobs as a worker does that sees neither the folder nor the memory of the driver."""

    def __init__(self) -> None:
        self.sent: list[tuple[bool, bool]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job, *rest = args
        assert isinstance(job, Job)
        self.sent.append((bool(rest), len(rest) > 1 and rest[1] is not None))
        elsewhere = replace(job, host="elsewhere", folder="/nowhere", context=f"there {job.context}")
        return SerialEngine().submit(function, elsewhere, *rest)


def of_layers(folder: Path) -> Study:
    return Study(
        folder, space=Layers(), evaluate=count_epochs, objectives={"epochs": "max"}, rungs=(1, 3), ahead=4
    )


def test_a_worker_without_the_folder_gets_weights_and_sends_them_back(tmp_path: Path) -> None:
    here, there = of_layers(tmp_path / "here"), of_layers(tmp_path / "there")
    here.run(networks=9, engine="serial")
    engine = OtherMachine()
    there.run(networks=9, engine=engine, workers=2)
    columns = ("number", "network", "rung", "epochs", "start", "inherited", "noise")
    assert [[row[name] for name in columns] for row in there.results] == [
        [row[name] for name in columns] for row in here.results
    ]
    # The first workers say that they lack all; from then on all goes along.
    assert engine.sent[0] == (False, False)
    assert set(engine.sent[4:]) == {(True, True)}
    assert there.best is not None
    assert there.best.module()[1].bias.item() == 3
    for name in [name for name in contexts if name.startswith("there")]:
        del contexts[name]


def test_networks_trained_in_processes_are_those_trained_here(tmp_path: Path) -> None:
    def train(network: nn.Module, rung: Rung, seed: int) -> dict[str, float]:
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        for _ in range(rung.epochs):
            x = torch.randn(64, 2)
            optimizer.zero_grad()
            loss = (network(x) - x.prod(1, keepdim=True)).square().mean()
            loss.backward()
            optimizer.step()
        return {"loss": loss.item(), "threads": torch.get_num_threads()}

    studies = []
    for engine in ("serial", "processes"):
        study = Study(
            tmp_path / engine,
            space=Layers(),
            evaluate=train,
            objectives={"loss": "min"},
            rungs=(2, 5),
            ahead=4,
        )
        study.run(networks=5, engine=engine, workers=2)
        assert {row["status"] for row in study.results} == {"done"}
        studies.append([(row["network"], row["rung"], row["loss"], row["threads"]) for row in study.results])
    assert studies[0] == studies[1]


def test_an_evaluation_that_cannot_be_sent_is_told(tmp_path: Path) -> None:
    lock = threading.Lock()

    def locked(structure: Any, rung: Rung, seed: int) -> dict[str, float]:
        with lock:
            return {"loss": 1, "digit": 1}

    with pytest.raises(StudyError, match=r"cannot be sent to workers: TypeError.*take engine='serial'"):
        study_in(tmp_path, evaluate=locked).run(networks=3, workers=1)


def test_a_broken_engine_is_told_and_the_study_goes_on_with_another(tmp_path: Path) -> None:
    class Breaks(SerialEngine):
        left = 5

        def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.left -= 1
            if self.left < 0:
                raise ConnectionError("the cluster is gone")
            return super().submit(function, *args, **kwargs)

    study = study_in(tmp_path / "a")
    with pytest.raises(StudyError, match=r"could not run a job .*ConnectionError: the cluster is gone"):
        study.run(networks=12, engine=Breaks())
    assert len(study.results) == 5
    study.run(networks=12, engine="serial")
    whole = study_in(tmp_path / "b")
    whole.run(networks=12, engine="serial")
    assert rows(study) == rows(whole)


def test_a_job_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    study = of_layers(tmp_path)
    jobs: list[Job] = []

    class Keeps(SerialEngine):
        def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            jobs.append(args[0])
            return super().submit(function, *args, **kwargs)

    study.run(networks=2, engine=Keeps())
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.suffix != ".lock"}
    with study.store.lock(jobs[0].name):
        contexts[jobs[0].context] = None  # type: ignore[assignment]
        assert run_job(jobs[0]) == Delivery("busy")
    assert [run_job(replace(job, context=jobs[0].context)) for job in jobs] == [Delivery("written")] * len(
        jobs
    )
    del contexts[jobs[0].context]
    assert {path: path.stat().st_mtime_ns for path in files} == files
