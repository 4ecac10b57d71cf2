"""Runs of two networks side by side, a part at a time, on all batches at once."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from naivegraph.calibration import CalibrationBatch
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.pytree import map_leaves
from naivegraph.ir.recording import Recording
from naivegraph.reconstruct.linear_call import LinearCall, LinearCalls, Reached

__all__ = ["PartRun"]


class PartRun(Interpreter):
    """One run of a graph on a batch, which stops where it is told to and can try parts on other tensors.

    Args:
        graph: The graph.
        batch: The batch.

    Attributes:
        at: The position of the vertex to run next.
        kept: Copies of the results of vertices that were asked for, by name.
    """

    def __init__(self, graph: Recording, batch: CalibrationBatch) -> None:
        super().__init__(graph)
        self.at, self._freed = 0, 0
        self.kept: dict[str, torch.Tensor] = {}
        self._unused, self._drop = self._drop, [[] for _ in self._drop]
        self._inputs: dict[str, Any] = map_leaves(
            batch.inputs, lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
        )

    def advance(self, stop: int, wanted: Collection[str] = ()) -> None:
        """Run all vertices before a position; tensors stay until `forget`.

        Args:
            stop: The position.
            wanted: The names of vertices whose results are copied, as others may write to them later.
        """
        while self.at < stop:
            result = self.step(self.at, self._inputs)
            self._keep(self.at, result, wanted)
            self.at += 1

    def forget(self) -> None:
        """Forget what no later vertex needs."""
        for position in range(self._freed, self.at):
            for number in self._unused[position]:
                self._tensors.pop(number, None)
        self._freed = self.at
        self.kept = {}

    def copied(self) -> PartRun:
        """A run that goes on from here by itself."""
        found = copy.copy(self)
        found._tensors, found._sizes = dict(self._tensors), dict(self._sizes)
        found.kept = {}
        return found

    def go_around(self, stop: int, entry: int, leaving: int) -> None:
        """Go on at a position, with a tensor that came in for one that would have come out.

        Args:
            stop: The position.
            entry: The number of the tensor that came in.
            leaving: That of the one that would have come out.
        """
        self._tensors[leaving] = self._tensors[entry].clone()
        if leaving in self._measured:
            self._sizes[leaving] = self._tensors[leaving].shape
        self.at = stop

    def value(self, number: int) -> torch.Tensor:
        """A tensor by its number."""
        return self._tensors[number]

    def part(
        self, positions: Iterable[int], given: Mapping[int, torch.Tensor], wanted: Collection[str] = ()
    ) -> PartRun:
        """Run some vertices on other tensors; this run is as it was.

        Args:
            positions: Their positions.
            given: The tensors that come in, by number.
            wanted: As for `advance`.
        """
        trial = copy.copy(self)
        trial._tensors = {**self._tensors, **{number: tensor.clone() for number, tensor in given.items()}}
        trial._sizes = dict(self._sizes)
        trial._sizes.update({n: tensor.shape for n, tensor in given.items() if n in self._measured})
        trial.kept = {}
        for position in positions:
            result = trial._call(self._graph.vertices[position])
            trial._assign(self._graph.vertices[position], result)
            trial._keep(position, result, wanted)
        return trial

    def linear_call(self, position: int) -> LinearCall | None:
        """The call linear in a parameter that a vertex makes, not carried out; None if it makes none."""
        try:
            with LinearCalls(stop=True):
                self.call(position)
        except Reached as reached:
            return reached.call
        return None

    def _keep(self, position: int, result: Any, wanted: Collection[str]) -> None:
        name = self._graph.vertices[position].name
        if name in wanted and isinstance(result, torch.Tensor):
            self.kept[name] = result.clone()
