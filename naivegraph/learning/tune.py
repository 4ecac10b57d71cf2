"""Searches for the values of a config by Optuna, which are kept on disk and gone on with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

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
        best: The training with the best values, in the folder `best`.
    """

    values: dict[str, Any]
    scores: list[tuple[dict[str, Any], float]]
    best: TrainedLearner


def tune(config: Config, *, console: bool = True) -> Tuned:
    """Search for the values that `tune.space` names, then train with the best ones.

    The search is kept in `tune.db` in the folder; called again, it makes the trials that are missing.

    Raises:
        EditError: The space names nothing, or something that the config does not have.
        MissingPackageError: Optuna is not installed.
    """
    optuna = optional_package("optuna", "optuna", "tuning")
    space, folder = config["tune"]["space"], Path(config["folder"])
    if not space:
        raise EditError(
            "tune.space is empty: give keys and values, such as optimizer.init_args.lr: {low: 1e-4, high: "
            "0.1, log: true}"
        )
    for key in space:
        check_key(config, key)
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'tune.db'}",
        study_name="tune",
        load_if_exists=True,
        direction="minimize" if config["plan"]["direction"] == "min" else "maximize",
        sampler=optuna.samplers.TPESampler(seed=config["tune"]["seed"]),
    )
    complete = optuna.trial.TrialState.COMPLETE
    done = [trial for trial in study.trials if trial.state == complete]

    def objective(trial: Any) -> float:
        """Train with values that Optuna proposes."""
        values = {key: _proposed(trial, key, given) for key, given in space.items()}
        try:
            return train_config(
                merged(config, values), folder / f"trial_{trial.number}", console=console
            ).score
        except DivergedError as error:
            raise optuna.TrialPruned(str(error)) from error

    study.optimize(objective, n_trials=max(0, config["tune"]["trials"] - len(done)))
    scores = [(dict(trial.params), float(trial.value)) for trial in study.trials if trial.state == complete]
    if not scores:
        raise EditError(
            "no training came to an end with a loss that is a number: give smaller learning rates"
        )
    values = dict(study.best_params)
    return Tuned(values, scores, train_config(merged(config, values), folder / "best", console=console))


def _proposed(trial: Any, key: str, given: Any) -> Any:
    """The value that Optuna proposes for a key."""
    if isinstance(given, list):
        return trial.suggest_categorical(key, given)
    try:
        low, high = given["low"], given["high"]
    except (KeyError, TypeError):
        raise EditError(f"tune.space.{key} is {given!r}: give a list of choices, or low and high") from None
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log=bool(given.get("log", False)))
    return trial.suggest_float(key, float(low), float(high), log=bool(given.get("log", False)))
