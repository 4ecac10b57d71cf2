"""A driver to be killed: `python -m tests.search.study.fault_driver FOLDER ...`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naivegraph.search import Rung, Study
from naivegraph.search.study import name_of
from tests.search.study.numbers_space import Numbers, loss

NAP = 0.05


@dataclass
class Logged:
    """An evaluation that takes a moment, and logs its start, its end, and a result that was there already.

    A number of times, evenly over all networks, it kills the process that it runs in.
    """

    folder: Path
    networks: int
    deaths: int

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
        self.die_in_turn()
        self.log("end", name, os.getpid())
        return loss(structure, rung, seed)

    def die_in_turn(self) -> None:
        """Kill this process, if so many networks are done that it is time for one more to die."""
        done = len(list((self.folder / "results").iterdir()))
        for number in range(self.deaths):
            if done < (number + 0.5) * self.networks / (self.deaths + 1):
                return
            try:
                self.folder.with_suffix(f".{number}.dead").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, engine: str, workers: str, networks: str, deaths: str) -> None:
    """Run the study."""
    evaluate = Logged(Path(folder), int(networks), int(deaths))
    study = Study(folder, space=Numbers(), evaluate=evaluate, objectives={"loss": "min"}, ahead=8)
    study.run(networks=int(networks), engine=engine, workers=int(workers))
    print(len(study.results))


if __name__ == "__main__":
    main(*sys.argv[1:])
