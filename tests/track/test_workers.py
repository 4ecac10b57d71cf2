"""Eight workers at once make one run; those that are killed lose nothing beyond the last checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import naivegraph as ng
from tests.test_packaging import ROOT
from tests.track.test_once import config, same


def work(folder: Path, count: int, asked: dict[str, Any]) -> int:
    """Have workers ask for a run; return how many of them died."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.track.worker", str(folder), str(count)]
    done = subprocess.run(
        [*words, json.dumps(asked)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return int(done.stdout.split()[-2])


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_eight_workers_three_of_which_are_killed_make_one_run(
    folder: Path, tmp_path: Path, tables: Path
) -> None:
    import shutil

    plain = {"class_path": "tests.track.digits.clusters"}
    whole = ng.track.once(config(data={"train": plain, "validation": plain}), folder=folder)
    other = tmp_path / "raced"
    other.mkdir()
    shutil.copy(tables / "mlflow.db", other)
    killers = [tmp_path / f"kill{number}" for number in range(3)]
    for path in killers:
        path.touch()
    # The process that trains dies in the first epoch, the third and the fourth, by what it reads.
    dying = {
        "class_path": "tests.track.digits.Dying",
        "init_args": {"after": [50, 200, 100], "files": [str(path) for path in killers]},
    }
    asked = config(data={"train": dying, "validation": plain})
    deaths = work(other, 8, asked)
    assert deaths == 3
    assert not any(path.exists() for path in killers)
    (run,) = ng.track.runs(folder=other)
    assert run.finished
    assert {(other / f"worker{n}.txt").read_text() for n in range(8)} == {f"{run.id} finished"}
    assert same(run.model(), whole.model())
    for metric in whole.metrics:
        assert run.history(metric) == whole.history(metric)
    assert len([name for name in run.artifacts if name.startswith("environment/")]) == 4
