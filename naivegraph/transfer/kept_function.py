"""Largest difference that an edit made to what a network computes for its example."""

from __future__ import annotations

from typing import Any

import torch

from naivegraph.edits.apply.origins import Axes
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import formula_of
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.ir.pytree import pairs
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.widths import Widths

__all__ = ["KeptFunction"]


class KeptFunction:
    """The outputs of a network for its example in eval mode, to be compared with those after an edit.

    Args:
        graph: The graph.
        widths: Its widths before the edit.
        example: Other inputs, by name, than the graph's example to run it with before the edit.
    """

    def __init__(self, graph: Graph, widths: Widths, example: dict[str, Any] | None = None) -> None:
        self._graph = graph
        self._keys = {width.name: width.atom for width in widths}
        outputs = self._run(example)
        self._axes = {stub.id: widths.of(stub) for stub, _ in outputs}
        self._before = [tensor for _, tensor in outputs]

    def _run(self, example: dict[str, Any] | None = None) -> list[tuple[Stub, torch.Tensor]]:
        with torch.no_grad(), preserved(self._graph.module):
            found = pairs(self._graph.output, Interpreter(self._graph).run(example or self._graph.example))
            return [
                (stub, value.detach().double())
                for stub, value, _ in found
                if isinstance(stub, Stub) and isinstance(value, torch.Tensor) and value.is_floating_point()
            ]

    def outputs(self) -> list[tuple[Stub, torch.Tensor]]:
        """The outputs for the example as they are now."""
        return self._run()

    def difference(self, change: Change) -> float:
        """The largest difference of outputs that stayed, relative to the largest number among them."""
        known = Axes(change)
        keys = {self._keys[width.name]: key for key, width in change.widths.items()}
        apart, largest = 0.0, 0.0
        for before, (stub, after) in zip(self._before, self._run(), strict=True):
            old, new = before, after
            for dim, axis in enumerate(self._axes[stub.id]):
                if not keys.keys().isdisjoint(axis.atoms()):
                    source = known.of(formula_of(axis, keys))
                    every = torch.arange(len(source.indices))
                    stays = every if source.new is None else every[~source.new]
                    origin = torch.from_numpy(source.indices)[stays]
                    old = old.index_select(dim, origin.to(old.device))
                    new = new.index_select(dim, stays.to(new.device))
            if old.numel():
                apart = max(apart, float((new - old).abs().max()))
                largest = max(largest, float(old.abs().max()))
        return apart / max(largest, 1e-30)
