"""Callbacks that send results to trackers: MLflow, TensorBoard."""

from __future__ import annotations

import math
import os
from typing import Any

from naivegraph.search.engines import optional_package
from naivegraph.search.study.callbacks import Callback
from naivegraph.search.study.candidate import Candidate
from naivegraph.search.study.study_view import StudyView

__all__ = ["MLflowCallback", "TensorBoardCallback"]


class MLflowCallback(Callback):
    """A run of MLflow per study, with a child run per network; they are taken up again as the study is.

    Args:
        experiment: The name of the experiment.
        uri: Where to track; what MLflow is set to if None.

    Raises:
        MissingPackageError: MLflow is not installed.
    """

    def __init__(self, experiment: str = "naivegraph", uri: str | None = None) -> None:
        self._mlflow: Any = optional_package("mlflow", "mlflow", "MLflowCallback")
        self._experiment, self._uri = experiment, uri
        self._client: Any = None
        self._parent = ""
        self._children: dict[str, str] = {}

    def on_start(self, study: StudyView) -> None:
        """Find or make the run of the study."""
        self._client = self._mlflow.MlflowClient(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        where = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        old = self._runs(where, study.id)
        self._children = {
            run.data.tags["network"]: run.info.run_id for run in old if "network" in run.data.tags
        }
        parents = [run.info.run_id for run in old if "network" not in run.data.tags]
        if parents:
            self._parent = parents[0]
            self._client.update_run(self._parent, status="RUNNING")
            return
        run = self._client.create_run(where, tags={"study": study.id}, run_name=study.folder.name)
        self._parent = run.info.run_id
        for name, value in study.settings.items():
            self._client.log_param(self._parent, name, str(value)[:500])

    def _runs(self, experiment: str, study: str) -> list[Any]:
        """All runs of a study."""
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([experiment], f"tags.study = '{study}'", page_token=token)
            found += page
            token = getattr(page, "token", None)
            if not token:
                return found

    def on_result(self, study: StudyView, candidate: Candidate) -> None:
        """Write what was measured into the run of the network, and the best so far into that of the study."""
        result, lineage = candidate.result, candidate.lineage
        child = self._children.get(candidate.name)
        if child is None:
            where = self._client.get_run(self._parent).info.experiment_id
            tags = {
                "study": study.id,
                "network": candidate.name,
                "mutation": lineage.mutation,
                "parents": " ".join(lineage.parents),
                "mlflow.parentRunId": self._parent,
            }
            child = self._client.create_run(where, tags=tags, run_name=candidate.name).info.run_id
            self._children[candidate.name] = child
        for name, value in result.values.items():
            if math.isfinite(value):
                self._client.log_metric(child, name, value, step=result.rung)
        if result.error:
            self._client.set_tag(child, "error", result.error[-4000:])
        self._client.set_terminated(child, "FAILED" if result.status == "failed" else "FINISHED")
        for name, value in _best(study).items():
            self._client.log_metric(self._parent, f"best_{name}", value, step=lineage.number)

    def on_end(self, study: StudyView) -> None:
        """Close the run of the study."""
        if self._parent:
            self._client.set_terminated(self._parent)


class TensorBoardCallback(Callback):
    """Writes results as scalars over the number of the network, by rung, and the best so far.

    Args:
        folder: Where to write; `tensorboard` within the folder of the study if None.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        optional_package("tensorboard", "tensorboard", "TensorBoardCallback")
        self._folder = folder
        self._writer: Any = None

    def on_start(self, study: StudyView) -> None:
        """Open the file of this run."""
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self._writer = writer(os.fspath(self._folder or study.folder / "tensorboard"))

    def on_result(self, study: StudyView, candidate: Candidate) -> None:
        """Write what was measured."""
        number = candidate.lineage.number
        for name, value in candidate.values.items():
            self._writer.add_scalar(f"rung {candidate.result.rung}/{name}", value, number)
        for name, value in _best(study).items():
            self._writer.add_scalar(f"best/{name}", value, number)

    def on_end(self, study: StudyView) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def _best(study: StudyView) -> dict[str, float]:
    """The objectives of the best network so far."""
    best = study.best
    return {} if best is None else {name: best.values[name] for name in study.ranking.objectives}
