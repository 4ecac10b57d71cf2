"""Searches for the values of a config by Optuna, which are kept on disk and gone on with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from naivegraph.edits.request.validate import whole
from naivegraph.errors import EditError
from naivegraph.learning.settings import Config, check_key, merged, train_config
from naivegraph.learning.train_epochs import DivergedError, TrainedLearner
from naivegraph.optional_package import optional_package

__all__ = ["Tuned", "tune"]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The findings of a search.

    Attributes:
        values: The best values, by key.
        scores: For each training that ended, its values and its score.
        best: The training with the best values.
    """

    values: dict[str, Any]
    scores: list[tuple[dict[str, Any], float]]
    best: TrainedLearner


def tune(config: Config, *, console: bool = True) -> Tuned:
    """Search for the values that `tune.space` names, and give the training with the best ones.

    The search is kept in `tune.db` in the folder, each training in a folder of its own; called again, it
    makes the trials that are missing.

    Raises:
        EditError: The space names nothing, or something that the config does not have, or values that are
            none; the folder holds another search.
        MissingPackageError: Optuna is not installed.
    """
    optuna = optional_package("optuna", "optuna", "tuning")
    space, folder = config["tune"]["space"], Path(config["folder"])
    if not space:
        raise EditError(
            "tune.space is empty: give keys and values, such as optimizer.init_args.lr: {low: 1e-4, high: "
            "0.1, log: true}"
        )
    trials = whole(config["tune"]["trials"], "tune.trials", 1)
    for key, given in space.items():
        check_key(config, key)
        _check_values(key, given)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"{folder} is no folder, and cannot be made one: {error.strerror}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'tune.db'}",
        study_name="tune",
        load_if_exists=True,
        direction="minimize" if config["plan"]["direction"] == "min" else "maximize",
        sampler=optuna.samplers.TPESampler(seed=config["tune"]["seed"]),
    )
    _check_same(study, config, space)
    complete = optuna.trial.TrialState.COMPLETE
    done = [trial for trial in study.trials if trial.state == complete]

    def objective(trial: Any) -> float:
        """Train with values that Optuna proposes."""
        values = {key: _proposed(trial, key, given) for key, given in space.items()}
        try:
            trained = train_config(merged(config, values), folder / f"trial_{trial.number}", console=console)
        except DivergedError as error:
            raise optuna.TrialPruned(str(error)) from error
        return trained.score

    study.optimize(objective, n_trials=max(0, trials - len(done)))
    scores = [(dict(trial.params), float(trial.value)) for trial in study.trials if trial.state == complete]
    if not scores:
        raise EditError(
            "no training came to an end with a loss that is a number: give smaller learning rates"
        )
    values = dict(study.best_params)
    place = folder / f"trial_{study.best_trial.number}"  # all of it is there, and is only read again
    return Tuned(values, scores, train_config(merged(config, values), place, console=console))


def _check_values(key: str, given: Any) -> None:
    """Refuse values of the space that are neither choices nor bounds."""
    if isinstance(given, list) and given:
        return
    bounds: list[Any] = [given.get(name) for name in ("low", "high")] if isinstance(given, dict) else []
    if len(bounds) < 2 or any(isinstance(x, bool) or not isinstance(x, (int, float)) for x in bounds):
        raise EditError(f"tune.space.{key} is {given!r}: give a list of choices, or low and high")
    if not bounds[0] < bounds[1] or (given.get("log") and bounds[0] <= 0):
        raise EditError(
            f"tune.space.{key} is {given!r}: low is to be below high, and above 0 where log is true"
        )


def _check_same(study: Any, config: Config, space: Any) -> None:
    """The search that the folder holds is of this config and space, or a new one."""
    fixed = {name: config[name] for name in ("learner", "optimizer", "split", "plan")}
    wanted = {"config": fixed, "space": space, "seed": config["tune"]["seed"]}
    known = study.user_attrs.get("search")
    if known is None:
        study.set_user_attr("search", wanted)
        return
    other = [name for name, value in wanted.items() if known.get(name) != value]
    if other:
        raise EditError(
            f"{config['folder']} holds a search of another {' and '.join(other)}: give another folder, or "
            "remove this one"
        )


def _proposed(trial: Any, key: str, given: Any) -> Any:
    """The value that Optuna proposes for a key."""
    if isinstance(given, list):
        return trial.suggest_categorical(key, given)
    low, high = given["low"], given["high"]
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log=bool(given.get("log", False)))
    return trial.suggest_float(key, float(low), float(high), log=bool(given.get("log", False)))
