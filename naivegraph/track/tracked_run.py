"""Runs that were kept: what they were given, what was measured, the network that came out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naivegraph.errors import TrackError
from naivegraph.tables import Column, TextTable, as_html, as_text
from naivegraph.track.run_identity import parameter_text, parameter_value
from naivegraph.track.tracking_store import IDENTITY, TrackingStore

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CONFIG", "MODEL", "TrackedRun"]

CONFIG = "config.json"
MODEL = "model/model.safetensors"

_STATUS = {"FINISHED": "finished", "RUNNING": "running", "SCHEDULED": "running", "FAILED": "failed",
           "KILLED": "stopped"}  # fmt: skip


class TrackedRun:
    """A run that is kept; `ng.track.once`, `find` and `runs` give them.

    Attributes:
        id: MLflow's name for it.
        store: Where it is kept.
    """

    def __init__(self, store: TrackingStore, entity: Any) -> None:
        self.store = store
        self._entity = entity
        self.id: str = entity.info.run_id

    @property
    def identity(self) -> str:
        """The sha256 of its config; empty for runs that something else made."""
        return str(self._entity.data.tags.get(IDENTITY, ""))

    @property
    def name(self) -> str:
        """Its name, for people."""
        return str(self._entity.info.run_name or self.id)

    @property
    def status(self) -> str:
        """`finished`, `running` (or killed, which MLflow cannot know), `failed` or `stopped`."""
        return _STATUS.get(self._entity.info.status, str(self._entity.info.status).lower())

    @property
    def experiment(self) -> str:
        """The number MLflow has for its experiment."""
        return str(self._entity.info.experiment_id)

    @property
    def finished(self) -> bool:
        """True once it was trained to the end."""
        return self.status == "finished"

    @property
    def started(self) -> float:
        """The time it began, in seconds since 1970."""
        return float(self._entity.info.start_time) / 1000

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of its config by their paths, such as `model/init_args/depth`; long ones are cut."""
        return {name: parameter_value(text) for name, text in self.parameter_texts.items()}

    @property
    def parameter_texts(self) -> dict[str, str]:
        """The same as MLflow keeps them."""
        return dict(sorted(self._entity.data.params.items()))

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        return {name: _number(value) for name, value in sorted(self._entity.data.metrics.items())}

    @property
    def tags(self) -> dict[str, str]:
        """All else that is written of it: error, host, machine fields."""
        return dict(sorted(self._entity.data.tags.items()))

    @property
    def folder(self) -> Path:
        """Its checkpoints and its lease."""
        return self.store.folder / "runs" / self.identity[:32]

    def refresh(self) -> None:
        """Read it again."""
        self._entity = self.store.get(self.id)

    def history(self, metric: str) -> list[tuple[int, float]]:
        """The steps and values of a metric, in order."""
        return [(step, _number(value)) for step, value in self.store.history(self.id, metric)]

    @property
    def config(self) -> dict[str, Any]:
        """Its config, whole."""
        data: dict[str, Any] = json.loads(self.artifact(CONFIG).read_text(encoding="utf-8"))
        return data

    @property
    def artifacts(self) -> list[str]:
        """Its files by name: the config, surroundings, network, tables and pictures of edits."""
        return self.store.files(self.id)

    def artifact(self, name: str) -> Path:
        """One of its files, on this machine.

        Raises:
            TrackError: There is none of that name.
        """
        return self.store.file(self.id, name)

    @property
    def edits(self) -> list[str]:
        """The tables of its edits, sizes and costs before and after, in order."""
        names = [name for name in self.artifacts if name.startswith("edits/") and name.endswith(".txt")]
        return [self.artifact(name).read_text(encoding="utf-8") for name in names]

    def model(self, *, layers: Mapping[str, Any] | None = None) -> nn.Module:
        """The network as it was trained, with its edits, in eval mode.

        Its code makes a fresh one, then edits and weights are read from a safetensors file; nothing is
        unpickled.

        Args:
            layers: As for `ng.load`.

        Raises:
            TrackError: It is not finished, or its code cannot be imported.
            LoadError: The code makes another network now.
        """
        from naivegraph.edits.save.save import load
        from naivegraph.track.config_parser import built_model

        if not self.finished:
            raise TrackError(f"run {self.name} is {self.status}: ng.track.once takes it up and finishes it")
        return load(built_model(self.config), self.artifact(MODEL), layers=layers).eval()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrackedRun) and (other.id, other.store.uri) == (self.id, self.store.uri)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in list(self.metrics.items())[:3])
        return f"TrackedRun({self.name}, {self.status}{', ' if shown else ''}{shown})"

    def __str__(self) -> str:
        return as_text(self._blocks())

    def _repr_html_(self) -> str:
        return as_html(self._blocks())

    def _blocks(self) -> list[str | TextTable]:
        values = [(name, f"{value:.6g}") for name, value in self.metrics.items()]
        given = [(name, parameter_text(value)) for name, value in self.parameters.items()]
        return [
            f"run {self.name} ({self.id}): {self.status}",
            TextTable([Column("metric"), Column("last", right=True)], values),
            TextTable([Column("parameter"), Column("value", fold=True)], given),
        ]


def _number(value: float) -> float:
    """A number as it was logged: MLflow keeps the largest there is for one without end."""
    if abs(value) == sys.float_info.max:
        return float("inf") if value > 0 else float("-inf")
    return value
