"""Training of one run by Lightning, from its last checkpoint if it has one."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from naivegraph.edits.save.save import save
from naivegraph.errors import TrackError
from naivegraph.graph.export.history import history_of
from naivegraph.optional_package import optional_package
from naivegraph.own_randomness import own_randomness
from naivegraph.track.config_parser import Settings, built_model, made, made_trainer
from naivegraph.track.edits_in_checkpoint import hold_edits
from naivegraph.track.environment import environment
from naivegraph.track.epoch_loader import epoch_loader
from naivegraph.track.lease import Lease
from naivegraph.track.tracked_run import CONFIG, MODEL, TrackedRun

__all__ = ["train"]

_CHECKPOINTS = "checkpoints"


def train(run: TrackedRun, settings: Settings, lease: Lease) -> None:
    """Train a run to its end, and write the network and all that belongs to it.

    Args:
        run: The run, made already.
        settings: Its config.
        lease: The lease of the run, which this process holds.

    Raises:
        TrackError: Something in the config cannot be made, or the lease was lost.
        Exception: Whatever the user's code raises; the run is then `failed`, and can be taken up.
    """
    store = run.store
    store.set_status(run.id, "RUNNING")
    store.log_text(run.id, json.dumps(settings.config, indent=1), CONFIG)
    try:
        with own_randomness(settings.config["seed"], threads=None):
            network = _fitted(run, settings, lease)
        lease.check()
        _keep(run, network)
    except KeyboardInterrupt:
        _end(run, lease, "KILLED", "stopped by the user")
        raise
    except BaseException as error:
        _end(run, lease, "FAILED", "".join(traceback.format_exception(error)))
        raise
    store.set_status(run.id, "FINISHED")


def _fitted(run: TrackedRun, settings: Settings, lease: Lease) -> nn.Module:
    """The network after the training, and after the test if there is data for it."""
    optional_package("lightning.pytorch", "track", "training")
    from naivegraph.track.lightning_logger import RunLogger
    from naivegraph.track.run_checkpoints import RunCheckpoints, last_checkpoint

    config = settings.config
    folder = run.folder / _CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, epoch = last_checkpoint(folder)
    network = built_model(config)
    task = _task(config, network)
    hold_edits(task)
    logger = RunLogger(run)
    run.store.log_text(
        run.id, json.dumps(environment(), indent=1), f"environment/{len(_files(run, 'environment'))}.json"
    )
    for number, text in enumerate(history_of(network)):
        logger.log_change(text, number)
    checkpoints = RunCheckpoints(folder, lease, int(config.get("checkpoint_every", 1)), config["seed"])
    with _quiet_lightning():
        trainer = made_trainer(
            config, logger=logger, callbacks=[checkpoints], default_root_dir=str(run.folder)
        )
    if trainer.world_size > 1:
        raise TrackError(
            f"the trainer asks for {trainer.world_size} processes: a run is trained by one. Set "
            "trainer.devices to 1, and train several runs at once"
        )
    data = {name: _loader(config, f"data.{name}", epoch) for name in ("train", "validation", "test")}
    with _interrupts(trainer), _quiet_lightning():
        trainer.fit(task, data["train"], data["validation"], ckpt_path=checkpoint)
        if data["test"] is not None:
            trainer.test(task, data["test"], verbose=False)
    trained = getattr(task, "network", network)
    for number, text in enumerate(history_of(trained)):
        if f"edits/{number:03}.txt" not in _files(run, "edits"):
            logger.log_change(text, number)
    return trained if isinstance(trained, nn.Module) else network


def _task(config: Mapping[str, Any], network: nn.Module) -> Any:
    module = optional_package("lightning.pytorch", "track", "training").LightningModule
    task = made(config, "task", network)
    if not isinstance(task, module):
        raise TrackError(
            f"task: {config['task']['class_path']} made a {type(task).__name__}, not a LightningModule that "
            "takes the network first"
        )
    return task


def _loader(config: Mapping[str, Any], section: str, epoch: int) -> Any:
    """The loader of a dataset; None if the config names none."""
    _, _, stage = section.partition(".")
    if stage not in config["data"]:
        return None
    dataset = made(config, section)
    if not hasattr(dataset, "__getitem__") and not hasattr(dataset, "__iter__"):
        path = config["data"][stage]["class_path"]
        raise TrackError(f"{section}: {path} made a {type(dataset).__name__}, not a dataset")
    if hasattr(dataset, "__len__") and not len(dataset):
        raise TrackError(f"{section}: {config['data'][stage]['class_path']} made a dataset without samples")
    options = dict(config.get("loader") or {})
    return epoch_loader(dataset, seed=config["seed"], epoch=epoch, shuffle=stage == "train", **options)


def _keep(run: TrackedRun, network: nn.Module) -> None:
    """Write the trained network to the run."""
    folder, _, name = MODEL.rpartition("/")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, name)
        save(network, path)
        run.store.log_file(run.id, path, folder)


def _end(run: TrackedRun, lease: Lease, status: str, reason: str) -> None:
    """Write why a run ended, if it is this process's still and the store can be reached."""
    with contextlib.suppress(TrackError):
        lease.check()
        run.store.tag(run.id, {"naivegraph.error": reason[-400:]})
        run.store.log_text(run.id, reason, "error.txt")
        run.store.set_status(run.id, status)


def _files(run: TrackedRun, folder: str) -> list[str]:
    return run.store.files(run.id, folder)


@contextlib.contextmanager
def _interrupts(trainer: Any) -> Iterator[None]:
    """Give the user's interrupt on: Lightning ends the process instead, and ignores further ones."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if main and before is not None:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning tells of its own work, and advice on what is meant as it is."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with contextlib.ExitStack() as stack:
        stack.callback(logger.setLevel, level)
        stack.enter_context(warnings.catch_warnings())
        for topic in (
            "does not have many workers",
            "LeafSpec",
            "have no `val_dataloader`",
            "number of training batches",
        ):
            warnings.filterwarnings("ignore", f".*{topic}.*")
        yield
