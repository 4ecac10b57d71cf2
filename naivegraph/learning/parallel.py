"""Trainings of all combinations of values, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

from naivegraph.errors import EditError
from naivegraph.learning.settings import Config, check_key, merged, train_config
from naivegraph.learning.train_epochs import TrainedLearner
from naivegraph.progress import working
from naivegraph.search.engines.engine_names import engine_named, worker_count

__all__ = ["parallel"]


def parallel(config: Config) -> list[tuple[dict[str, Any], TrainedLearner]]:
    """Train what `parallel.over` names, each combination in a folder of its own.

    Called again, it goes on with what was stopped.

    Returns:
        For each combination its values and what became of it, the best score first.

    Raises:
        EditError: There is nothing to combine, or a key that the config does not have.
        StudyError: There is no such engine.
        MissingPackageError: The engine needs a package that is not installed.
    """
    over: dict[str, Sequence[Any]] = config["parallel"]["over"]
    if not over:
        raise EditError("parallel.over is empty: give keys and lists of values, such as plan.seed: [0, 1, 2]")
    for key in over:
        check_key(config, key)
    jobs = [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    configs, folder = [merged(config, values) for values in jobs], Path(config["folder"])
    name = config["parallel"]["engine"]
    engine = engine_named(name, worker_count(name, config["parallel"]["workers"]))
    try:
        places = [folder / "_".join(f"{key.split('.')[-1]}_{x}" for key, x in job.items()) for job in jobs]
        sent: dict[Future[TrainedLearner], int] = {
            engine.submit(_train, each, str(place)): number
            for number, (each, place) in enumerate(zip(configs, places, strict=True))
        }
        found: dict[int, TrainedLearner] = {}
        with working(f"training {len(jobs)} networks") as say:
            for future in as_completed(sent):
                found[sent[future]] = future.result()
                say(f"training: {len(found)} of {len(jobs)} are done")
    finally:
        engine.shutdown(cancel_futures=True)
    sign = 1 if config["plan"]["direction"] == "min" else -1
    rows = [(job, found[number]) for number, job in enumerate(jobs)]
    return sorted(rows, key=lambda row: sign * row[1].score)


def _train(config: Config, folder: str) -> TrainedLearner:
    return train_config(config, Path(folder), console=False)
