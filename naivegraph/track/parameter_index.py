"""Parameters of runs, remembered: they never change, and MLflow takes seconds to read a thousand runs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from naivegraph.track.tracking_store import TrackingStore
from naivegraph.track.whole_json import read_whole_json, write_whole_json

__all__ = ["ParameterIndex"]

_FORMAT = 1
_AT_ONCE = 200  # runs named in one query
_LISTED = "naivegraph.parameters"


class ParameterIndex:
    """The parameters of all runs of an experiment, by the run; a file beside the runs remembers them.

    A run is remembered once all its parameters are there. What is remembered serves to choose runs, which are
    then read anew: those deleted since are not found.

    Args:
        store: The store.
        number: The number of the experiment.
    """

    def __init__(self, store: TrackingStore, number: str) -> None:
        self._store, self._number = store, number
        key = hashlib.sha256(f"{store.uri} {number}".encode()).hexdigest()[:16]
        self._path = store.folder / f".parameters-{key}.json"

    def parameters(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The id of each run, and its parameters as texts, those of new runs read from MLflow."""
        known = read_whole_json(self._path) or {}
        if known.get("format") != _FORMAT:
            known = {"format": _FORMAT, "since": 0, "runs": {}}
        seen: dict[str, dict[str, str]] = known["runs"]
        new = self._store.search([self._number], f"attributes.start_time >= {int(known['since'])}")
        missing = [run for run in new if run.info.run_id not in seen]
        since, complete = known["since"], True
        fresh: dict[str, dict[str, str]] = {}
        for run in sorted(missing, key=lambda each: int(each.info.start_time)):
            complete = complete and len(run.data.params) >= int(run.data.tags.get(_LISTED, 0))
            if complete:
                seen[run.info.run_id] = dict(run.data.params)
                since = max(since, int(run.info.start_time))
            else:
                fresh[run.info.run_id] = dict(run.data.params)
        if since != known["since"]:
            with contextlib.suppress(Exception):  # a folder that cannot be written costs time alone
                write_whole_json(self._path, {"format": _FORMAT, "since": since, "runs": seen})
        yield from {**seen, **fresh}.items()

    def entities(self, names: Sequence[str]) -> list[Any]:
        """Runs as they are now, the newest first."""
        found: list[Any] = []
        for start in range(0, len(names), _AT_ONCE):
            listed = ", ".join(f"'{name}'" for name in names[start : start + _AT_ONCE])
            found += self._store.search([self._number], f"attributes.run_id IN ({listed})")
        return sorted(found, key=lambda run: int(run.info.start_time), reverse=True)
