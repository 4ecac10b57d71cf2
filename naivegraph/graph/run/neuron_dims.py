"""Which dimension of every tensor its neurons are counted along."""

from __future__ import annotations

import math
from typing import Any

import torch

from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["TensorPlace", "neuron_dimensions", "output_sizes", "place_of"]


def _packets(names: str) -> frozenset[Any]:
    found = (getattr(torch.ops.aten, name, None) for name in names.split())
    return frozenset(packet for packet in found if packet is not None)


_CHANNELS = _packets(
    "convolution _convolution native_batch_norm _native_batch_norm_legit cudnn_batch_norm "
    "_native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update native_group_norm"
)
_FEATURES = _packets("addmm mm bmm linear matmul embedding native_layer_norm _fused_rms_norm")
_VIEWS = _packets("view _unsafe_view reshape _reshape_alias expand squeeze unsqueeze flatten unflatten")
_ORDERS = _packets("permute t transpose")


# A tensor by its number and rank: squeezed in place it is the same tensor with fewer dimensions.
TensorPlace = tuple[int, int]


def place_of(stub: Stub) -> TensorPlace:
    """What `neuron_dimensions` knows a tensor by."""
    return stub.id, len(stub.shape)


def output_sizes(graph: Recording) -> dict[str, int]:
    """The number of neurons of the first tensor each vertex gives, by the vertex's name."""
    dims = neuron_dimensions(graph)
    out: dict[str, int] = {}
    for vertex in graph.vertices:
        stub = _first(vertex)
        if stub is not None and stub.shape:
            out[vertex.name] = stub.shape[dims[place_of(stub)]]
    return out


def neuron_dimensions(graph: Recording) -> dict[TensorPlace, int]:
    """By `place_of` a tensor, of all that vertices take or give: the dimension of its neurons.

    A convolution, a batch or group norm have them in dimension 1, a matrix product, an embedding and a layer
    norm in the last. Other operators leave them where their first operand of the same rank has them, and a
    change of shape or order takes them along. Where that tells nothing it is dimension 1, of three dimensions
    the last; an input follows what it is used for.
    """
    operations = [(o, _stubs((o.args, o.kwargs))) for vertex in graph.vertices for o in vertex.operations]
    used = _used(operations)
    dims: dict[TensorPlace, int] = {}
    for vertex in graph.inputs:
        for stub in _stubs(vertex.output):
            dims[place_of(stub)] = used.get(place_of(stub), _usual(stub))
    for operation, operands in operations:
        _follow(operation, operands, dims)
    for vertex in graph.vertices:
        for stub in _stubs((vertex.args, vertex.kwargs, vertex.output)):
            dims.setdefault(place_of(stub), _usual(stub))
    return dims


def _stubs(value: Any) -> list[Stub]:
    """Every tensor of some dimensions in a nesting."""
    return [stub for stub in stubs_in(value) if stub.shape]


def _used(operations: list[tuple[Operation, list[Stub]]]) -> dict[TensorPlace, int]:
    """By `place_of` a tensor: the dimension in which the first layer that takes it wants its neurons."""
    used: dict[TensorPlace, int] = {}
    for operation, operands in reversed(operations):
        packet = operation.func.overloadpacket
        if packet in _CHANNELS or packet in _FEATURES:
            # The first operand is what the layer takes; the bias of a linear layer may come before it.
            for stub in operands[:2] if packet is torch.ops.aten.addmm else operands[:1]:
                if packet not in _CHANNELS:
                    used[place_of(stub)] = len(stub.shape) - 1
                elif len(stub.shape) > 1:
                    used[place_of(stub)] = 1
        elif packet not in _VIEWS and packet not in _ORDERS:
            for out in operation.outputs:
                for stub in operands:
                    if out is not None and place_of(out) in used and len(stub.shape) == len(out.shape):
                        used[place_of(stub)] = used[place_of(out)]
    return used


def _follow(operation: Operation, operands: list[Stub], dims: dict[TensorPlace, int]) -> None:
    packet = operation.func.overloadpacket
    for out in operation.outputs:
        if out is None or not out.shape or place_of(out) in dims:
            continue
        if packet in _CHANNELS:
            found = 1 if len(out.shape) > 1 else None
        elif packet in _FEATURES:
            found = len(out.shape) - 1
        else:
            found = _carried(operation, packet, operands, out, dims)
        if found is not None:
            dims[place_of(out)] = found


def _carried(
    operation: Operation, packet: Any, operands: list[Stub], out: Stub, dims: dict[TensorPlace, int]
) -> int | None:
    """Where the neurons of the first operand which has some are in the result."""
    known = [stub for stub in operands if place_of(stub) in dims]
    for stub in known:
        rank, dim = len(stub.shape), dims[place_of(stub)]
        if packet is torch.ops.aten.permute:
            return [int(d) % rank for d in operation.args[1]].index(dim)
        if packet is torch.ops.aten.t:
            return 1 - dim
        if packet is torch.ops.aten.transpose:
            one, two = (int(d) % rank for d in operation.args[1:3])
            return {one: two, two: one}.get(dim, dim)
        if packet in _VIEWS:
            return _viewed(stub.shape, dim, out.shape)
        if rank != len(out.shape):  # a dimension is taken away or added; it may be the neurons' own
            place = _viewed(stub.shape, dim, out.shape)
            return place if place is not None and out.shape[place] == stub.shape[dim] else None
    same = [stub for stub in known if len(stub.shape) == len(out.shape)]
    return dims[place_of(same[0])] if same else None


def _viewed(before: tuple[int, ...], dim: int, after: tuple[int, ...]) -> int | None:
    """Where a dimension is after a change of shape: as far from the end, or else the front, as it was."""
    inner, outer = math.prod(before[dim + 1 :]), math.prod(before[:dim])
    places = [d for d in range(len(after)) if math.prod(after[d + 1 :]) == inner]
    places += [d for d in range(len(after)) if math.prod(after[:d]) == outer]
    # A single neuron may lie anywhere by these numbers, but not in the batch, which comes first.
    places = [d for d in places if d or not dim] or places
    equal = [d for d in places if after[d] == before[dim]]
    return next(iter(equal or places), None)


def _first(vertex: Vertex) -> Stub | None:
    return next(iter(stubs_in(vertex.output)), None)


def _usual(stub: Stub) -> int:
    return {1: 0, 3: 2}.get(len(stub.shape), 1)
