"""Widths: a copy of a bigger network is resized to the sizes of a smaller one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.request.requests import Size
from naivegraph.edits.resize import resize
from naivegraph.edits.resize_program.strategy import Raise, Solve
from naivegraph.errors import EditError
from naivegraph.graph.run.neuron_dims import output_sizes
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.transfer.from_teacher.student_report import KeptNeurons
from naivegraph.transfer.from_teacher.unit import state_names
from naivegraph.utility import OfWidths
from naivegraph.widths import Width, Widths

__all__ = ["NarrowTeacher", "check_wider", "narrowed", "same_sizes", "uniform_places"]


@dataclasses.dataclass(frozen=True)
class NarrowTeacher:
    """A copy of the teacher with the widths of the student.

    Attributes:
        graph: The copy.
        kept: The neurons kept.
        gap: The program's gap; None if nothing was to be chosen.
    """

    graph: Graph
    kept: tuple[KeptNeurons, ...]
    gap: float | None


def uniform_places(count: int, of: int) -> list[int]:
    """Evenly spread places: the i-th is `i * of // count`.

    Example:
        >>> uniform_places(3, 8)
        [0, 2, 5]
    """
    return [number * of // count for number in range(count)]


def same_sizes(pairs: Sequence[tuple[Vertex, Vertex]], small: Graph, big: Graph) -> bool:
    """Tell whether all parameters and buffers of paired vertices have equal shapes."""
    return all(
        small.tensor(name).shape == big.tensor(other).shape
        for mine, theirs in pairs
        for name, other in zip(state_names(mine, small), state_names(theirs, big), strict=True)
    )


def check_wider(pairs: Sequence[tuple[Vertex, Vertex]], small: Graph, big: Graph) -> None:
    """Check that the bigger network is nowhere narrower.

    Raises:
        EditError: It is, or a vertex has other parameters than its counterpart.
    """
    for mine, theirs in pairs:
        own, others = state_names(mine, small), state_names(theirs, big)
        if len(own) != len(others):
            raise EditError(
                f"the networks do not correspond: {mine.name!r} computes with {len(own)} parameters and "
                f"buffers ({', '.join(own) or 'none'}), {theirs.name!r} of the bigger one with {len(others)}"
            )
        for name, other in zip(own, others, strict=True):
            one, two = small.tensor(name).shape, big.tensor(other).shape
            if len(one) != len(two) or any(a > b for a, b in zip(one, two, strict=True)):
                raise EditError(
                    f"the networks do not correspond: {name!r} of the network to be written has shape "
                    f"{tuple(one)}, which is no part of {tuple(two)}, that of {other!r} of the bigger one"
                )


def narrowed(
    pairs: Sequence[tuple[Vertex, Vertex]],
    small: Graph,
    big: Graph,
    *,
    select: str,
    calibration: Any,
) -> NarrowTeacher:
    """Copy the bigger network and resize the copy to the sizes of the smaller one.

    Args:
        pairs: The vertices that correspond, the smaller network's first; of the teacher's all of which a size
            is asked for.
        small: The smaller network.
        big: The bigger one, which is left as it is.
        select: "reconstruction", "l2" or "uniform".
        calibration: Batches, for "reconstruction".

    Raises:
        EditError: It cannot have these sizes; the message names the vertex.
    """
    copied = copy.deepcopy(big)
    sizes, theirs = output_sizes(small), output_sizes(big)
    requests = {
        other.name: Size(sizes[mine.name])
        for mine, other in pairs
        if mine.name in sizes and other.kind != "input" and _resizable(mine, other, sizes, theirs)
    }
    utility: Any = select if select != "uniform" else OfWidths(_Uniform(pairs, small))
    try:
        edit = resize(copied, requests, utility=utility, calibration=calibration, strategy=Solve(Raise()))
    except EditError as error:
        raise EditError(f"the bigger network cannot have the sizes of the other one: {error}") from error
    for mine, other in pairs:
        for name, its in zip(state_names(mine, small), state_names(other, big), strict=True):
            if small.tensor(name).shape != copied.tensor(its).shape:
                raise EditError(
                    f"the bigger network cannot have the sizes of the other one: {its!r} would have shape "
                    f"{tuple(copied.tensor(its).shape)}, and {name!r} has {tuple(small.tensor(name).shape)}"
                )
    gap = None if edit.certificate is None else edit.certificate.gap
    return NarrowTeacher(copied, tuple(_kept(edit, copied)), gap)


def _resizable(mine: Vertex, other: Vertex, sizes: Mapping[str, int], theirs: Mapping[str, int]) -> bool:
    """Tell whether the neurons of a vertex are counted in both networks, in tensors of one rank.

    An empty tensor, as a cache begins with, has none.
    """
    if other.name not in theirs or not isinstance(mine.output, Stub) or not isinstance(other.output, Stub):
        return False
    return len(mine.output.shape) == len(other.output.shape) and 0 < sizes[mine.name] <= theirs[other.name]


def _kept(edit: Edit, graph: Graph) -> list[KeptNeurons]:
    """The neurons kept of each layer that lost some."""
    layers = {vertex.name for vertex in graph.vertices if state_names(vertex, graph)}
    return [
        KeptNeurons(name, tuple(number for run in change.kept for number in run), change.before)
        for name, change in edit.sizes.items()
        if name in layers
    ]


class _Uniform:
    """Values that make neurons which are evenly spread the best ones."""

    def __init__(self, pairs: Sequence[tuple[Vertex, Vertex]], small: Graph) -> None:
        self._pairs, self._small = pairs, small

    def __call__(self, widths: Widths) -> dict[Width, Any]:
        """Return the values of all neurons."""
        targets = self._targets(widths)
        found: dict[Width, Any] = {}
        for width in widths:
            values = np.full(width.size, 1e-3)
            values[uniform_places(targets.get(width, width.size), width.size)] = 1.0
            found[width] = values
        return found

    def _targets(self, widths: Widths) -> dict[Width, int]:
        """The size of each width in the smaller network, by the axes of parameters that correspond."""
        mine = self._small.widths
        found: dict[Width, int] = {}
        for vertex, other in self._pairs:
            names = zip(state_names(vertex, self._small), state_names(other, widths.graph), strict=True)
            for name, its in names:
                for axis, wide in zip(mine.axes.get(name, ()), widths.axes.get(its, ()), strict=False):
                    for one, two in zip(axis.atoms(), wide.atoms(), strict=False):
                        if two in widths.by_atom:
                            found[widths.by_atom[two]] = min(one.length, two.length)
        return found
