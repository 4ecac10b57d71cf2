"""Workers that ask for one run: `python -m tests.track.worker FOLDER COUNT CONFIG`."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import warnings
from pathlib import Path
from typing import Any

PRELOADED = ["lightning.pytorch", "mlflow", "jsonargparse", "naivegraph.track.lightning_tasks"]


def ask(folder: str, config: dict[str, Any], number: int) -> None:
    """Ask for the run, and write what is given."""
    import torch

    import naivegraph as ng

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    run = ng.track.once(config, folder=folder)
    Path(folder, f"worker{number}.txt").write_text(f"{run.id} {run.status}")


def main(folder: str, count: str, config: str) -> None:
    """Start all workers at once; one that dies is started again, as a cluster does it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    asked = json.loads(config)
    workers = [context.Process(target=ask, args=(folder, asked, n)) for n in range(int(count))]
    for worker in workers:
        worker.start()
    deaths = 0
    for number, worker in enumerate(workers):
        here = worker
        here.join()
        while here.exitcode != 0:
            deaths += 1
            if here.exitcode != -9 or deaths > 20:
                raise SystemExit(f"worker {number} ended with {here.exitcode}")
            here = context.Process(target=ask, args=(folder, asked, number))
            here.start()
            here.join()
    print(deaths, os.getpid())


if __name__ == "__main__":
    main(*sys.argv[1:])
