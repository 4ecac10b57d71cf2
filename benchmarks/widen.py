"""Widening keeps the function: streams through norms of all kinds, to random sizes.

For networks whose streams pass layer norms, RMS norms, norms written out by hand and group norms, with random
weights: capture, ask for a random number of neurons more, compare the outputs before and after, and undo.
Memory that is only reserved is NaN meanwhile, so that a value that nothing set would show.
"""

from __future__ import annotations

import random
import time
from typing import Any

import torch
from torch import Tensor, nn

import naivegraph as ng
from benchmarks.common import Row, parser, say, write
from tests.machine.state import poisoned_memory
from tests.networks.plain import randomised
from tests.networks.streams import STREAMS, Stream


def away(one: Tensor, two: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float((one - two).abs().max() / one.abs().max())


def unchanged(state: dict[str, Tensor], model: nn.Module) -> bool:
    """Tell whether all parameters and buffers are as they were, bit for bit."""
    now = model.state_dict()
    return state.keys() == now.keys() and all(torch.equal(state[name], now[name]) for name in state)


def widened(stream: Stream, dtype: torch.dtype, rng: random.Random) -> tuple[float, float, bool]:
    """The difference of one widening to a random size, its seconds, and whether an undo restores all."""
    torch.manual_seed(rng.randrange(1 << 30))
    model = randomised(stream.build(2 * rng.randint(1, 24))).to(dtype)
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in stream.inputs())
    with torch.no_grad():
        before = model(*inputs)
    graph, state = (
        ng.capture(model, inputs, verify=False),
        {n: t.clone() for n, t in model.state_dict().items()},
    )
    started = time.process_time()
    with poisoned_memory():
        edit = ng.resize(graph, {stream.vertex: +stream.steps * rng.randint(1, 40)})
    seconds = time.process_time() - started
    with torch.no_grad():
        apart = away(before, model(*inputs))
    if not edit.function_kept:
        apart = float("inf")
    edit.undo()
    return apart, seconds, unchanged(state, model)


def row(stream: Stream, times: int, seed: int) -> tuple[Row, bool]:
    """The largest differences of a number of widenings in double and in single precision."""
    rng = random.Random(f"{stream.name} {seed}")
    double = [widened(stream, torch.float64, rng) for _ in range(times)]
    single = [widened(stream, torch.float32, rng) for _ in range(times)]
    worst = max(each[0] for each in double), max(each[0] for each in single)
    undone = all(each[2] for each in (*double, *single))
    right = worst[0] <= 1e-12 and worst[1] <= 1e-5 and undone
    found: dict[str, Any] = {
        "network": stream.name,
        "sizes": times,
        "float64, largest difference": f"{worst[0]:.1e}",
        "float32, largest difference": f"{worst[1]:.1e}",
        "float32, median": f"{sorted(each[0] for each in single)[times // 2]:.1e}",
        "undone bit for bit": "yes" if undone else "NO",
        "CPU s a widening": f"{sum(each[1] for each in (*double, *single)) / (2 * times):.2f}",
    }
    return found, right


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.widen --times 20")
    arguments.add_argument(
        "--times", type=int, default=20, help="random sizes for each network and precision"
    )
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    rows, right = [], True
    for stream in STREAMS:
        say(stream.name)
        found, fine = row(stream, given.times, given.seed)
        rows.append(found)
        right &= fine
    write(
        given.out,
        "widen",
        [("Streams widened by 1 to 40 neurons, from 2 to 48", rows)],
        "Differences are the largest absolute difference of outputs over the largest absolute value; random "
        f"weights, seed {given.seed}.",
    )
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
