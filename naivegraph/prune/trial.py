"""Trials: copies of a network with other sizes, to be timed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.edits.apply.apply import RUN_ERRORS, apply
from naivegraph.edits.apply.change_module import change_module
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import EditError
from naivegraph.ir.pytree import map_leaves
from naivegraph.ir.signature import bind
from naivegraph.latency.call_times import call_times
from naivegraph.latency.freed_memory import keep_freed_memory
from naivegraph.latency.runtimes import Inside, Runtime, device_of
from naivegraph.latency.stopwatch import Clock, clock_of
from naivegraph.network import Graph
from naivegraph.prune.branches import Branch
from naivegraph.prune.budget_program import BudgetProgram
from naivegraph.prune.captured import Captured
from naivegraph.prune.leave_out import trial_without
from naivegraph.solvers.budget import BudgetError, optimise
from naivegraph.undo import all_or_nothing
from naivegraph.widths import Width

__all__ = ["Sized", "Trials"]

_SMALLEST = 0.2  # share of a width that a random pruning keeps at least


@dataclasses.dataclass(frozen=True)
class Sized:
    """A copy of the network with its own sizes, in eval mode.

    Attributes:
        graph: Its graph.
        module: The network that is run.
        sizes: The number of neurons of each width of the program, in its order.
    """

    graph: Graph
    module: nn.Module
    sizes: tuple[int, ...] = ()


class Trials:
    """The makers and timers of copies of one network.

    Args:
        found: The network.
        program: The program over its widths.
        runtime: What runs it.
    """

    def __init__(self, found: Captured, program: BudgetProgram, runtime: Runtime) -> None:
        self.found, self.program, self.runtime = found, program, runtime
        self.device = device_of(found.graph.module, (found.args, found.kwargs))
        keep_freed_memory()
        self.clock: Clock = clock_of(self.device, on_thread=runtime.on_thread)

    def sized(self, change: Change, sizes: Sequence[int] = (), branches: Sequence[Branch] = ()) -> Sized:
        """A copy of the network to which a change was applied, without these branches.

        Raises:
            EditError: The network cannot be copied, or does not take the change.
        """
        try:
            graph = copy.deepcopy(self.found.graph)
        except RUN_ERRORS as error:
            raise EditError(
                f"latency is measured on copies of the network, which cannot be copied: {error}"
            ) from error
        graph.module.eval()
        if branches:
            runs = self.found.runs and not isinstance(self.found.edited, Graph)
            copied = dataclasses.replace(self.found, graph=graph, edited=graph.module if runs else graph)
            edit = trial_without(copied, branches, change)
            return Sized(graph, graph.module if edit.graph is None else graph.to_module().eval())
        if not self.found.runs:
            apply(change, graph)
            return Sized(graph, graph.to_module().eval(), tuple(sizes))
        with all_or_nothing() as undo:
            change_module(change, graph.module, (), undo)
        return Sized(graph, graph.module, tuple(sizes))

    def change(self, sizes: Sequence[int]) -> Change:
        """The change to sizes of the program's widths; which neurons stay makes no difference to time."""
        program = self.program
        kept: dict[Width, Indices] = {
            width: program.ranking(width, np.zeros(width.size)).best(int(size))
            for width, size in zip(program.free, sizes, strict=True)
        }
        return plan(program.widths, program.constraints, kept)

    def run(self, sized: Sized) -> Callable[[], object]:
        """A function that runs a copy in the runtime, once to see that it does.

        Raises:
            EditError: It does not run.
        """
        try:
            run = self.runtime.prepare(sized.module, *self.inputs())
            run()
        except RUN_ERRORS as error:
            raise EditError(
                f"the network does not run in {self.runtime.name!r}: {' '.join(str(error).split())[:500]}"
            ) from error
        return run

    def inputs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The example, without gradients and of its own memory."""

        def own(leaf: Any) -> Any:
            """Return a copy of a tensor."""
            return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf

        return map_leaves(self.found.args, own), map_leaves(self.found.kwargs, own)

    def call_times(self, sized: Sized, inside: Inside) -> dict[str, float]:
        """The seconds of each call of a copy.

        Args:
            sized: The copy.
            inside: The function by which the runtime prepares it to be run call by call.
        """
        args, kwargs = self.inputs()
        _, values = inside(sized.module, bind(sized.graph, args, kwargs))
        return call_times(sized.graph, values, self.clock)

    def random_sizes(self, rng: np.random.Generator, steps: Sequence[int]) -> tuple[int, ...] | None:
        """Random sizes, each drawn by itself, or the nearest to them that the constraints allow."""
        program = self.program
        sizes = [width.size for width in program.free]
        targets = [
            min(max(round(size * share / step) * step, min(step, size)), size)
            for size, share, step in zip(sizes, rng.uniform(_SMALLEST, 1.0, len(sizes)), steps, strict=True)
        ]
        values = [
            -np.abs(np.arange(size + 1) - target) / max(size, 1)
            for size, target in zip(sizes, targets, strict=True)
        ]
        try:
            found = optimise(program.valued(values, steps, []), gap=0.05, time_limit=1.0)
        except BudgetError:
            return None
        return tuple(int(size) for size in found.k[: len(sizes)])  # without columns of branches

    def counts(self, sizes: Sequence[int]) -> Mapping[Any, int]:
        """The number of neurons of each width by its atom."""
        return {width.atom: size for width, size in zip(self.program.free, sizes, strict=True)}
