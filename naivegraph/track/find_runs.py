"""Runs found by their parameters, metrics and status."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from naivegraph.errors import TrackError, nearest
from naivegraph.track.parameter_index import ParameterIndex
from naivegraph.track.run_identity import parameter_name, parameter_text, parameter_value
from naivegraph.track.tracked_run import TrackedRun
from naivegraph.track.tracking_store import IDENTITY, TrackingStore

__all__ = ["METRICS", "OPERATORS", "find", "open_run", "runs"]

METRICS = "metrics/"
"""The beginning of keys that mean metrics."""

_STATUS = {"finished": "FINISHED", "running": "RUNNING", "failed": "FAILED", "stopped": "KILLED"}

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

# A key, an operator, a value.
_Condition = tuple[str, str, Any]


def find(
    experiment: str,
    where: Mapping[str, Any] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    uri: str | None = None,
) -> list[TrackedRun]:
    """Find runs of an experiment.

    Args:
        experiment: Its name.
        where: Values by key. A key is the path of a value in the config (`model/init_args/depth`), a metric
            (`metrics/accuracy`, its last value) or `status` (`finished`, `running`, `failed`, `stopped`). A
            value is compared as it is (20 is 20.0), or is a pair such as `("<", 0.3)`, or a list of pairs
            which all must hold. Numbers are compared as numbers; a run without the key is not found.
        folder: The folder of runs; `experiments` if None.
        uri: As for `ng.track.once`.

    Returns:
        The runs, the newest first.

    Raises:
        TrackError: There is no such experiment, an operator is none, or the store cannot be read.
    """
    store = TrackingStore(folder, uri)
    number = store.experiment(experiment)
    if number is None:
        known = store.experiments()
        raise _unknown(experiment, known)
    conditions = list(_conditions(where or {}))
    queries = [query for each in conditions if (query := _query(*each))]
    if len(queries) < len(conditions):  # SQL compares texts alone
        index = ParameterIndex(store, number)
        found = [name for name, given in index.parameters() if _holds(given, conditions)]
        entities = index.entities(found)
    else:
        entities = store.search([number], " and ".join(queries))
    everything = (TrackedRun(store, entity) for entity in entities)
    return [run for run in everything if _holds_of(run, conditions)]


def runs(
    experiment: str | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    uri: str | None = None,
    limit: int | None = None,
) -> list[TrackedRun]:
    """List the runs of an experiment, or of all, the newest first.

    Raises:
        TrackError: There is no such experiment, or the store cannot be read.
    """
    store = TrackingStore(folder, uri)
    known = store.experiments()
    if experiment is not None and experiment not in known:
        raise _unknown(experiment, known)
    numbers = [*known.values()] if experiment is None else [known[experiment]]
    return [TrackedRun(store, entity) for entity in store.search(numbers, limit=limit)]


def open_run(
    name: str, *, folder: str | os.PathLike[str] | None = None, uri: str | None = None
) -> TrackedRun:
    """The run of an id, of an identity, or of the beginning of either, or of a name.

    Raises:
        TrackError: There is none, or there are several.
    """
    store = TrackingStore(folder, uri)
    found = _named(store, name)
    if len(found) != 1:
        many = ", ".join(run.id[:12] for run in found[:5])
        raise TrackError(
            f"{len(found)} runs are {name!r} ({many}): give more of the id"
            if found
            else f"no run is {name!r}; `naivegraph runs` lists those there are"
        )
    return found[0]


def _named(store: TrackingStore, name: str) -> list[TrackedRun]:
    """The runs of a name; MLflow takes seconds to give a thousand, so that it is asked for these alone."""
    numbers = [*store.experiments().values()]

    def search(*queries: str) -> list[TrackedRun]:
        """Search for runs for which one of several queries holds."""
        found = {each.info.run_id: each for query in queries for each in store.search(numbers, query)}
        return [TrackedRun(store, entity) for entity in found.values()]

    if not re.fullmatch("[0-9a-f]+", name):
        quote = '"' if "'" in name else "'"
        return search(f"attributes.run_name = {quote}{name}{quote}")
    return (
        search(f"attributes.run_id = '{name}'", f"tags.`{IDENTITY}` = '{name}'")
        or search(f"attributes.run_name = '{name}'", f"attributes.run_id LIKE '{name}%'")
        or search(f"tags.`{IDENTITY}` LIKE '{name}%'")
    )


def _unknown(experiment: str, known: Mapping[str, Any]) -> TrackError:
    listed = f"those there are: {', '.join(known)}" if known else "there is none yet"
    return TrackError(f"there is no experiment {experiment!r}{nearest(experiment, known, otherwise=listed)}")


def _conditions(where: Mapping[str, Any]) -> Iterator[_Condition]:
    for key, value in where.items():
        pairs = value if _is_pairs(value) else [value if _is_pair(value) else ("==", value)]
        for sign, bound in pairs:
            if sign not in OPERATORS:
                raise TrackError(f"{key}: {sign!r} is no comparison; there are {', '.join(OPERATORS)}")
            if sign[0] in "<>" and not _is_number(bound):
                raise TrackError(f"{key}: {sign} takes a number, not {bound!r}")
            if key.startswith(METRICS) and not _is_number(bound):
                raise TrackError(f"{key} is a number, and {bound!r} is none")
            if key == "status" and (bound not in _STATUS or sign not in ("==", "!=")):
                raise TrackError(f"status is one of {', '.join(_STATUS)}, not {bound!r}")
            plain = key == "status" or key.startswith(METRICS)
            yield key if plain else parameter_name(key), sign, bound


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_pair, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _query(key: str, sign: str, bound: Any) -> str:
    """A condition as MLflow's query; empty if it cannot say it."""
    sign = "=" if sign == "==" else sign
    if key == "status":
        return f"attributes.status {sign} '{_STATUS[bound]}'"
    if key.startswith(METRICS):
        return f"metrics.`{parameter_name(key[len(METRICS) :])}` {sign} {float(bound)!r}"
    text = parameter_text(bound)
    if sign == "=" and not {"'", "\\", "%"} & set(text):
        return f"params.`{key}` = '{text}'"
    return ""


def _holds_of(run: TrackedRun, conditions: list[_Condition]) -> bool:
    values = {f"{METRICS}{name}": value for name, value in run.metrics.items()} | {"status": run.status}
    own = [each for each in conditions if each[0] == "status" or each[0].startswith(METRICS)]
    kept = all(key in values and OPERATORS[sign](values[key], bound) for key, sign, bound in own)
    return kept and _holds(run.parameter_texts, conditions)


def _holds(given: Mapping[str, str], conditions: list[_Condition]) -> bool:
    """Tell whether parameters, as texts, keep those conditions that are of parameters."""
    for key, sign, bound in conditions:
        if key == "status" or key.startswith(METRICS):
            continue
        text = given.get(key)
        if text is None:
            return False
        if sign in ("==", "!="):
            if not OPERATORS[sign](text, parameter_text(bound)):
                return False
        elif not (_is_number(value := parameter_value(text)) and OPERATORS[sign](value, bound)):
            return False
    return True
