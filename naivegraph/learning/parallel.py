"""Trainings of all combinations of values, side by side."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

from naivegraph.errors import EditError, NaivegraphError
from naivegraph.learning.settings import Config, check_key, merged, train_config
from naivegraph.learning.train_epochs import TrainedLearner
from naivegraph.progress import working
from naivegraph.search.engines.engine_names import engine_named, worker_count

__all__ = ["parallel"]


def parallel(config: Config) -> list[tuple[dict[str, Any], TrainedLearner | NaivegraphError]]:
    """Train what `parallel.over` names, each combination in a folder of its own.

    Called again, it goes on with what was stopped.

    Returns:
        For each combination its values and what became of it, the best score first; last those that could
        not be trained, with the reason.

    Raises:
        EditError: There is nothing to combine, a key that the config does not have, or nothing could be
            trained.
        StudyError: There is no such engine.
        MissingPackageError: The engine needs a package that is not installed.
    """
    over: dict[str, Sequence[Any]] = config["parallel"]["over"]
    if not over:
        raise EditError("parallel.over is empty: give keys and lists of values, such as plan.seed: [0, 1, 2]")
    for key, values in over.items():
        check_key(config, key)
        if not values:
            raise EditError(f"parallel.over.{key} is empty: give it values, such as [0, 1, 2]")
    jobs = [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    configs, folder = [merged(config, values) for values in jobs], Path(config["folder"])
    name = config["parallel"]["engine"]
    engine = engine_named(name, worker_count(name, config["parallel"]["workers"]))
    try:
        places = [folder / _folder_name(job) for job in jobs]
        sent: dict[Future[TrainedLearner], int] = {
            engine.submit(_train, each, str(place)): number
            for number, (each, place) in enumerate(zip(configs, places, strict=True))
        }
        found: dict[int, TrainedLearner | NaivegraphError] = {}
        with working(f"training {len(jobs)} networks") as say:
            for future in as_completed(sent):
                try:
                    found[sent[future]] = future.result()
                except NaivegraphError as error:  # the others go on
                    found[sent[future]] = error
                say(f"training: {len(found)} of {len(jobs)} are done")
    finally:
        engine.shutdown(cancel_futures=True)
    rows = [(job, found[number]) for number, job in enumerate(jobs)]
    failed = [each for _, each in rows if isinstance(each, NaivegraphError)]
    if len(failed) == len(rows):
        raise EditError(f"none of {len(rows)} networks could be trained; the first: {failed[0]}")
    sign = 1 if config["plan"]["direction"] == "min" else -1
    return sorted(
        rows, key=lambda row: sign * row[1].score if isinstance(row[1], TrainedLearner) else math.inf
    )


def _folder_name(job: Mapping[str, Any]) -> str:
    """A name for a combination of values, of letters, digits and signs that need no quotes."""
    parts = [f"{key.split('.')[-1]}_{value}" for key, value in job.items()]
    return re.sub(r"[^\w.+-]+", "-", "_".join(parts)).strip("-")


def _train(config: Config, folder: str) -> TrainedLearner:
    return train_config(config, Path(folder), console=False)
