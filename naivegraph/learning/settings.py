"""Configs of trainings, read by jsonargparse, and what they name."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from naivegraph.errors import EditError, nearest
from naivegraph.learning.learners import Learner
from naivegraph.learning.splits import Split
from naivegraph.learning.train_epochs import Epochs, TrainedLearner, train

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["Config", "check_key", "merged", "read_config", "train_config"]

Config = dict[str, Any]


def read_config(words: Sequence[str]) -> Config:
    """Read a config from words such as `--config f.yaml --optimizer.init_args.lr 0.01`, as plain data.

    Raises:
        EditError: A file is missing or none, a key is unknown, a value is of another type, or something that
            is named cannot be imported.
    """
    return _plain(_parser(), words)


def merged(config: Config, values: Mapping[str, Any]) -> Config:
    """A config with other values, by keys such as `optimizer.init_args.lr`, checked again.

    Raises:
        EditError: A key is unknown, or a value is of another type.
    """
    out: Config = json.loads(json.dumps(config))
    for key, value in values.items():
        here, (*before, last) = out, key.split(".")
        for part in before:
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                raise EditError(f"the config has no {key}: {part} is {here!r}")
        here[last] = value
    return _plain(_parser(), ["--config", json.dumps(out)])


def check_key(config: Config, key: str) -> None:
    """A key is one of the config, of the learner's and optimizer's arguments too.

    Raises:
        EditError: It is none.
    """
    known = sorted(_keys(config))
    if key not in known:
        raise EditError(f"the config has no {key!r}{nearest(key, known)}; it has {', '.join(known)}")


def train_config(config: Config, folder: Path, *, console: bool = True) -> TrainedLearner:
    """Train what a config says, in a folder.

    Args:
        config: As `read_config` gives it.
        folder: Where checkpoints and logs are kept.
        console: Whether to say the scores on standard error.

    Raises:
        EditError: Something that the config names cannot be made.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["plan"]["seed"])  # the weights at the start
        learner = _made(config)
    optimizer = _optimizer(config, learner)
    kept = {key: config[key] for key in ("learner", "optimizer", "split")}
    kept["plan"] = {key: x for key, x in config["plan"].items() if key not in ("epochs", "checkpoint_every")}
    return train(
        learner,
        optimizer,
        folder,
        Epochs(**config["plan"]),
        split=Split(**config["split"]),
        config=kept,
        console=console,
        tensorboard=config["tensorboard"],
    )


def _parser() -> ArgumentParser:
    """The parser of a config."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="naivegraph weights train", exit_on_error=False)
    parser.add_argument("--config", action="config", help="a file; several are stacked, the last one wins")
    parser.add_argument("--folder", type=str, default="weights_runs/run", help="checkpoints and logs")
    parser.add_argument("--tensorboard", type=bool | None, default=None, help="write for TensorBoard")
    parser.add_subclass_arguments(Learner, "learner", required=True)
    parser.add_subclass_arguments(
        torch.optim.Optimizer, "optimizer", skip={"params"}, default={"class_path": "torch.optim.Adam"}
    )
    parser.add_class_arguments(Epochs, "plan")
    parser.add_class_arguments(Split, "split")
    parser.add_argument("--tune", type=Tuning, default=Tuning(), help="what to search for")
    parser.add_argument("--parallel", type=Grid, default=Grid(), help="what to train side by side")
    return parser


@dataclasses.dataclass(frozen=True)
class Tuning:
    """A search for the values of a config.

    Attributes:
        trials: The number of trainings.
        space: For each key either a list of choices, or `{low, high}` and, if wanted, `log: true`.
        seed: The seed of the search.
    """

    trials: int = 20
    space: dict[str, list[Any] | dict[str, Any]] = dataclasses.field(default_factory=dict)
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Grid:
    """Trainings side by side.

    Attributes:
        over: For each key the values it is to take; all combinations are trained.
        engine: serial, processes, ray or dask.
        workers: Trainings at once; as many as there are cores if None.
    """

    over: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    engine: str = "processes"
    workers: int | None = None


def _plain(parser: ArgumentParser, words: Sequence[str]) -> Config:
    from jsonargparse import ArgumentError

    try:
        parsed = parser.parse_args([*words])
        config: Config = json.loads(parser.dump(parsed, "json", False))
    except ArgumentError as error:
        raise EditError(_sentence(error)) from error
    config.pop("config", None)
    return config


def _sentence(error: Exception) -> str:
    """An error of jsonargparse in one line, without the types that a value was tried as."""
    text = re.sub(
        r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: - ",
        "",
        " ".join(str(error).split()),
    )
    return re.sub(r" - Expected a <class 'NoneType'>.*", "", text)


def _made(config: Config) -> Learner:
    """The learner of a config."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Learner, "learner", required=True)
    namespace = parser.parse_object({"learner": config["learner"]})
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        learner: Learner = instantiate(namespace).learner
    except (TypeError, ValueError, RuntimeError) as error:
        raise EditError(f"the learner could not be made: {_sentence(error)}") from error
    return learner


def _optimizer(config: Config, learner: Learner) -> torch.optim.Optimizer:
    """The optimizer of a config."""
    import importlib

    module, _, name = config["optimizer"]["class_path"].rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    try:
        made: torch.optim.Optimizer = kind(
            learner.module.parameters(), **config["optimizer"].get("init_args", {})
        )
    except (TypeError, ValueError) as error:
        raise EditError(f"the optimizer could not be made: {error}") from error
    return made


def _keys(config: Config, prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in config.items():
        if prefix or key in ("learner", "optimizer", "plan", "split"):
            deeper = _keys(value, f"{prefix}{key}.") if isinstance(value, dict) else []
            found += deeper or [f"{prefix}{key}"]
    return found
