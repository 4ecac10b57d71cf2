"""Callbacks: called in order, left out when they raise; trackers get what was measured."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from naivegraph.search import Callback, Candidate, StudyView
from naivegraph.search.engines import MissingPackageError
from naivegraph.search.study.trackers import MLflowCallback, TensorBoardCallback
from tests.search.engines.test_engines import Without
from tests.search.study.test_pictures import mostly
from tests.search.study.test_study import study_in


class Notes(Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_start(self, study: StudyView) -> None:
        self.told.append("start")

    def on_result(self, study: StudyView, candidate: Candidate) -> None:
        assert candidate.name in {found.name for found in study.candidates}
        self.told.append((candidate.name, candidate.result.rung))

    def on_end(self, study: StudyView) -> None:
        self.told.append("end")


def test_each_result_is_told_once_between_start_and_end(tmp_path: Path) -> None:
    notes = Notes()
    study = study_in(tmp_path, callbacks=[notes])
    study.run(networks=8, engine="serial")
    first, *middle, last = notes.told
    assert (first, last) == ("start", "end")
    assert sorted(middle) == sorted((row["network"], row["rung"]) for row in study.results)
    study.run(networks=8, engine="serial")
    assert notes.told[len(middle) + 2 :] == ["start", "end"]


def test_a_callback_that_raises_is_told_and_left_out(tmp_path: Path) -> None:
    class Down(Callback):
        calls = 0

        def on_result(self, study: StudyView, candidate: Candidate) -> None:
            self.calls += 1
            raise ConnectionError("the tracker is down")

    down, notes = Down(), Notes()
    study = study_in(tmp_path, callbacks=[down, notes])
    told = "callback Down is left out from here on: on_result raised ConnectionError: the tracker is down"
    with pytest.warns(UserWarning, match=told):
        study.run(networks=5, engine="serial")
    assert down.calls == 1
    assert len(notes.told) == len(study.results) + 2


class FakeMLflow:
    """As much of MLflow's client as is used; keeps all it is given."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def MlflowClient(self, tracking_uri: str | None) -> FakeMLflow:
        return self

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return "7"

    def search_runs(self, where: list[str], query: str, page_token: str | None) -> list[Any]:
        return []

    def create_run(self, where: str, tags: dict[str, str], run_name: str) -> Any:
        self.runs[run_name] = {"tags": tags, "metrics": [], "status": "RUNNING", "where": where}
        return self.get_run(run_name)

    def get_run(self, name: str) -> Any:
        info = type("Info", (), {"run_id": name, "experiment_id": self.runs[name]["where"]})
        return type("Run", (), {"info": info})

    def log_param(self, run: str, name: str, value: str) -> None:
        self.runs[run][name] = value

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.runs[run]["metrics"].append((name, value, step))

    def set_tag(self, run: str, name: str, value: str) -> None:
        self.runs[run]["tags"][name] = value

    def set_terminated(self, run: str, status: str = "FINISHED") -> None:
        self.runs[run]["status"] = status


def test_mlflow_gets_a_run_per_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    study = study_in(tmp_path / "a", evaluate=mostly, callbacks=[MLflowCallback()])
    study.run(networks=10, engine="serial")
    parent = fake.runs.pop("a")
    assert parent["status"] == "FINISHED"
    assert parent["rungs"] == "[1, 3, 9]"
    assert set(fake.runs) == {found.name for found in study.candidates}
    assert study.best is not None
    assert parent["metrics"][-2][:2] == ("best_loss", study.best.values["loss"])
    for row in study.results:
        run = fake.runs[row["network"]]
        assert run["status"] == ("FAILED" if row["status"] == "failed" else "FINISHED")
        assert ("ValueError" in run["tags"].get("error", "")) == (row["status"] == "failed")
        if row["status"] == "done":
            assert ("loss", row["loss"], row["rung"]) in run["metrics"]


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_itself_takes_a_study_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need more packages
    import mlflow  # type: ignore[import-not-found, unused-ignore]

    uri = (tmp_path / "mlruns").as_uri()
    for networks in (3, 6):
        tracker = MLflowCallback("tests", uri)
        study = study_in(tmp_path / "a", callbacks=[tracker], rungs=(1,))
        study.run(networks=networks, engine="serial")
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    assert len(runs) == 1 + 6
    values = {run.info.run_name: run.data.metrics.get("loss") for run in runs}
    assert all(values[row["network"]] == row["loss"] for row in study.results)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        EventAccumulator,
    )

    study = study_in(tmp_path / "a", callbacks=[TensorBoardCallback()], rungs=(1,))
    study.run(networks=4, engine="serial")
    events = EventAccumulator(str(study.folder / "tensorboard"))
    events.Reload()
    written = {event.step: event.value for event in events.Scalars("rung 0/loss")}
    assert written == pytest.approx({row["number"]: row["loss"] for row in study.results})
    study_in(tmp_path / "a", rungs=(1,))


@pytest.mark.parametrize(
    ("make", "package"), [(MLflowCallback, "mlflow"), (TensorBoardCallback, "tensorboard")]
)
def test_a_tracker_that_is_not_installed_is_told_with_how_to_install_it(
    make: type[Callback], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])
    with pytest.raises(MissingPackageError, match=rf"pip install 'naivegraph\[{package}\]'"):
        make()
