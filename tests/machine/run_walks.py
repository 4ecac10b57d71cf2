"""Many walks, one after the other; figures, and the failures by seed."""

from __future__ import annotations

import collections
import gc
import os
import random
import time
import traceback
from collections.abc import Callable

from tests.machine.steps import draw, take
from tests.machine.walk import Walk

__all__ = ["run_walks", "walked"]


def walked(seed: int, steps: int, tally: collections.Counter[str]) -> str | None:
    """Walk one graph; what failed, if anything."""
    walk: Walk | None = None
    rng = random.Random(seed)
    kind = "build"
    try:
        walk = Walk(rng)
        for _ in range(steps):
            kind = draw(rng)
            take(walk, kind)
        kind = "undo all"
        walk.undo_all()
        walk.check()
    except Exception as error:  # whatever goes wrong is counted
        last = traceback.extract_tb(error.__traceback__)[-1]
        about = f"{walk.case.about}, after: {walk.log[-4:]}" if walk is not None else ""
        where = f"{type(error).__name__} {os.path.basename(last.filename)}:{last.lineno}"
        return f"{kind} | {where} | {error} | {about}"
    finally:
        if walk is not None:
            tally.update(walk.tally)
    return None


def run_walks(first: int, count: int, steps: int, say: Callable[[str], None] = print) -> dict[int, str]:
    """Walk the graphs of consecutive seeds; the failures by seed.

    Args:
        first: The first seed.
        count: How many graphs.
        steps: Of each walk.
        say: What progress, failures and figures are told to.
    """
    tally: collections.Counter[str] = collections.Counter()
    failures: dict[int, str] = {}
    gc.collect()
    gc.freeze()  # what torch is made of need not be gone through again in every walk
    start = time.process_time()
    try:
        for number, seed in enumerate(range(first, first + count), 1):
            failed = walked(seed, steps, tally)
            if failed is not None:
                failures[seed] = failed
                say(f"seed {seed}: {failed}")
            if number % 100 == 0 and number < count:
                say(f"{number} of {count}, {len(failures)} failed, {time.process_time() - start:.0f} CPU s")
    finally:
        gc.unfreeze()
    taken = time.process_time() - start
    say("\n".join(f"{times:7d} {what}" for what, times in sorted(tally.items())))
    say(
        f"{count} walks of {steps} steps, {len(failures)} failed, {taken / max(count, 1):.2f} CPU s each"
        + (f"; seeds {', '.join(map(str, failures))}" if failures else "")
    )
    return failures
