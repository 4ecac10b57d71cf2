"""Runs of a config: made once, whoever asks, and finished whoever began."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from naivegraph.errors import TrackError
from naivegraph.track.config_parser import ConfigPart, Settings, read_settings
from naivegraph.track.find_runs import open_run
from naivegraph.track.lease import Lease
from naivegraph.track.run_identity import flat, without_machine
from naivegraph.track.tracked_run import TrackedRun
from naivegraph.track.tracking_store import TrackingStore

__all__ = ["once", "trained"]

_POLL = 1.0  # seconds from look to look at a run that another process trains


def once(
    config: ConfigPart | Sequence[ConfigPart],
    *,
    words: Sequence[str] = (),
    folder: str | os.PathLike[str] | None = None,
    uri: str | None = None,
    wait: bool = True,
    patience: float = 60.0,
) -> TrackedRun:
    """Give the run of a config: the finished one, or one that is trained now, from its last checkpoint.

    Of several processes that ask at once, one trains, and the others wait for it; if it dies, one of them
    goes on. What makes two configs the same is said at `ng.track.identity_of`.

    Args:
        config: A config: the path of a YAML or JSON file, its content, or several of these, of which the
            later count. docs/track.md says what is in it.
        words: Words of a command line that count over all, such as `["--trainer.max_epochs", "9"]`.
        folder: The folder of runs and checkpoints, shared by all that train; `experiments` if None.
        uri: Where MLflow keeps runs: a server, or `sqlite:///...`. If None it is `MLFLOW_TRACKING_URI`, or a
            file in the folder.
        wait: Whether to wait for another process that trains it; if not, its run is given as it is.
        patience: Seconds after which a process of another machine counts as dead.

    Raises:
        TrackError: The config is none, the store cannot be used, or the run was begun in another folder.
        Exception: Whatever the training raises; call again to go on from the last checkpoint.
    """
    parts: list[Any] = list(config) if isinstance(config, (list, tuple)) else [config]
    settings = read_settings(parts, words)
    store = TrackingStore(folder, uri)
    lease = Lease(_folder_of(store, settings) / "lease.json", patience=patience)
    while True:
        found = _found(store, settings)
        if found is not None and found.finished:
            return found
        lease.path.parent.mkdir(parents=True, exist_ok=True)
        if lease.claim():
            break
        if not wait and found is not None:
            return found
        time.sleep(_POLL if wait else 0.1)
    with lease:
        found = _found(store, settings)  # another process may have finished it just before
        if found is None or not found.finished:
            found = _trained(store, settings, lease, found)
    return found


def trained(run: str, folder: str | None = None, uri: str | None = None) -> nn.Module:
    """The network of a run, for configs: a teacher, or a model to go on with.

    Args:
        run: Its id, identity or name.
        folder: As for `once`.
        uri: As for `once`.
    """
    return open_run(run, folder=folder, uri=uri).model()


def _folder_of(store: TrackingStore, settings: Settings) -> Any:
    return store.folder / "runs" / settings.identity[:32]


def _found(store: TrackingStore, settings: Settings) -> TrackedRun | None:
    entity = store.with_identity(settings.experiment, settings.identity)
    return None if entity is None else TrackedRun(store, entity)


def _trained(store: TrackingStore, settings: Settings, lease: Lease, found: TrackedRun | None) -> TrackedRun:
    """Train a run that is not finished; the lease is held."""
    from naivegraph.track.train_run import train

    here = str(store.folder)
    if found is not None and found.status == "running" and found.tags.get("naivegraph.folder", here) != here:
        raise TrackError(
            f"run {found.id} was begun in {found.tags['naivegraph.folder']} and is not finished: its "
            "checkpoints are there. Give that folder; or, if they are lost, end the run (mlflow runs delete "
            f"--run-id {found.id}) and call again"
        )
    parameters = flat(without_machine(settings.config))
    everything = flat(settings.config)
    own = {name: str(value) for name, value in everything.items() if name not in parameters}
    tags = {"naivegraph.folder": here, **{f"machine/{name}": value for name, value in own.items()}}
    entity = store.create(settings.experiment, settings.identity, settings.name, parameters, tags)
    run = TrackedRun(store, entity)
    if found is not None:
        store.tag(run.id, tags)
    train(run, settings, lease)
    run.refresh()
    return run
