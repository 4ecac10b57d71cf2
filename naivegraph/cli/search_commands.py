"""The command `naivegraph search`: runs a study that a file describes, or shows one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from naivegraph.cli.load_network import find_object
from naivegraph.cli.usage_errors import UsageError
from naivegraph.search import Study, StudyView
from naivegraph.search.study.result_table import cell
from naivegraph.search.study.study_view import check_output
from naivegraph.tables import Column, TextTable, as_text

__all__ = ["search"]


def search(
    words: Sequence[str] = (),
    *,
    folder: str | None = None,
    space: str | None = None,
    space_arguments: Mapping[str, Any] | None = None,
    evaluate: str | None = None,
    objectives: Mapping[str, str] | None = None,
    limits: Mapping[str, float] | None = None,
    networks: int | None = None,
    seconds: float | None = None,
    engine: str = "processes",
    workers: int | None = None,
    plot: str | None = None,
    genealogy: str | None = None,
    report: str | None = None,
    **settings: Any,
) -> None:
    """Run a study, or show one; print its front, and draw what is asked for.

    Args:
        words: Nothing, or `show` and a folder.
        folder: The folder of the study to run.
        space: `package.module:name` of a space, or of what makes one.
        space_arguments: Keyword arguments for that.
        evaluate: `package.module:function`, the evaluation.
        objectives: `max` or `min` by name.
        limits: The greatest value by name.
        networks: Networks that the study shall have in all.
        seconds: Time after which no more are started.
        engine: The engine, by name.
        workers: Evaluations at once.
        plot: The `.svg` file for the front, and the best over time.
        genealogy: The `.svg` file for whose child each network is.
        report: The `.md` or `.html` file for a report.
        settings: Other settings of a study.

    Raises:
        NaivegraphError: One of the steps failed; the message says which.
    """
    if words:
        study: StudyView = StudyView(_shown(words))
        _check_outputs(plot, genealogy, report)
    else:
        needed = {"folder": folder, "space": space, "evaluate": evaluate, "objectives": objectives}
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise UsageError(
                f"a study needs {', '.join(missing)}: give --config study.yaml, or --{missing[0]}; "
                "`naivegraph search show FOLDER` shows one that there is"
            )
        made = Study(
            str(folder),
            space=_space(str(space), space_arguments or {}),
            evaluate=_function(str(evaluate)),
            objectives=objectives or {},
            limits=limits,
            **settings,
        )
        _check_outputs(plot, genealogy, report)
        made.run(networks=networks, seconds=seconds, engine=engine, workers=workers)
        study = made
        if made.exhausted:
            sys.stderr.write(f"naivegraph: stopped early: {made.exhausted}\n")
    sys.stdout.write(as_text(_blocks(study)) + "\n")
    for draw, path in ((study.plot, plot), (study.genealogy, genealogy), (study.report, report)):
        if path is not None:
            sys.stdout.write(f"Wrote {draw(path)}.\n")


def _check_outputs(plot: str | None, genealogy: str | None, report: str | None) -> None:
    """Refuse names of files that could not be written, before hours go into a search."""
    for path, suffixes in ((plot, (".svg",)), (genealogy, (".svg",)), (report, (".md", ".html"))):
        if path is not None:
            check_output(path, *suffixes)


def _shown(words: Sequence[str]) -> Path:
    """The folder that is to be shown."""
    if words[0] != "show" or len(words) != 2:
        raise UsageError(
            "write `naivegraph search --config study.yaml` to run a study, or `naivegraph search show "
            f"FOLDER` to look at one, not `naivegraph search {' '.join(words)}`"
        )
    return Path(words[1])


def _space(name: str, arguments: Mapping[str, Any]) -> Any:
    """The space of a name; one that is made, if the name is that of a class or function."""
    found = find_object(name)
    if isinstance(found, type) or not hasattr(found, "propose"):
        if not callable(found):
            raise UsageError(
                f"{name!r} is a {type(found).__name__}, which proposes nothing and makes no space"
            )
        try:
            return found(**arguments)
        except TypeError as error:
            raise UsageError(f"{name!r} could not be made with {dict(arguments)}: {error}") from error
    return found


def _function(name: str) -> Any:
    """The function of a name."""
    found = find_object(name)
    if not callable(found):
        raise UsageError(
            f"{name!r} is a {type(found).__name__}; name a function (module, rung, seed) -> dict"
        )
    return found


def _blocks(study: StudyView) -> list[str | TextTable]:
    """The progress of a study, and its front."""
    found, failed = study.candidates, sum(row["status"] == "failed" for row in study.results)
    counted = (
        f"{study.folder}: {len(found):,} networks, {len(study.results):,} evaluations, {failed:,} failed"
    )
    front = study.front
    if not front:
        return [counted, "No network was evaluated and keeps all limits yet."]
    measured = [*study.ranking.objectives]
    measured += [name for name in ("params", *study.ranking.limits) if name in front[0].values]
    columns = dict.fromkeys(measured)
    rows = [
        [
            candidate.name,
            *(cell(candidate.values.get(name)) for name in columns),
            str(candidate.result.rung),
            candidate.lineage.mutation,
        ]
        for candidate in front
    ]
    heads = [Column("network"), *(Column(name, right=True) for name in columns)]
    table = TextTable([*heads, Column("rung", right=True), Column("mutation")], rows, title="front")
    return [counted, table]
