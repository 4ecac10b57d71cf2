"""Heads of several blocks side by side, and the rows of the layers that make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from naivegraph.algebra.axis import Atom
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.transfer.from_teacher.branch_layers import LayerBranch
from naivegraph.transfer.from_teacher.side_by_side import SideBySide
from naivegraph.transfer.from_teacher.unit import Unit, state_names
from naivegraph.utility.readers import neuron_numbers
from naivegraph.widths import Widths, relate

__all__ = ["HeadBlocks"]


class HeadBlocks:
    """The neurons that a branch's last layer takes, in runs that stay together: heads, or single channels.

    Args:
        sides: Both networks.
        unit: The student's block.
        run: The teacher's blocks.
        branch: The branch of the student's block.
        others: That of the teacher's blocks.

    Attributes:
        fits: Whether all blocks are alike, so that heads can be put side by side.
        count: The number of heads in the student.
        each: The number in a block of the teacher.
    """

    def __init__(
        self,
        sides: SideBySide,
        unit: Unit,
        run: Sequence[Unit],
        branch: LayerBranch,
        others: Sequence[LayerBranch],
    ) -> None:
        self._sides, self._unit, self._run = sides, unit, run
        alike = [len(each.vertices) == len(unit.vertices) for each in run]
        shapes = {tuple(_weight(each.last).shape) for each in (branch, *others)}
        self.fits, self.count, self.each = all(alike) and len(shapes) == 1, 0, 0
        if not self.fits:
            return
        self._widths, self._theirs = relate(sides.student), relate(sides.teacher)
        self._atom = _outermost(self._widths, sides.student, branch.last)
        self._atoms = [_outermost(self._theirs, sides.teacher, other.last) for other in others]
        if self._atom is None or any(atom is None for atom in self._atoms):
            self.fits = False
            return
        self.count, self.each = self._atom.length, self._atoms[0].length  # type: ignore[union-attr]
        start = unit.vertices.index(branch.levels[0][0])
        stop = unit.vertices.index(branch.last)
        self._range = range(start, stop + 1)

    def blocks(self, unknowns: int) -> torch.Tensor:
        """The inputs of each head, of all blocks, in a layout with places of the kernel first."""
        total = self.each * len(self._run)
        numbers = torch.arange(unknowns)
        width = _weight(self._last_of_first()).shape[1] * len(self._run)
        place, channel = numbers // width, numbers % width
        block, inside = channel // (width // len(self._run)), channel % (width // len(self._run))
        head = block * self.each + inside // (width // len(self._run) // self.each)
        order = torch.argsort(head * unknowns + place * width + channel)
        return numbers[order].reshape(total, -1)

    def _last_of_first(self) -> Vertex:
        return self._unit.vertices[self._range[-1]]

    def write(self, keep: torch.Tensor) -> None:
        """Write the rows of the heads that stay, of all layers of the branch."""
        sides = self._sides
        for place in self._range:
            names = state_names(self._unit.vertices[place], sides.student)
            theirs = [state_names(each.vertices[place], sides.teacher) for each in self._run]
            for number, name in enumerate(names):
                self._write_tensor(name, [found[number] for found in theirs], keep.tolist())

    def _write_tensor(self, name: str, theirs: list[str], keep: list[int]) -> None:
        mine = self._sides.student.tensor(name)
        for dim, axis in enumerate(self._widths.axes.get(name, ())):
            resolved = axis
            numbers = neuron_numbers(resolved, self._widths.outer).get(self._atom)  # type: ignore[arg-type]
            if numbers is None:
                continue
            source = [self._places(other, dim, number) for number, other in enumerate(theirs)]
            out = mine.detach().clone()
            for head, chosen in enumerate(keep):
                block, neuron = chosen // self.each, chosen % self.each
                rows = torch.from_numpy(np.flatnonzero(numbers == head))
                taken = self._sides.teacher.tensor(theirs[block]).detach()
                part = taken.index_select(dim, torch.from_numpy(np.flatnonzero(source[block] == neuron)))
                out.index_copy_(dim, rows, part)
            self._sides.write(mine, out)
            return

    def _places(self, name: str, dim: int, number: int) -> Any:
        """The number of the head at each place of a dimension of one of the teacher's parameters."""
        axis = self._theirs.axes[name][dim]
        return neuron_numbers(axis, self._theirs.outer)[self._atoms[number]]  # type: ignore[index]


def _weight(vertex: Vertex) -> Any:
    layer: Any = vertex.target
    return layer.weight


def _outermost(widths: Widths, graph: Graph, last: Vertex) -> Atom | None:
    """The outermost atom of what a layer takes, where that is one product."""
    axis = widths.axes[f"{last.path}.weight"][1]
    atom = axis.terms[0][0] if len(axis.terms) == 1 else None
    return atom if isinstance(atom, Atom) else None
