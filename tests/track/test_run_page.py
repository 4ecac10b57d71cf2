"""MLflow's own page shows a run, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import naivegraph as ng
from naivegraph.track import TrackingStore
from tests.browser import chromium
from tests.track.test_find_runs import config, kept


def test_the_page_of_a_run_shows_its_parameters_and_metrics(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("flask", reason="mlflow-skinny has no pages")
    run = kept(TrackingStore(folder), config(4711, act="gelu"), val_accuracy=0.8125)
    found = ng.track.open_run(run.info.run_id, folder=folder)
    with chromium(tmp_path / "profile") as driver, ng.track.page_of(found) as address:
        driver.get(address)
        until, wanted = (
            time.monotonic() + 60,
            ["model/init_args/depth", "4711", "gelu", "val_accuracy", "0.8125"],
        )
        missing = wanted
        while missing and time.monotonic() < until:
            text = driver.execute_script("return document.body.innerText")
            missing = [word for word in wanted if word not in text]
            time.sleep(0.2)
        driver.save_screenshot(str(tmp_path / "run.png"))
    assert not missing, text
