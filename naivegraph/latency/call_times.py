"""The times of the single calls inside a network, taken while its graph runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import torch

from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.recording import Recording
from naivegraph.latency.stopwatch import Clock

__all__ = ["call_times"]


def call_times(
    graph: Recording, inputs: Mapping[str, Any], clock: Clock, rounds: int = 3
) -> dict[str, float]:
    """The seconds that each vertex of a graph takes, by its name.

    Args:
        graph: The graph; its network is in eval mode.
        inputs: The value of each input vertex, by its name.
        clock: The clock.
        rounds: Runs of the network, after one that does not count; the median of them is told.

    Example:
        >>> import time, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU())
        >>> graph = ng.capture(net, torch.ones(9, 64))
        >>> clock = Clock("time of day", time.perf_counter, lambda start, end: end - start)
        >>> times = call_times(graph, {"input": torch.ones(9, 64)}, clock)
        >>> list(times), all(seconds > 0 for seconds in times.values())
        (['0', '1'], True)
    """
    positions = range(len(graph.vertices))
    taken: dict[int, list[float]] = {position: [] for position in positions}
    with torch.no_grad():
        Interpreter(graph).run(dict(inputs))
        for _ in range(rounds):
            run = Interpreter(graph)
            clock.wait()
            marks = [clock.mark()]
            for position in positions:
                run.step(position, dict(inputs))
                marks.append(clock.mark())
            clock.wait()
            for position in positions:
                taken[position].append(clock.between(marks[position], marks[position + 1]))
    return {
        vertex.name: statistics.median(taken[position])
        for position, vertex in enumerate(graph.vertices)
        if vertex.kind != "input"
    }
