"""The commands about budgets: what calls cost in time, and what a network can keep at several budgets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any

import naivegraph as ng
from naivegraph.cli.commands import built_network, write_text
from naivegraph.cli.usage_errors import UsageError
from naivegraph.progress import working

__all__ = ["profile", "tradeoff"]


def profile(
    model: str | None,
    *,
    shape: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    runtime: str = "eager",
    output: str | None = None,
) -> None:
    """Measure what the calls of a network cost in time on this machine, print it, and save it.

    Args:
        model: the function that makes the network, `package.module:function`.
        shape: the shape of each example input, `[name=][dtype:]size,size,...`.
        arguments: keyword arguments for the function.
        weights: a file of weights to load.
        runtime: what runs the network, by name.
        output: the `.json` file to write, for `prune --profile`.

    Raises:
        NaivegraphError: one of the steps failed; the message says which.
    """
    _check_file(output, ".json")
    network, args, kwargs = built_network(model, shape, arguments, weights)
    with working("timing the network's calls") as say:
        found = ng.profile(network, args, kwargs, runtime=runtime, progress=say)
    if output is not None:
        found.save(output)
    write_text(str(found))
    if output is not None:
        write_text(f"Saved in {output}; `naivegraph prune ... --latency 0.6 --profile {output}` uses it.")


def tradeoff(
    model: str | None,
    *,
    shape: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    cost: str = "macs",
    points: int = 10,
    runtime: str = "eager",
    profile: str | None = None,
    seed: int = 0,
    json: bool = False,
    plot: str | None = None,
) -> None:
    """Print the most utility that a network can keep at several budgets of one cost, with a picture.

    Args:
        model: the function that makes the network, `package.module:function`.
        shape: the shape of each example input, `[name=][dtype:]size,size,...`.
        arguments: keyword arguments for the function.
        weights: a file of weights to load.
        cost: the name of a cost, or latency.
        points: the number of budgets.
        runtime: what runs the network, for the latency.
        profile: a file that `naivegraph profile --output` wrote.
        seed: of the random numbers, of which weights are made that no file gives.
        json: print the result as JSON instead of a table.
        plot: the `.svg` file to draw.

    Raises:
        NaivegraphError: one of the steps failed; the message says which.
    """
    _check_file(plot, ".svg")
    network, args, kwargs = built_network(model, shape, arguments, weights, seed)
    with working("working out the tradeoff") as say:
        found = ng.tradeoff(
            network, args, kwargs, cost=cost, points=points, runtime=runtime, profile=profile, progress=say
        )
    if plot is not None:
        found.plot().save(plot)
    if json:
        rows = [
            {
                "share": point.share,
                "cost": point.cost,
                "kept": point.certificate.value,
                "at_most": point.certificate.bound,
                "sizes": dict(point.sizes),
            }
            for point in found.points
        ]
        sys.stdout.write(
            dumps({"cost": found.cost.name, "before": found.before, "points": rows}, indent=2) + "\n"
        )
        return
    write_text(str(found))
    if plot is not None:
        write_text(f"Drawn in {plot}.")


def _check_file(path: str | None, ending: str) -> None:
    """Check that a file can be written, before anything takes time."""
    if path is None:
        return
    if Path(path).suffix != ending:
        raise UsageError(f"{path}: a file that ends with {ending} is written")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {Path(path).absolute().parent}")
