"""What works on which network: capture, pruning at 50 %, function kept, saving, export, training; how long.

One process per network, within bounds of time and memory; every result is written as it comes, and a run goes
on where the last one stopped. The networks' names come from a JSON file, `{"models": [{"name": "tv:alexnet",
"family": "alexnet"}, ...]}`; `benchmarks.zoo` builds them, with random weights.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.common import ROOT, parser
from benchmarks.coverage_measures import Trial, attempt, said
from benchmarks.coverage_report import MEASURES, report
from benchmarks.zoo import network

Found = dict[str, Any]
LIST = ROOT.parent / "shared" / "zoo.json"
NOW = "running"


def measure(name: str, wanted: Sequence[str], path: Path, bound: float) -> None:
    """Make measures of one network in this process, writing what is found after each."""
    _quiet()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: Found = {NOW: "building"}
    _write(path, found)
    try:
        trial = Trial(network(name), bound)
    except Exception as error:  # a network that cannot be built is a result, too
        _write(path, {"built": {"outcome": f"failed: {said(error)}"}})
        return
    for key, run in trial.measures().items():
        if key not in wanted:
            continue
        _write(path, {**found, NOW: key})
        found.pop(NOW, None)
        found[key] = attempt(run, bound)
    _write(path, found)


def _quiet() -> None:
    """What libraries say of their own accord would break the progress bar."""
    warnings.simplefilter("ignore")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1, default=str) + "\n")
    partial.replace(path)


def watched(
    name: str, wanted: Sequence[str], folder: Path, seconds: float, gigabytes: float, bound: float
) -> Found:
    """Measure a network in a process of its own, which is ended when it takes more than it may."""
    path = folder / f"{os.getpid()}_{name.replace(':', '_')}.json"
    process = _processes().Process(target=measure, args=(name, wanted, path, bound))
    started, over = time.monotonic(), ""
    process.start()
    while process.is_alive() and not over:
        process.join(0.25)
        if time.monotonic() - started > seconds:
            over = f"failed: over {seconds:.0f} s in all"
        elif _resident(process.pid) > gigabytes:
            over = f"failed: over {gigabytes:g} GB of memory"
    if over:
        process.kill()
        process.join()
    found: Found = json.loads(path.read_text()) if path.exists() else {NOW: "starting"}
    path.unlink(missing_ok=True)
    stopped = found.pop(NOW, None)
    if stopped:  # the measures after it were not reached
        found |= {key: {"outcome": over or "failed: not reached"} for key in wanted if key not in found}
        found[stopped if stopped in MEASURES else "built"] = {
            "outcome": over or f"failed: the process ended with exit code {process.exitcode}"
        }
    return {**found, "wall s": round(time.monotonic() - started, 1)}


@functools.cache
def _processes() -> Any:
    """Makes processes from one that has imported everything, which takes longer than most networks."""
    # The server finds this project by the environment alone.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.zoo_loaded"])
    return context


def _resident(pid: int | None) -> float:
    """Memory a process holds, in GB; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) / 1e6 if lines else 0.0


def run(wanted: Mapping[str, Sequence[str]], given: Any) -> Iterator[tuple[str, Found]]:
    """Results of networks as they come, while a bar shows how far it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress, ThreadPoolExecutor(given.jobs) as pool:
        bar = progress.add_task("networks", total=len(wanted))
        bounds = given.seconds, given.memory, given.bound
        futures = {
            pool.submit(watched, name, keys, given.out, *bounds): name for name, keys in wanted.items()
        }
        try:
            for future in as_completed(futures):
                name, found = futures[future], future.result()
                progress.update(bar, advance=1, description=name)
                outcomes = {key: one["outcome"] for key, one in found.items() if isinstance(one, dict)}
                wrong = [
                    f"{key}: {text[:100]}" for key, text in outcomes.items() if text[:3] not in ("yes", "non")
                ]
                progress.print(
                    f"{name}, {found['wall s']} s", *wrong, sep="\n    ", markup=False, highlight=False
                )
                yield name, found
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.coverage --only 'tv:*' --jobs 2", threads=1)
    arguments.add_argument("--list", type=Path, default=LIST, help="JSON file with the names of the networks")
    arguments.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="these networks alone")
    arguments.add_argument(
        "--again", nargs="*", default=[], metavar="PATTERN", help="measure these once more"
    )
    arguments.add_argument(
        "--measures", nargs="+", default=list(MEASURES), choices=MEASURES, metavar="NAME", help="these alone"
    )
    arguments.add_argument("--jobs", type=int, default=1, help="networks at a time")
    arguments.add_argument("--seconds", type=float, default=300, help="wall time a network may take in all")
    arguments.add_argument("--bound", type=float, default=100, help="wall time one measure of it may take")
    arguments.add_argument("--memory", type=float, default=8, help="GB of memory a network may take")
    given = arguments.parse_args()
    if not given.list.is_file():
        raise SystemExit(f"{given.list} is not there: name a list of networks with --list FILE")
    models = {model["name"]: model for model in json.loads(given.list.read_text())["models"]}
    path = given.out / "coverage.json"
    given.out.mkdir(parents=True, exist_ok=True)
    done: dict[str, Found] = json.loads(path.read_text())["networks"] if path.exists() else {}

    def matches(name: str, patterns: list[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    wanted: dict[str, list[str]] = {}
    for name in models:
        missing = [m for m in given.measures if matches(name, given.again) or m not in done.get(name, {})]
        if missing and (matches(name, given.only) or matches(name, given.again)):
            wanted[name] = missing

    def save() -> None:
        _write(
            path, {"versions": _versions(), "networks": {n: done[n] for n in [*models, *done] if n in done}}
        )
        (given.out / "coverage.md").write_text(report({n: done[n] for n in models if n in done}, _versions()))

    for name, found in run(wanted, given):
        done[name] = {**done.get(name, {}), "family": models[name].get("family", ""), **found}
        save()
    save()
    return 0


def _versions() -> str:
    names = ("torch", "timm", "torchvision", "transformers", "torch-pruning")
    return ", ".join(f"{name} {version(name)}" for name in names) + ", one thread"


if __name__ == "__main__":
    raise SystemExit(main())
