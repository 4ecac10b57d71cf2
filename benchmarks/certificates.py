"""How long a certificate takes: budgets on many networks to a gap of 1e-3, beside other builds.

One process per network and build, one network at a time, the builds in turn. CPU seconds of `ng.prune` as
called, and of choosing the sizes alone. The networks' names come from the same file as those of
`benchmarks.coverage`.

Another build is a folder with the package in it, as `git worktree add ../before COMMIT` makes it.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import ROOT, Row, params, parser, say, timm, torchvision, transformers, write

LIST = ROOT.parent / "shared" / "zoo.json"
HERE = "this build"
GAP, ALLOWED = 1e-3, 3.0  # of the certificate; CPU seconds that are aimed at
# The most of the parameters that may be left; the second where that cannot be reached, as where most lie in
# tables and the output layer.
SHARES = (0.6, 0.7)
MACS = 0.5
SHORT = 1.0  # CPU seconds; what takes less is run three times
Found = dict[str, Any]


# -- in a process of its own --


def measure(name: str) -> dict[str, Found]:
    """Prune a network to both budgets: seconds and gap of each, or why it could not be done."""
    import naivegraph as ng
    from benchmarks.zoo import network, seeded

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    of = network(name)
    model, (args, kwargs) = seeded(of, 0), of.example(0)
    ng.prune(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)), torch.ones(1, 4), params=0.8)
    solving = timed_solver()  # after a first run, as some modules are imported when they are needed

    def pruned(**budget: Any) -> Found:
        runs = [pruned_once(**budget)]
        while "why" not in runs[0] and len(runs) < 3 and runs[0]["called"] < SHORT:
            runs.append(pruned_once(**budget))
        return min(runs, key=lambda run: run.get("called", 0.0))

    def pruned_once(**budget: Any) -> Found:
        try:
            edited = copy.deepcopy(model)
            solving.clear()
            started = time.process_time()
            edit = ng.prune(edited, args, kwargs, **budget)
            passed = time.process_time() - started
        except ng.NaivegraphError as error:
            return {"why": " ".join(str(error).split())[:200]}
        assert edit.certificate is not None
        return {
            "called": passed,
            "solving": sum(solving),
            "gap": edit.certificate.gap,
            "left": params(edited),
        }

    found: dict[str, Found] = {"parameters": {"count": params(model)}}
    for share in SHARES:
        found["params"] = {"asked": share, **pruned(params=share)}
        if "why" not in found["params"]:
            break
    found["macs"] = {"asked": MACS, **pruned(macs=MACS)}
    return found


def timed_solver() -> list[float]:
    """Have the CPU seconds of every choice of sizes noted, whichever module of the build calls for it."""
    import naivegraph.solvers.budget as budget

    seconds: list[float] = []
    original: Callable[..., Any] = budget.optimise

    def optimise(*args: Any, **kwargs: Any) -> Any:
        started = time.process_time()
        try:
            return original(*args, **kwargs)
        finally:
            seconds.append(time.process_time() - started)

    for module in list(sys.modules.values()):
        if getattr(module, "optimise", None) is original:
            module.optimise = optimise  # type: ignore[attr-defined]
    return seconds


def serve(bound: float) -> None:
    """Measure the networks whose names come in, each in a copy of this process once all is imported."""
    import benchmarks.zoo  # noqa: F401
    import naivegraph  # noqa: F401

    for imported in (torchvision, timm, transformers):
        imported()
    fork = multiprocessing.get_context("fork")
    for line in sys.stdin:
        there, here = fork.Pipe(duplex=False)
        process = fork.Process(target=_answer, args=(line.strip(), here))
        process.start()
        here.close()
        found = there.recv() if there.poll(bound) else {"failed": {"why": f"over {bound:.0f} s"}}
        process.kill()
        process.join()
        print(json.dumps(found), flush=True)


def _answer(name: str, to: Connection) -> None:
    sys.stdout = sys.stderr
    try:
        to.send(measure(name))
    except Exception as error:  # one that fails must not end the run
        to.send({"failed": {"why": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}})


# -- all of them --


class Server:
    """A process with the package of a folder.

    Args:
        build: The folder.
        bound: Seconds one network may take.
    """

    def __init__(self, build: Path, bound: float) -> None:
        self._folder = tempfile.TemporaryDirectory()
        (Path(self._folder.name) / "naivegraph").symlink_to((build / "naivegraph").resolve())
        path = os.pathsep.join([self._folder.name, str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-P", "-m", "benchmarks.certificates", "--serve"]
        self._process = subprocess.Popen(
            [*command, "--bound", str(bound)], env=environment, cwd=self._folder.name, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def measured(self, name: str) -> dict[str, Found]:
        """What `measure` finds there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        found: dict[str, Found] = json.loads(self._process.stdout.readline())
        return found


