"""What the accuracy benchmarks share: a network to measure, its rows, and the times of solves."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from torch import nn

import naivegraph as ng
from benchmarks.common import ROOT, Row, macs, say
from naivegraph.reconstruct.layer_fit import LayerFit


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trained network with data, and what tells how good it is.

    Attributes:
        name: As shown in tables.
        build: Makes it, in eval mode.
        example: Its arguments and keyword arguments.
        calibration: What `calibration=` takes; never measured on.
        measure: The figure of a network.
        shown: The figure as text.
    """

    name: str
    build: Callable[[], nn.Module]
    example: tuple[tuple[Any, ...], dict[str, Any]]
    calibration: Any
    measure: Callable[[nn.Module], float]
    shown: Callable[[float], str]


def rows(subject: Subject, budget: float, criterion: str) -> Iterator[Row]:
    """One row: the network pruned to a share of its MACs by a criterion, as pruned and refitted."""
    args, kwargs = subject.example
    full = macs(subject.build(), args, kwargs)
    plain, teacher = subject.build(), subject.build()
    started = time.process_time()
    ng.prune(
        plain, args, kwargs=kwargs, macs=budget, utility=criterion, calibration=subject.calibration,
        refit=False,
    )  # fmt: skip
    chosen = time.process_time() - started
    refitted = copy.deepcopy(plain)  # as ng.prune itself refits it
    started = time.process_time()
    with solves() as solved:
        edit = ng.reconstruct(refitted, teacher, subject.calibration, example=args, kwargs=kwargs)
    seconds = time.process_time() - started
    used = macs(refitted, args, kwargs)
    yield {
        "network": subject.name, "MACs": f"{used:,}", "of all": f"{used / full:.1%}", "criterion": criterion,
        "as pruned": subject.shown(subject.measure(plain)),
        "refit": subject.shown(subject.measure(refitted)),
        "choosing, CPU s": f"{chosen:.1f}", "refit, CPU s": f"{seconds:.1f}",
        "of it solves": f"{solved():.1f}",
    }  # fmt: skip
    assert edit.refit is not None, "a refit without a report"
    worst = sorted(edit.refit.layers, key=lambda layer: -layer.after)[:5]
    shown = "; ".join(f"{each.name} {each.before:.2f} to {each.after:.2f}" for each in worst)
    say(f"{subject.name}, macs={budget}, {criterion}: {edit!r}; largest errors: {shown}")


@contextlib.contextmanager
def solves() -> Iterator[Callable[[], float]]:
    """Give a function that tells the CPU seconds spent in the solves of refits inside the block."""
    spent, solve = [0.0], LayerFit.solve

    def timed(self: LayerFit, name: str) -> Any:
        started = time.process_time()
        try:
            return solve(self, name)
        finally:
            spent[0] += time.process_time() - started

    with mock.patch.object(LayerFit, "solve", timed):
        yield lambda: spent[0]


def measured() -> str:
    """The date, and the commit of the code, for results that come from several runs."""
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%h"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return f"{time.strftime('%Y-%m-%d')}, {found.stdout.strip() or 'no commit'}"


def merged(folder: Path, file: str, sections: list[tuple[str, list[Row]]]) -> list[tuple[str, list[Row]]]:
    """The sections, dated, with the rows of the results file for networks not measured this time."""
    path, out, stamp = folder / f"{file}.json", [], measured()
    tables = json.loads(path.read_text())["tables"] if path.is_file() else {}
    for title, new in sections:
        now = {row["network"] for row in new}
        kept = [row for row in tables.get(title, []) if row["network"] not in now]
        out.append((title, kept + [{**row, "measured": stamp} for row in new]))
    return out
