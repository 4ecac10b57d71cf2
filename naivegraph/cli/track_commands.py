"""The commands `naivegraph train` and `naivegraph runs`."""

from __future__ import annotations

import re
import sys
import time
import webbrowser
from collections.abc import Sequence
from typing import Any

from naivegraph import track
from naivegraph.cli.usage_errors import UsageError
from naivegraph.tables import as_text
from naivegraph.track.find_runs import OPERATORS
from naivegraph.track.run_identity import parameter_value

__all__ = ["runs", "train"]

_WIDTH = 160
_CONDITION = re.compile(r"(?P<key>[^<>=!]+)(?P<sign><=|>=|!=|==|=|<|>)(?P<value>.*)")


def train(words: Sequence[str]) -> None:
    """Train the run of a config, unless it is trained already; print it.

    Args:
        words: Those of the command line: `--config` and values over it, `--folder`, `--uri`, `--no-wait`.

    Raises:
        NaivegraphError: The config is none, or the store cannot be used.
    """
    left, options = _own_words(words)
    if not left:
        raise UsageError("give what to train: naivegraph train --config resnet.yaml --config cifar.yaml")
    run = track.once(
        [], words=left, folder=options.get("folder"), uri=options.get("uri"), wait="no-wait" not in options
    )
    sys.stdout.write(f"{as_text([track.runs_table([run], [*run.metrics])], _WIDTH)}\n")
    sys.stdout.write(
        f"`naivegraph runs show {run.id[:8]}` tells more, `naivegraph runs open {run.id[:8]}` too.\n"
    )


def _own_words(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words of the config, and those that say where runs are kept."""
    left: list[str] = []
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        key, sign, value = word.partition("=")
        if key in ("--folder", "--uri"):
            options[key[2:]] = value if sign else next(rest, "")
        elif word in ("--no-wait", "--debug"):
            options[word[2:]] = ""
        else:
            left.append(word)
    return left, options


def runs(
    words: Sequence[str] = (),
    *,
    folder: str | None = None,
    uri: str | None = None,
    metrics: Sequence[str] = (),
    limit: int = 50,
    port: int | None = None,
    browser: bool = False,
) -> None:
    """List, find, compare or show runs.

    Args:
        words: `list [EXPERIMENT]`, `find EXPERIMENT CONDITION...`, `compare RUN RUN...`, `show RUN` or
            `open RUN`; a list of all if there are none.
        folder: The folder of runs.
        uri: Where MLflow keeps runs.
        metrics: The metrics to show.
        limit: The most runs to list.
        port: The port for the page of a run.
        browser: Whether to open the page in a browser.

    Raises:
        NaivegraphError: There is no such run, or the store cannot be used.
    """
    verb, *names = words or ["list"]
    place = {"folder": folder, "uri": uri}
    if verb == "list" and len(names) <= 1:
        found = track.runs(*names, limit=limit, **place)
        _show_table(found, metrics)
    elif verb == "find" and names:
        found = track.find(names[0], conditions(names[1:]), **place)
        _show_table(found[:limit], metrics)
    elif verb == "compare" and len(names) > 1:
        chosen = [track.open_run(name, **place) for name in names]
        sys.stdout.write(as_text(track.comparison_table(chosen), _WIDTH) + "\n")
    elif verb == "show" and len(names) == 1:
        run = track.open_run(names[0], **place)
        sys.stdout.write("\n".join([str(run), *run.edits]) + "\n")
    elif verb == "open" and len(names) == 1:
        _open(track.open_run(names[0], **place), port, browser)
    else:
        raise UsageError(
            "write naivegraph runs list [EXPERIMENT], find EXPERIMENT CONDITION..., compare RUN RUN..., show "
            f"RUN or open RUN, not `naivegraph runs {' '.join(words)}`"
        )


def conditions(words: Sequence[str]) -> dict[str, Any]:
    """The conditions of words such as `model/init_args/depth=20` or `metrics/val_loss<0.3`.

    Raises:
        UsageError: A word is none.

    Example:
        >>> conditions(["model/init_args/depth>=20", "status=finished"])
        {'model/init_args/depth': [('>=', 20)], 'status': [('==', 'finished')]}
    """
    found: dict[str, list[tuple[str, Any]]] = {}
    for word in words:
        match = _CONDITION.fullmatch(word)
        if match is None:
            raise UsageError(
                f"{word!r} is no condition: write KEY=VALUE, or another of {', '.join(OPERATORS)}, such as "
                "'metrics/val_loss<0.3'"
            )
        sign = "==" if match["sign"] == "=" else match["sign"]
        found.setdefault(match["key"].strip(), []).append((sign, parameter_value(match["value"].strip())))
    return dict(found)


def _show_table(found: Sequence[track.TrackedRun], metrics: Sequence[str]) -> None:
    if not found:
        sys.stdout.write("There is no such run.\n")
        return
    sys.stdout.write(as_text([track.runs_table(found, metrics)], _WIDTH) + "\n")


def _open(run: track.TrackedRun, port: int | None, browser: bool) -> None:
    """Show the address of a run's page, until interrupted where a server of our own shows it."""
    with track.page_of(run, port=port) as address:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        if browser:
            webbrowser.open(address)
        if run.store.local:
            sys.stderr.write("naivegraph: the page is there until Ctrl-C\n")
            while True:
                time.sleep(3600)
