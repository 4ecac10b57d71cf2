"""The dimension of every tensor along which its neurons are counted."""

from __future__ import annotations

import math
from typing import Any

from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.movement import Movement, same_dims, viewed
from naivegraph.operators.relation import arguments

__all__ = ["TensorKey", "neuron_dimensions", "output_sizes", "tensor_key"]


# A tensor by its number and rank: squeezed in place it is the same tensor with fewer dimensions.
TensorKey = tuple[int, int]


def tensor_key(stub: Stub) -> TensorKey:
    """The key of a tensor in `neuron_dimensions`."""
    return stub.id, len(stub.shape)


def output_sizes(graph: Recording) -> dict[str, int]:
    """The number of neurons of the first output of each vertex, by the vertex's name."""
    dims = neuron_dimensions(graph)
    out: dict[str, int] = {}
    for vertex in graph.vertices:
        stub = _first(vertex)
        if stub is not None and stub.shape:
            out[vertex.name] = stub.shape[dims[tensor_key(stub)]]
    return out


def neuron_dimensions(graph: Recording) -> dict[TensorKey, int]:
    """The dimension of the neurons of each tensor that vertices take or return, by `tensor_key`.

    Convolutions, batch and group norms have them in dimension 1, matrix products, embeddings and layer norms
    in the last. Other operators leave them where their first operand of the same shape has them (or of the
    same rank, where all are broadcast), and a change of shape or order takes them along. An input has them
    where the first layer that takes it expects them. Where nothing tells, it is dimension 1, of three
    dimensions the last.
    """
    operations = [
        (operation, [stub for stub in operation.operands if stub.shape])
        for vertex in graph.vertices
        for operation in vertex.operations
    ]
    used = _used(operations)
    dims: dict[TensorKey, int] = {}
    for vertex in graph.inputs:
        for stub in _stubs(vertex.output):
            dims[tensor_key(stub)] = used.get(tensor_key(stub), _usual(stub))
    for operation, operands in operations:
        _follow(operation, operands, dims)
    for vertex in graph.vertices:
        for stub in _stubs((vertex.args, vertex.kwargs, vertex.output)):
            dims.setdefault(tensor_key(stub), _usual(stub))
    return dims


def _stubs(value: Any) -> list[Stub]:
    """The stubs in a pytree that are no scalars."""
    return [stub for stub in stubs_in(value) if stub.shape]


def _used(operations: list[tuple[Operation, list[Stub]]]) -> dict[TensorKey, int]:
    """The dimension in which the first layer that takes a tensor expects its neurons, by `tensor_key`."""
    used: dict[TensorKey, int] = {}
    for operation, operands in reversed(operations):
        neurons, movement = record_of(operation.func).neurons, movement_of(operation)
        if neurons is not None:
            for stub in operands[: neurons.taken]:
                if (dim := neurons.in_rank(len(stub.shape))) is not None:
                    used[tensor_key(stub)] = dim
        elif movement is None or movement.dims is same_dims:
            for out in operation.outputs:
                for stub in operands:
                    if out is not None and tensor_key(out) in used and len(stub.shape) == len(out.shape):
                        used[tensor_key(stub)] = used[tensor_key(out)]
    return used


def _follow(operation: Operation, operands: list[Stub], dims: dict[TensorKey, int]) -> None:
    """Set the dimension of an operator's results by its record or its operands."""
    neurons, movement = record_of(operation.func).neurons, movement_of(operation)
    for out in operation.outputs:
        if out is None or not out.shape or tensor_key(out) in dims:
            continue
        if neurons is not None:
            found = neurons.in_rank(len(out.shape))
        else:
            found = _carried(operation, movement, operands, out, dims)
        if found is not None:
            dims[tensor_key(out)] = found


def _carried(
    operation: Operation,
    movement: Movement | None,
    operands: list[Stub],
    out: Stub,
    dims: dict[TensorKey, int],
) -> int | None:
    """The dimension of the result that has the neurons of the first operand whose dimension is known."""
    known = [stub for stub in operands if tensor_key(stub) in dims]
    numbers = [stub for stub in known if stub.dtype.is_floating_point or stub.dtype.is_complex]
    for stub in numbers or known:  # what is looked up by indices, or masked, has the neurons; these have none
        rank, dim = len(stub.shape), dims[tensor_key(stub)]
        if movement is not None and movement.dims is viewed:
            return _viewed(stub.shape, dim, out.shape)
        if movement is not None and movement.dims is not same_dims:
            named, places = arguments(operation), range(len(out.shape))
            return next((d for d in places if movement.dims(named, stub, out, frozenset([d])) == {dim}), None)
        if rank != len(out.shape):  # a dimension is taken away or added; it may be the neurons' own
            place = _viewed(stub.shape, dim, out.shape)
            return place if place is not None and out.shape[place] == stub.shape[dim] else None
    same = [stub for stub in numbers or known if len(stub.shape) == len(out.shape)]
    whole = [stub for stub in same if stub.shape == out.shape]  # one that is broadcast may have no neurons
    return dims[tensor_key((whole or same)[0])] if same else None


def _viewed(before: tuple[int, ...], dim: int, after: tuple[int, ...]) -> int | None:
    """The place of a dimension after a change of shape: as far from the end, or else the front, as before."""
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
    """The dimension of the neurons where nothing tells: 1, the last of three, the only one."""
    return {1: 0, 3: 2}.get(len(stub.shape), 1)
