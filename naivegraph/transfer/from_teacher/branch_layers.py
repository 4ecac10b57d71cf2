"""Branches of a unit: the layers on the way to each of its sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from naivegraph.graph.run.blocks import Uses, is_sum
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.values import State, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators import record_of
from naivegraph.operators.pointwise import pointwise
from naivegraph.transfer.from_teacher.unit import Unit

__all__ = ["LayerBranch", "branches"]

_STILL = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclasses.dataclass(frozen=True, eq=False)
class LayerBranch:
    """The layers on the way to a sum.

    Attributes:
        last: The last layer.
        norms: The batch norms between it and the sum.
        end: The sum; the last layer itself in a unit that adds nothing up.
        other: The other summand.
        levels: The layers before the last one, those that take the branch's input first. Within a level they
            take the same.
        between: What stands behind each level, before the next or the last layer.
        elementwise: Whether all that does so neuron by neuron.
        scales: The numbers for each neuron that multiply what the last layer gives, as in layer scales.
    """

    last: Vertex
    norms: tuple[Vertex, ...]
    end: Vertex
    other: Stub | None
    levels: tuple[tuple[Vertex, ...], ...]
    between: tuple[tuple[Vertex, ...], ...]
    elementwise: bool
    scales: tuple[torch.Tensor, ...] = ()


def branches(uses: Uses, unit: Unit) -> list[LayerBranch]:
    """The branches of a unit, in order.

    Example:
        >>> import torch, naivegraph as ng
        >>> class Block(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.one, self.two = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
        ...     def forward(self, x):
        ...         return x + self.two(self.one(x).relu())
        >>> graph = ng.capture(Block(), torch.ones(1, 4))
        >>> found = branches(Uses(graph), Unit("", tuple(graph.vertices[1:])))
        >>> [(b.last.name, [v.name for level in b.levels for v in level], b.elementwise) for b in found]
        [('two', ['one'], True)]
    """
    inside = {id(vertex) for vertex in unit.vertices}
    found: list[LayerBranch] = []
    before: set[int] = set()  # what earlier branches are made of
    for vertex in unit.vertices:
        if is_sum(vertex) and all(isinstance(arg, Stub) for arg in vertex.args):
            branch = _branch(uses, vertex, inside - before)
            if branch is not None:
                found.append(branch)
                before |= uses.reach([vertex], inside, upwards=True)
    layers = [vertex for vertex in unit.vertices if is_layer_of_matrix(vertex)]
    if not found and layers:
        found.append(LayerBranch(layers[-1], (), layers[-1], None, (), (), True))
    return found


def is_layer_of_matrix(vertex: Vertex) -> bool:
    """Tell whether a vertex is a layer linear in one matrix or kernel; depthwise convolutions are none."""
    target = vertex.target
    if not isinstance(target, _MATRICES) or type(target).forward not in _FORWARDS:
        return False
    if isinstance(target, nn.Linear):
        return True
    return target.padding_mode == "zeros" and not (target.groups > 1 and target.weight.shape[1] == 1)


_FORWARDS = {kind.forward for kind in _MATRICES}


def _branch(uses: Uses, end: Vertex, inside: Collection[int]) -> LayerBranch | None:
    """The branch of a sum: of the summands that a layer makes, the one with most layers before."""
    best: tuple[int, LayerBranch] | None = None
    for number, arg in enumerate(end.args[:2]):
        walked = _last_layer(uses, end, arg, inside)
        if walked is None:
            continue
        last, norms, scales = walked
        other = end.args[1 - number]
        reached = uses.reach([last], inside, upwards=True)
        way = [v for v in uses.graph.vertices if id(v) in reached and v is not last]
        made = _Levels(uses, way, last)
        branch = LayerBranch(last, norms, end, other, made.levels, made.between, made.elementwise, scales)
        if best is None or len(made.levels) > best[0]:
            best = len(made.levels), branch
    return None if best is None else best[1]


def _last_layer(
    uses: Uses, user: Vertex, stub: Stub, inside: Collection[int]
) -> tuple[Vertex, tuple[Vertex, ...], tuple[torch.Tensor, ...]] | None:
    """The layer that a summand comes from, through batch norms and dropout alone, or layer scales."""
    norms: list[Vertex] = []
    scales: list[tuple[torch.Tensor, int]] = []
    maker = uses.maker(user, stub)
    while maker is not None and id(maker) in inside and len(uses.users.get(id(maker), ())) == 1:
        if is_layer_of_matrix(maker):
            whole = all(place == _channels(maker) for _, place in scales) and not (norms and scales)
            return (maker, tuple(norms), tuple(scale.reshape(-1) for scale, _ in scales)) if whole else None
        scale = _scale(uses, maker)
        if isinstance(maker.target, _BatchNorm):
            norms.append(maker)
        elif scale is not None:
            scales.append(scale)
        elif not isinstance(maker.target, _STILL):
            return None
        taken = stubs_in(maker.args)
        if len(taken) != 1:
            return None
        maker = uses.maker(maker, taken[0])
    return None


def _channels(layer: Vertex) -> int:
    """The dimension of a layer's neurons, counted from the last one of its output."""
    return 1 if isinstance(layer.target, nn.Linear) else len(layer.target.kernel_size) + 1  # type: ignore


def _scale(uses: Uses, vertex: Vertex) -> tuple[torch.Tensor, int] | None:
    """The tensor of the network that a product multiplies one dimension by, and that, from the last one."""
    if vertex.kind != "function" or [o.func for o in vertex.operations] != [torch.ops.aten.mul.Tensor]:
        return None
    names = [leaf.name for leaf in leaves((vertex.args, vertex.kwargs)) if isinstance(leaf, State)]
    if len(names) != 1 or not isinstance(vertex.output, Stub):
        return None
    scale = uses.graph.tensor(names[0])
    long = [dim for dim, size in enumerate(scale.shape) if size > 1]
    if len(long) != 1 or scale.numel() != vertex.output.shape[long[0] - scale.dim()]:
        return None
    return scale, scale.dim() - long[0]


class _Levels:
    """The layers before the last one of a branch, by the number of layers before each."""

    def __init__(self, uses: Uses, way: list[Vertex], last: Vertex) -> None:
        depth: dict[int, int] = {}
        found: dict[int, list[Vertex]] = {}
        between: dict[int, list[Vertex]] = {}
        for vertex in way:
            above = max((depth.get(id(maker), 0) for maker, _ in uses.taken.get(id(vertex), ())), default=0)
            if is_layer_of_matrix(vertex):
                depth[id(vertex)] = above + 1
                found.setdefault(above + 1, []).append(vertex)
            else:
                depth[id(vertex)] = above
                if above:
                    between.setdefault(above, []).append(vertex)
        self.levels = tuple(tuple(found[level]) for level in sorted(found))
        self.between = tuple(tuple(between.get(level, ())) for level in sorted(found))
        plain = all(_elementwise(vertex) for run in self.between for vertex in run)
        self.elementwise = plain and self._in_line(depth, uses, last)

    def _in_line(self, depth: dict[int, int], uses: Uses, last: Vertex) -> bool:
        """Tell whether each layer takes what the level before it makes, and nothing of earlier ones."""
        for level, layers in enumerate(self.levels, 1):
            for vertex in layers:
                if len(uses.users.get(id(vertex), ())) != 1 and level < len(self.levels):
                    return False
        return max((depth.get(id(maker), 0) for maker, _ in uses.taken.get(id(last), ())), default=0) == len(
            self.levels
        )


def _elementwise(vertex: Vertex) -> bool:
    target = vertex.target
    if isinstance(target, (_BatchNorm, *_STILL)):
        return True
    if isinstance(target, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return target.groups == target.in_channels == target.out_channels
    plain = not isinstance(target, nn.Module) or next(target.parameters(), None) is None
    return plain and all(record_of(operation.func).axes is pointwise for operation in vertex.operations)
