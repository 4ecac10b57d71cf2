"""Store of runs: MLflow behind a few verbs, with errors that say what to do."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from naivegraph.errors import TrackError
from naivegraph.kernel_lock import KernelLock
from naivegraph.optional_package import optional_package
from naivegraph.track.run_identity import parameter_name, parameter_text

__all__ = ["FOLDER", "IDENTITY", "TrackingStore"]

FOLDER = "experiments"
"""The folder of runs, where none is named."""

IDENTITY = "naivegraph.identity"
_LISTED = "naivegraph.parameters"
_PAGE = 1000  # runs, or parameters and metrics of one call
_BUSY = 60.0  # seconds to try again where another process writes

_OPEN: dict[str, Any] = {}


class TrackingStore:
    """Runs as MLflow keeps them, and a folder with what they need to go on: checkpoints, leases.

    Args:
        folder: The folder; shared by all machines that train for it. `experiments` if None.
        uri: Where MLflow keeps runs: `sqlite:///...`, or the address of a server. If None it is what
            `MLFLOW_TRACKING_URI` says, else the file mlflow.db in the folder.

    Raises:
        TrackError: The store is of another version of MLflow, is damaged, or cannot be reached.
        MissingPackageError: MLflow is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, uri: str | None = None) -> None:
        self.folder = Path(FOLDER if folder is None else folder).absolute()
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder / 'mlflow.db'}"
        known = _OPEN.get(self.uri) if not self.local or Path(self.uri[10:]).exists() else None
        self._client: Any = known or self._connected()
        _OPEN[self.uri] = self._client

    @property
    def local(self) -> bool:
        """True if runs are in a file of the folder, not at a server."""
        return self.uri.startswith("sqlite:")

    def _connected(self) -> Any:
        optional_package("mlflow", "track", "naivegraph.track")
        scheme = self.uri.partition(":")[0]
        if scheme in ("http", "https"):
            _check_reachable(self.uri)
        elif self.uri == f"sqlite:///{self.folder / 'mlflow.db'}":
            _make_folder(self.folder)
        # Each of several processes that find no tables would make them, and all but one fail.
        lock = KernelLock(self.folder / ".mlflow.lock") if self.folder.is_dir() else contextlib.nullcontext()
        # Connections to files are opened anew each time: processes that fork must not share one, and one that
        # stays open would go on with a file that was removed.
        unpooled = _environment("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        with lock, self._told(), _quiet(), unpooled, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own, of libraries it is behind of
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=self.uri)
            client.search_experiments(max_results=1)
        return client

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell failures of MLflow in the user's words."""
        import requests
        import sqlalchemy
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, sqlalchemy.exc.SQLAlchemyError, requests.RequestException) as error:
            raise TrackError(f"{_shown(self.uri)}: {_advice(str(error), self.uri)}") from error

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call MLflow; while another process writes to the same file, again."""
        until = time.monotonic() + _BUSY
        while True:
            try:
                with self._told(), _quiet():
                    return getattr(self._client, name)(*args, **kwargs)
            except TrackError as error:
                if "database is locked" not in str(error.__cause__) or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    # Experiments

    def experiment(self, name: str, *, make: bool = False) -> str | None:
        """The number MLflow has for an experiment; None if there is none and none is to be made.

        Raises:
            TrackError: It was deleted.
        """
        found = self._call("get_experiment_by_name", name)
        if found is None and make:
            place = (self.folder / "artifacts").as_uri() if self.local else None
            try:
                self._call("create_experiment", name, artifact_location=place)
            except TrackError:  # another process has made it
                if self._call("get_experiment_by_name", name) is None:
                    raise
            found = self._call("get_experiment_by_name", name)
        if found is None:
            return None
        if found.lifecycle_stage != "active":
            raise TrackError(
                f"the experiment {name!r} was deleted: restore it (mlflow experiments restore -x "
                f"{found.experiment_id}), or use another name"
            )
        return str(found.experiment_id)

    def experiments(self) -> dict[str, str]:
        """The numbers of all experiments by their names."""
        return {each.name: str(each.experiment_id) for each in self._call("search_experiments")}

    # Runs

    def with_identity(self, experiment: str, identity: str) -> Any:
        """The run of an identity; None if there is none."""
        number = self.experiment(experiment)
        if number is None:
            return None
        found = self._call("search_runs", [number], f"tags.`{IDENTITY}` = '{identity}'", max_results=1)
        return found[0] if found else None

    def search(self, numbers: Sequence[str], query: str = "", limit: int | None = None) -> list[Any]:
        """The runs of experiments for which a query of MLflow holds, the newest first."""
        found: list[Any] = []
        token: str | None = None
        while numbers and (limit is None or len(found) < limit):
            page = self._call("search_runs", list(numbers), query, max_results=_PAGE, page_token=token)
            found += page
            token = getattr(page, "token", None)
            if not token:
                break
        return found[:limit]

    def get(self, run_id: str) -> Any:
        """A run as it is now."""
        return self._call("get_run", run_id)

    def create(
        self,
        experiment: str,
        identity: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> Any:
        """Make a run, or complete the one that a process made which was killed then."""
        found = self.with_identity(experiment, identity)
        if found is None:
            number = self.experiment(experiment, make=True)
            marks = {IDENTITY: identity, _LISTED: str(len(parameters)), **tags}
            found = self._call("create_run", number, tags=marks, run_name=name)
        self.log_parameters(found, parameters)
        return self.get(found.info.run_id)

    def log_parameters(self, run: Any, parameters: Mapping[str, Any]) -> None:
        """Log the parameters that a run does not have yet; MLflow takes each once."""
        from mlflow.entities import Param

        texts = {parameter_name(path): parameter_text(value) for path, value in parameters.items()}
        new = [Param(name, text) for name, text in texts.items() if name not in run.data.params]
        for start in range(0, len(new), 100):
            self._call("log_batch", run.info.run_id, params=new[start : start + 100])

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers measured at a step."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        found = [Metric(parameter_name(name), value, now, step) for name, value in metrics.items()]
        self._call("log_batch", run_id, metrics=found)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run; unlike parameters they may change."""
        from mlflow.entities import RunTag

        found = [RunTag(parameter_name(name), parameter_text(value)) for name, value in tags.items()]
        self._call("log_batch", run_id, tags=found)

    def set_status(self, run_id: str, status: str) -> None:
        """Set what MLflow says of a run: RUNNING, FINISHED, FAILED or KILLED."""
        if status == "RUNNING":
            self._call("update_run", run_id, status=status)
        else:
            self._call("set_terminated", run_id, status=status)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """The steps and values of a metric."""
        found = self._call("get_metric_history", run_id, parameter_name(metric))
        return sorted((each.step, each.value) for each in found)

    # Artifacts

    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file to the artifacts of a run."""
        self._call("log_artifact", run_id, str(path), folder)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Write a text to the artifacts of a run."""
        self._call("log_text", run_id, text, name)

    def files(self, run_id: str, folder: str | None = None) -> list[str]:
        """The artifacts of a run, those in folders among them."""
        out: list[str] = []
        for each in self._call("list_artifacts", run_id, folder):
            out += self.files(run_id, each.path) if each.is_dir else [each.path]
        return sorted(out)

    def file(self, run_id: str, name: str) -> Path:
        """An artifact as a file of this machine; it is fetched where it is not one."""
        place = str(self.get(run_id).info.artifact_uri)
        if place.startswith("file:"):
            path = Path(urllib.request.url2pathname(urllib.parse.urlparse(place).path), name)
            if path.is_file():
                return path
        try:
            with _environment("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"):
                return Path(self._call("download_artifacts", run_id, name))
        except (TrackError, OSError) as error:
            raise TrackError(f"run {run_id} has no artifact {name!r}") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackError(f"{folder} cannot be the folder of runs: {error.strerror or error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what MLflow tells of its own work from the user's screen."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment for a block, unless the user has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _check_reachable(uri: str) -> None:
    """Ask a server once; MLflow itself would ask for minutes."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):
            return
    except urllib.error.HTTPError:
        return  # somebody answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TrackError(
            f"{_shown(uri)}: no server answers ({reason}). Start it (mlflow server --backend-store-uri "
            "sqlite:///mlflow.db), check MLFLOW_TRACKING_URI and --uri, or leave them out to keep runs in a "
            "folder"
        ) from error


def _shown(uri: str) -> str:
    """An address without a password."""
    scheme, sep, rest = uri.partition("://")
    return f"the tracking store {scheme}{sep}{rest.rpartition('@')[2]}"


def _advice(message: str, uri: str) -> str:
    """The words for what to do about an error of MLflow."""
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    if "database schema" in message:
        return (
            f"it is of another version of MLflow ({first.partition('.')[0]}). Copy it, then `mlflow db "
            f"upgrade {uri}` brings it up to this version; or install the MLflow that wrote it, or give "
            "another folder"
        )
    if "no such table" in message:
        return "its file was replaced while this process used it: start the process anew"
    if "not a database" in message or "malformed" in message:
        return f"it is damaged, or none of MLflow ({first}): restore it from a copy, or give another folder"
    if "maintenance mode" in message or "unsupported URI" in message:
        return (
            "MLflow keeps no runs there any more: give sqlite:///PATH/mlflow.db or the address of a server "
            "(http://...); `mlflow migrate-filestore` takes old runs along"
        )
    return first
