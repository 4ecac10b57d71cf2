"""Stores that cannot be used say what to do."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from pathlib import Path

import pytest

from naivegraph.errors import TrackError
from naivegraph.track import TrackingStore


def test_a_store_of_another_version_is_told(folder: Path) -> None:
    with sqlite3.connect(folder / "mlflow.db") as base:
        base.execute("update alembic_version set version_num = 'abc123'")
    base.close()
    message = (
        r"mlflow\.db: it is of another version of MLflow .*found version abc123.* `mlflow db upgrade sqlite:"
    )
    with pytest.raises(TrackError, match=message):
        TrackingStore(folder)


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database " * 100)
    with pytest.raises(TrackError, match=r"it is damaged, or none of MLflow .*: restore it from a copy"):
        TrackingStore(tmp_path)


def test_a_server_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TrackError, match=r"no server answers .*Start it .mlflow server") as caught:
        TrackingStore(tmp_path, address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["{}/mlruns", "file://{}/mlruns"])
def test_a_store_of_files_is_told(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrackError, match="MLflow keeps no runs there any more: give sqlite:"):
        TrackingStore(tmp_path, uri.format(tmp_path))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackError, match="cannot be the folder of runs: Not a directory"):
        TrackingStore(tmp_path / "file" / "experiments")


def test_a_deleted_experiment_is_told(folder: Path) -> None:
    store = TrackingStore(folder)
    store._client.delete_experiment(store.experiment("gone", make=True))
    with pytest.raises(TrackError, match="the experiment 'gone' was deleted: restore it"):
        store.experiment("gone", make=True)


def test_a_folder_made_anew_is_opened_anew(folder: Path, tables: Path) -> None:
    TrackingStore(folder).experiment("first", make=True)
    shutil.rmtree(folder)
    folder.mkdir()
    shutil.copy(tables / "mlflow.db", folder)
    assert "first" not in TrackingStore(folder).experiments()


def test_parameters_that_are_there_already_stay(folder: Path) -> None:
    store = TrackingStore(folder)
    run = store.create("shapes", "1" * 64, "run", {"a": 1}, {})
    again = store.create("shapes", "1" * 64, "run", {"a": 2, "b": 3}, {})
    assert again.info.run_id == run.info.run_id
    assert again.data.params == {"a": "1", "b": "3"}


def test_artifacts_come_back(folder: Path, tmp_path: Path) -> None:
    store = TrackingStore(folder)
    run = store.create("shapes", "1" * 64, "run", {}, {}).info.run_id
    (tmp_path / "a.txt").write_text("hello")
    store.log_file(run, tmp_path / "a.txt", "texts")
    store.log_text(run, "there", "b.txt")
    assert store.files(run) == ["b.txt", "texts/a.txt"]
    assert store.file(run, "texts/a.txt").read_text() == "hello"
    with pytest.raises(TrackError, match=r"has no artifact 'c\.txt'"):
        store.file(run, "c.txt")
