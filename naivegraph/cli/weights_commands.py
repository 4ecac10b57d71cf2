"""The commands `naivegraph weights train`, `tune` and `parallel`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from naivegraph.cli.usage_errors import UsageError
from naivegraph.errors import NaivegraphError
from naivegraph.learning import TrainedLearner, parallel, read_config, train_config, tune
from naivegraph.tables import Column, TextTable, as_text

__all__ = ["weights"]

_WIDTH = 160


def weights(kind: str | None, words: Sequence[str] = ()) -> None:
    """Train networks that predict weights, as a config says, and print what became of them.

    Args:
        kind: train, tune or parallel.
        words: Those of the config: `--config f.yaml` and values over it.

    Raises:
        NaivegraphError: The config is none, or the training cannot be done.
    """
    if not words:
        raise UsageError(f"give what to train: naivegraph weights {kind} --config quine.yaml")
    config = read_config(words)
    if kind == "train":
        found = train_config(config, Path(config["folder"]))
        _show([({}, found)])
    elif kind == "tune":
        tuned = tune(config)
        rows = [[*map(_text, values.values()), _text(score)] for values, score in tuned.scores]
        _show_rows([*config["tune"]["space"], config["plan"]["score"]], rows)
        _show([(tuned.values, tuned.best)])
    else:
        _show(parallel(config))


def _show(found: Sequence[tuple[Mapping[str, Any], TrainedLearner | NaivegraphError]]) -> None:
    """Print the best epoch of each training."""
    values = found[0][0]
    done = [(given, each) for given, each in found if isinstance(each, TrainedLearner)]
    names = [*done[0][1].scores]
    rows = [
        [*map(_text, given.values()), str(each.best), *(_text(each.scores[name]) for name in names)]
        for given, each in done
    ]
    _show_rows([*values, "best epoch", *names], rows)
    for given, each in found:
        if isinstance(each, TrainedLearner):
            sys.stdout.write(f"{each.folder}{': ' if each.report else ''}{each.report}\n")
        else:
            said = ", ".join(f"{key} {_text(value)}" for key, value in given.items())
            sys.stdout.write(f"{said} could not be trained: {each}\n")


def _show_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = TextTable([Column(heading, right=True) for heading in headings], rows)
    sys.stdout.write(as_text([table], _WIDTH) + "\n")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
