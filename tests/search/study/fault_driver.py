"""A driver to be killed: `python -m tests.search.study.fault_driver FOLDER ENGINE WORKERS NETWORKS`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from naivegraph.search import Rung, Study
from naivegraph.search.study import name_of
from tests.search.study.numbers_space import Numbers, loss

NAP = 0.05


class Logged:
    """An evaluation that takes a moment, and logs its start, its end, and a result that was there already."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def log(self, *words: object) -> None:
        """Append a line, whole."""
        handle = os.open(self.folder.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, (" ".join(map(str, words)) + "\n").encode())
        os.close(handle)

    def __call__(self, structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
        name = name_of(structure)
        if list((self.folder / "results").glob(f"{name}.*.{rung.index}.json")):
            self.log("repeated", name, os.getpid())
        self.log("start", name, os.getpid())
        time.sleep(NAP)
        self.log("end", name, os.getpid())
        return loss(structure, rung, seed)


def main(folder: str, engine: str, workers: str, networks: str) -> None:
    """Run the study."""
    study = Study(folder, space=Numbers(), evaluate=Logged(folder), objectives={"loss": "min"}, ahead=8)
    study.run(networks=int(networks), engine=engine, workers=int(workers))
    print(len(study.results))


if __name__ == "__main__":
    main(*sys.argv[1:])
