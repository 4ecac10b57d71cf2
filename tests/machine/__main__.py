"""Many walks: `python -m tests.machine FIRST COUNT STEPS`; the exit status is 1 if one failed."""

from __future__ import annotations

import argparse
import functools
import sys

import torch

from tests.machine.run_walks import run_walks


def main() -> int:
    """Walk as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("count", type=int, help="the number of walks")
    parser.add_argument("steps", type=int, help="the steps of each")
    given = parser.parse_args()
    torch.set_num_threads(1)
    say = functools.partial(print, flush=True)
    return 1 if run_walks(given.first, given.count, given.steps, say) else 0


if __name__ == "__main__":
    sys.exit(main())
