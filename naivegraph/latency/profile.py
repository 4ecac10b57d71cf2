"""A profile: what the calls of a network cost in time on one machine, as data that can be saved."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from naivegraph.errors import LoadError
from naivegraph.tables import Block, Column, TextTable, as_html, as_text, time_text

__all__ = ["CallTime", "Profile"]

_FORMAT = 1
_SHOWN = 15
_COLUMNS = (
    Column("call"), Column("time", right=True), Column("share", right=True), Column("fixed", right=True),
    Column("by MACs", right=True), Column("by bytes", right=True),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CallTime:
    """The time of a call: `fixed + per_mac * MACs + per_byte * bytes`.

    Attributes:
        fixed: Seconds, whatever the sizes.
        per_mac: Seconds for each multiply-accumulate.
        per_byte: Seconds for each byte of the tensors that its operators take and make.
        macs: Multiply-accumulates of the network that was profiled.
        bytes: Its bytes.
    """

    fixed: float
    per_mac: float
    per_byte: float
    macs: float
    bytes: float

    @property
    def seconds(self) -> float:
        """The seconds it took in the network that was profiled."""
        return self.fixed + self.per_mac * self.macs + self.per_byte * self.bytes


@dataclasses.dataclass(frozen=True, repr=False)
class Profile:
    """The times of a network's calls on one machine and runtime; made by `ng.profile`, kept as JSON.

    Attributes:
        runtime: The name of the runtime.
        machine: The machine, by device, threads and the version of torch.
        seconds: The time of the whole network when the profile was taken.
        calls: The time of each call, by the name of its vertex.
        offset: Seconds of the whole network beside those of its calls; below 0 where calls take longer when
            they are timed one by one.
        error: The median error of times predicted for the prunings that the profile was fitted to, relative.
        samples: The number of these prunings.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64))
        >>> profile = ng.profile(net, torch.ones(32, 64))
        >>> sorted(profile.calls), profile.runtime
        (['0', '1', '2'], 'eager')
        >>> Profile.from_json(profile.to_json()) == profile
        True
    """

    runtime: str
    machine: Mapping[str, str]
    seconds: float
    calls: Mapping[str, CallTime]
    offset: float
    error: float
    samples: int

    def to_json(self) -> str:
        """The profile as JSON."""
        return json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The profile in a text of `to_json`.

        Raises:
            LoadError: It is none.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            if found.pop("format") != _FORMAT:
                raise LoadError("the profile was written by another version: take it anew (ng.profile)")
            calls = {name: CallTime(**values) for name, values in found.pop("calls").items()}
            return cls(calls=calls, **found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LoadError(f"this is no profile of ng.profile: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to a JSON file."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile that `save` wrote.

        Raises:
            LoadError: The file is none.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def __repr__(self) -> str:
        return f"Profile({self.runtime}, {time_text(self.seconds)}, {len(self.calls)} calls)"

    def __str__(self) -> str:
        return as_text(self._blocks())

    def _repr_html_(self) -> str:
        return as_html(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        device, threads = self.machine.get("device", "?"), self.machine.get("threads", "?")
        yield (
            f"{self.runtime} on {device}, {threads} thread{'s' * (threads != '1')}: "
            f"{time_text(self.seconds)} a run; fitted to {self.samples} random prunings, median error "
            f"{self.error:.1%}"
        )
        total = sum(call.seconds for call in self.calls.values()) or 1.0
        slowest = sorted(self.calls.items(), key=lambda item: -item[1].seconds)[:_SHOWN]
        rows = [
            (
                name,
                time_text(call.seconds),
                f"{call.seconds / total:.1%}",
                time_text(call.fixed),
                time_text(call.per_mac * call.macs),
                time_text(call.per_byte * call.bytes),
            )
            for name, call in slowest
        ]
        rest = len(self.calls) - len(rows)
        below = f"and {rest} more (profile.calls)" if rest > 0 else None
        yield TextTable(_COLUMNS, rows, "The slowest calls", below)
