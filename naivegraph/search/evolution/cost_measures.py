"""Measures of what a network costs, for studies: any cost by name, and the time of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from naivegraph.costs import Cost, cost_named
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.latency.freed_memory import keep_freed_memory
from naivegraph.latency.runtimes import AnyRuntime, device_of, runtime_of
from naivegraph.latency.stopwatch import clock_of
from naivegraph.network import Graph, capture

__all__ = ["CostMeasure", "LatencyMeasure", "cost", "latency"]


@dataclasses.dataclass(frozen=True)
class CostMeasure:
    """The measure that `cost` makes."""

    priced: Cost
    args: tuple[Any, ...]

    def __call__(self, network: nn.Module | Graph) -> float:
        """Count a network's cost."""
        graph = network if isinstance(network, Graph) else capture(network, self.args, fake=True)
        return float(graph.costs(self.priced)[self.priced.name])


@dataclasses.dataclass(frozen=True)
class LatencyMeasure:
    """The measure that `latency` makes."""

    args: tuple[Any, ...]
    runtime: AnyRuntime
    turns: int

    def __call__(self, network: nn.Module | Graph) -> float:
        """Time a copy of a network; the network is left as it is."""
        module = network.to_module() if isinstance(network, Graph) else deep_copy(network)
        runtime = runtime_of(self.runtime)
        run = runtime.prepare(module.eval(), self.args, {})
        keep_freed_memory()
        clock = clock_of(device_of(module, self.args), on_thread=runtime.on_thread)
        return clock.median_seconds(run, self.turns)


def cost(name: str | Cost, *args: Any) -> CostMeasure:
    """A measure: a cost of a network on an example.

    Args:
        name: The name of a cost, or a cost.
        args: The example.

    Raises:
        EditError: There is no such cost.

    Example:
        >>> import torch
        >>> cost("macs", torch.zeros(10, 4))(nn.Linear(4, 2))
        80.0
    """
    return CostMeasure(cost_named(name), args)


def latency(*args: Any, runtime: AnyRuntime = "eager", turns: int = 11) -> LatencyMeasure:
    """A measure: the median time of a run, in seconds.

    Times of different moments are compared, so let the machine do nothing else meanwhile, or one network at a
    time (`engine="serial"`).

    Args:
        args: The example.
        runtime: What runs the network; see `ng.prune`.
        turns: The number of runs.

    Raises:
        EditError: There is no such runtime.

    Example:
        >>> import torch
        >>> 0 < latency(torch.zeros(10, 4))(nn.Linear(4, 2)) < 1
        True
    """
    runtime_of(runtime)
    return LatencyMeasure(args, runtime, turns)
