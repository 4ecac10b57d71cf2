"""A folder for runs in which MLflow's tables are made already, as that takes it ten seconds."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from naivegraph.kernel_lock import KernelLock
from naivegraph.track import TrackingStore


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs without runs, made once for all processes of pytest."""
    folder = tmp_path_factory.getbasetemp()
    if folder.name.startswith("popen-"):  # of pytest-xdist
        folder = folder.parent
    place = folder / "mlflow_tables"
    with KernelLock(folder / "mlflow_tables.lock"):
        if not (place / "done").exists():
            TrackingStore(place)
            time.sleep(0.1)
            (place / "done").touch()
    return place


@pytest.fixture
def folder(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder for runs."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = tmp_path / "experiments"
    place.mkdir()
    shutil.copy(tables / "mlflow.db", place)
    return place
