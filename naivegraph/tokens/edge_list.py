"""Networks as lists of edges, one row each: from where, to where, how much, and of which type."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from naivegraph.errors import EditError
from naivegraph.tokens.frame import NONE, Frame
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.validity import given_to

__all__ = ["EdgeList", "edge_list", "networks_of_edges"]

ONE = -1  # the parent of biases, scales and shifts: the constant 1
_NORM = ("scale", "shift")
_SUM = "sum"


@dataclasses.dataclass(frozen=True, eq=False)
class EdgeList:
    """The edges of one network.

    Neurons have the numbers of their places: inputs from 0, then the places of each hidden layer, then
    outputs. The type of an edge is the operator of the layer it leads to, "scale" or "shift" of a norm, or
    "sum" where a layer adds a neuron to its own. Each neuron has a row from the constant 1, number -1: its
    bias.

    Args:
        frame: The frame.
        parent: `[rows]` int64.
        child: `[rows]` int64.
        weight: `[rows, kernel]`; what is no kernel stands in the middle.
        type: The type of each row.

    Example:
        >>> from naivegraph.tokens.random_structure import random_structure
        >>> frame = Frame("dense", 1, 1, depth=1, width=1, activations=("relu",))
        >>> network = random_structure(frame, 1, seed=0)
        >>> [(parent, child, type) for parent, child, _, type in edge_list(network, 0).rows()]
        [(-1, 1, 'relu'), (0, 1, 'relu'), (-1, 2, 'head'), (1, 2, 'head')]
    """

    frame: Frame
    parent: Tensor
    child: Tensor
    weight: Tensor
    type: tuple[str, ...]

    def rows(self) -> list[tuple[int, int, list[float], str]]:
        """The rows: parent, child, weight, type."""
        columns = self.parent.tolist(), self.child.tolist(), self.weight.tolist(), self.type
        return list(zip(*columns, strict=True))


def edge_list(networks: Networks, number: int) -> EdgeList:
    """The edges of one of the networks.

    Raises:
        EditError: It is no valid network.
    """
    one = networks[number]
    if not one.valid().all():
        raise EditError(f"network {number} is none: {'; '.join(one.faults(0))}")
    frame, middle = one.frame, one.frame.kernel // 2
    rows: list[tuple[int, int, Tensor, str]] = []

    def single(value: Tensor) -> Tensor:
        """A number as a kernel."""
        found = torch.zeros(frame.kernel, dtype=one.weights.dtype)
        found[middle] = value
        return found

    parents = torch.arange(frame.inputs)
    parents = torch.cat([parents, torch.full((frame.columns - frame.inputs,), ONE)])
    for layer in range(frame.depth + 1):
        kind = frame.operators[int(one.operator[0, layer])]
        if kind == NONE:
            continue
        children = _numbers(frame, layer)
        for place in one.presence[0, layer].nonzero()[:, 0].tolist():
            child = int(children[place])
            rows.append((ONE, child, single(one.bias[0, layer, place]), kind))
            if one.scale is not None and one.shift is not None and layer < frame.depth:
                rows.append((ONE, child, single(one.scale[0, layer, place]), "scale"))
                rows.append((ONE, child, single(one.shift[0, layer, place]), "shift"))
            if one.skips is not None and one.skips[0, layer] > 0.5:
                rows.append((int(parents[place]), child, single(torch.ones(())), _SUM))
            sources = one.edges[0, layer, place].nonzero()[:, 0].tolist()
            weights = one.weights[0, layer, place]
            rows.extend((int(parents[source]), child, weights[source], kind) for source in sources)
        parents = torch.cat([children, torch.full((frame.columns,), ONE)])[: frame.columns]
    numbers = torch.tensor([row[:2] for row in rows])
    weight = torch.stack([row[2] for row in rows])
    return EdgeList(frame, numbers[:, 0], numbers[:, 1], weight, tuple(row[3] for row in rows))


def networks_of_edges(lists: list[EdgeList]) -> Networks:
    """The networks that lists of edges say, exactly as they were.

    Raises:
        ValueError: There is no list, or they are of several frames; or a row leads from or to a neuron that
            is not there, is of no type, or of another one than others of its layer.
    """
    if not lists or any(each.frame != lists[0].frame for each in lists):
        raise ValueError("networks_of_edges takes lists of one frame, at least one")
    found = Networks.empty(lists[0].frame, len(lists), lists[0].weight.dtype)
    found.presence[:, -1] = False  # outputs have rows, too
    for number, each in enumerate(lists):
        for row in each.rows():
            _place_neuron(found, number, row)
        given = given_to(found[number : number + 1])[0]
        for row in each.rows():
            _place_edge(found, number, row, given)
    return found


def _numbers(frame: Frame, layer: int) -> Tensor:
    """The numbers of a layer's places."""
    size = frame.width if layer < frame.depth else frame.outputs
    return frame.inputs + layer * frame.width + torch.arange(size)


def _place(frame: Frame, number: int) -> tuple[int, int]:
    """The layer and place of a neuron by its number; layer -1 is the inputs."""
    if 0 <= number < frame.inputs:
        return -1, number
    layer = min((number - frame.inputs) // frame.width, frame.depth)
    place = number - frame.inputs - layer * frame.width
    if number < 0 or (layer == frame.depth and place >= frame.outputs):
        raise ValueError(f"an edge names neuron {number}, which the frame does not have")
    return layer, place


def _place_neuron(found: Networks, number: int, row: tuple[int, int, list[float], str]) -> None:
    """Set the neuron that a row leads to, and its layer's operator."""
    frame, (_, child, _, kind) = found.frame, row
    layer, place = _place(frame, child)
    if layer < 0:
        raise ValueError(f"an edge leads to input {child}")
    found.presence[number, layer, place] = True
    if kind in _NORM and frame.norm:
        return
    if kind == _SUM and found.skips is not None:
        found.skips[number, layer] = True
        return
    if kind not in frame.operators[1:]:
        raise ValueError(f"an edge is of type {kind!r}, which the frame does not have")
    known, operator = int(found.operator[number, layer]), frame.operators.index(kind)
    if known not in (0, operator):
        raise ValueError(f"edges to layer {layer} are of types {frame.operators[known]!r} and {kind!r}")
    found.operator[number, layer] = operator


def _place_edge(found: Networks, number: int, row: tuple[int, int, list[float], str], given: Tensor) -> None:
    """Set the numbers of a row."""
    parent, child, weight, kind = row
    layer, place = _place(found.frame, child)
    middle = weight[found.frame.kernel // 2]
    if kind == _SUM:
        return
    if parent == ONE:
        values = {"scale": found.scale, "shift": found.shift}.get(kind, found.bias)
        if values is not None:
            values[number, layer, place] = middle
        return
    start, source = _place(found.frame, parent)
    before = [n for n in range(layer) if found.operator[number, n] != 0]
    if start != (before[-1] if before else -1) or not given[layer, source]:
        raise ValueError(
            f"an edge leads from neuron {parent}, which is not there in the layer before that of {child}"
        )
    found.edges[number, layer, place, source] = True
    found.weights[number, layer, place, source] = torch.tensor(weight, dtype=found.weights.dtype)