def each(found: Mapping[str, Mapping[str, Mapping[str, Found]]], builds: Sequence[str]) -> list[Row]:
    """A row for each network and budget."""
    rows: list[Row] = []
    for name, runs in found.items():
        for budget in ("params", "macs"):
            row: dict[str, object] = {"network": name, "budget": budget}
            for build in builds:
                one = runs[build].get(budget) or runs[build].get("failed") or {"why": "not run"}
                if "why" in one:
                    row[build] = one["why"]
                    continue
                row["budget"] = f"{budget}={one['asked']}"
                row[f"{build}, s"] = f"{one['called']:.2f}"
                row[f"{build}, solving, s"] = f"{one['solving']:.2f}"
                row[f"{build}, gap"] = f"{one['gap']:.1e}"
            rows.append(row)
    heads = list(dict.fromkeys(head for row in rows for head in row))
    return [{head: row.get(head, "") for head in heads} for row in rows]


def summary(found: Mapping[str, Mapping[str, Mapping[str, Found]]], builds: Sequence[str]) -> list[Row]:
    """Median, worst and geometric mean over the problems that every build solved."""
    problems = {
        (name, budget): [runs[build].get(budget, {"why": ""}) for build in builds]
        for name, runs in found.items()
        for budget in ("params", "macs")
    }
    common = {key: runs for key, runs in problems.items() if not any("why" in run for run in runs)}
    rows: list[Row] = []
    for i, build in enumerate(builds):
        for what in ("called", "solving"):
            seconds = {key: max(runs[i][what], 1e-3) for key, runs in common.items()}
            ratios = [seconds[key] / max(runs[-1][what], 1e-3) for key, runs in common.items()]
            worst = max(seconds, key=lambda key: seconds[key])
            rows.append({
                "build": build,
                "CPU s of": "ng.prune" if what == "called" else "choosing sizes",
                "problems": len(seconds),
                "median": f"{statistics.median(seconds.values()):.3f}",
                "geometric mean": f"{statistics.geometric_mean(seconds.values()):.3f}",
                f"of {builds[-1]}": f"{statistics.geometric_mean(ratios):.2f}",
                "worst": f"{seconds[worst]:.1f} ({worst[0]}, {worst[1]})",
                f"above {ALLOWED:.0f} s": sum(value > ALLOWED for value in seconds.values()),
                f"gap above {GAP:g}": sum(runs[i]["gap"] > GAP for runs in common.values()),
            })  # fmt: skip
    return rows


def main() -> None:
    """Measure as the command line says."""
    options = parser(__doc__, "python -m benchmarks.certificates --build before=../before", threads=1)
    options.add_argument("--list", type=Path, default=LIST, help="names of networks, as JSON")
    options.add_argument("--build", action="append", default=[], metavar="NAME=FOLDER", help="another build")
    options.add_argument("--only", nargs="*", help="names of networks, of those of the list")
    options.add_argument("--bound", type=float, default=200.0, help="seconds one process may take")
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.bound)
        return
    builds = {
        HERE: ROOT,
        **{name: Path(folder) for name, _, folder in (b.partition("=") for b in given.build)},
    }
    names = [model["name"] for model in json.loads(given.list.read_text())["models"]]
    servers = {build: Server(folder, given.bound) for build, folder in builds.items()}
    kept = given.out / "certificates_raw.json"  # a run goes on where the last one stopped
    found: dict[str, dict[str, dict[str, Found]]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in names:
        if name in found or (given.only and name not in given.only):
            continue
        found[name] = {build: server.measured(name) for build, server in servers.items()}
        figures = {
            build: [
                f"{one['solving']:.2f} s" if "why" not in one else "not solved"
                for budget, one in run.items()
                if budget != "parameters"
            ]
            for build, run in found[name].items()
        }
        say(f"{name}: {figures}")
        given.out.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found, indent=1))
    notes = (
        f"CPU seconds, the least of three runs where one takes less than {SHORT:g} s; one thread, random"
        f" weights; gap {GAP:g} and the limit of time (20 s by the clock) as by default. params={SHARES[1]}"
        f" where {SHARES[0]} cannot be reached. The summary is of problems that every build solved."
    )
    write(
        given.out,
        "certificates",
        [("All networks", summary(found, list(builds))), ("Each network", each(found, list(builds)))],
        notes,
    )
    kept.unlink()


if __name__ == "__main__":
    main()
