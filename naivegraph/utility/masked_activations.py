"""Elements of weights in effect where activations are multiplied by masks and gains.

A mask that parameters and buffers alone make, multiplied onto an activation, leaves weights without effect:
those whose results it sets to zero, and those that meet nothing but its zeros. A gain that a layer's results
are multiplied by counts as if it had been multiplied into the layer's weight.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.move_masks import moved_back, moved_on
from naivegraph.operators.movement import Mask, MoveKind
from naivegraph.operators.normalise import batch_norm
from naivegraph.operators.pointwise import pointwise
from naivegraph.operators.relation import arguments, tensors_in
from naivegraph.utility.constant_products import MULTIPLICATIONS, constant_products, operator_name
from naivegraph.utility.effective_weights import Constants
from naivegraph.widths import Widths

__all__ = ["MaskedActivations"]

_NONE: frozenset[int] = frozenset()


class MaskedActivations:
    """The factors by which the elements of weights count, behind masks and gains of activations.

    Args:
        widths: The widths of a graph.
        constants: The tensors made of its parameters and buffers alone.

    Attributes:
        gates: The names of parameters that only make such masks and gains, and say nothing by themselves.
    """

    def __init__(self, widths: Widths, constants: Constants) -> None:
        graph = widths.graph
        self._operations = [operation for vertex in graph.vertices for operation in vertex.operations]
        self._filled: dict[int, Mask] = {}
        self._seen: dict[int, Mask] = {}
        self._gains: dict[int, torch.Tensor] = {}
        self.gates: frozenset[str] = frozenset()
        self._left = set(graph.left_behind)
        self._products = constant_products(self._operations, constants.value)
        if not self._products:
            return
        self.gates = frozenset().union(*(constants.gates(each.factors) for each in self._products.values()))
        self._met: dict[int, list[tuple[int, Stub, int]]] = {}
        for each in widths.relation.summed:
            for stub, dim in each.factors:
                others = [(dim, other, at) for other, at in each.factors if other.id != stub.id]
                self._met.setdefault(stub.id, []).extend(others)
        self._find_zeros()
        for stub in stubs_in(graph.output):
            self._see(stub, None)
        for operation in reversed(self._operations):
            self._pass_back(operation)
        self._fold_gains({stub.id for stub in stubs_in(graph.output)})

    def factor(self, stub: Stub) -> torch.Tensor | None:
        """The factors of a weight's elements, of a shape that broadcasts to it; None if all are one."""
        seen, gain = self._seen.get(stub.id), self._gains.get(stub.id)
        if seen is None or seen.all():
            return gain
        found = torch.from_numpy(seen.astype(np.float32))
        return found if gain is None else found * gain

    # Elements that are zero, from the inputs on

    def _find_zeros(self) -> None:
        barred = _overwritten(self._operations)  # and what was read before zeros were written into it
        read: set[int] = set()
        for operation in self._operations:
            for out, mask in self._zeros_of(operation):
                if out.id in read and out.id not in self._filled:
                    barred.add(out.id)
                if out.id not in barred and not mask.all():
                    self._filled[out.id] = mask
            read.update(stub.id for stub in operation.operands)

    def _zeros_of(self, operation: Operation) -> Iterator[tuple[Stub, Mask]]:
        """The results of which some elements are zero, with those that may be others."""
        out, product = operation.outputs[0] if operation.outputs else None, self._products.get(id(operation))
        if out is not None and product is not None:
            yield out, product.nonzero & self._may_be(product.activation, len(out.shape))
            return
        if out is None or not any(stub.id in self._filled for stub in operation.operands):
            return
        movement, record, rank = movement_of(operation), record_of(operation.func), len(out.shape)
        if movement is not None:
            found: dict[int, tuple[Stub, Mask]] = {}
            for stub in dict.fromkeys(operation.operands):
                for each, mask in moved_on(movement, operation, stub, self._may_be(stub)):
                    found[each.id] = each, mask | found[each.id][1] if each.id in found else mask
            yield from found.values()
        elif operator_name(operation) in MULTIPLICATIONS:
            masks = [self._may_be(stub, rank) for stub in operation.operands]
            yield out, np.logical_and.reduce(np.broadcast_arrays(*masks))
        elif record.zeros is not None and record.zeros.single is not None:
            if record.zeros.single(arguments(operation)):
                used = operation.operands[: 1 if record.zeros.first_alone else None]
                masks = [self._may_be(stub, rank) for stub in used]
                yield out, np.logical_or.reduce(np.broadcast_arrays(*masks))
        elif len(operation.operands) == 1:
            yield from self._pooled(operation, operation.operands[0], out)

    def _pooled(self, operation: Operation, stub: Stub, out: Stub) -> Iterator[tuple[Stub, Mask]]:
        """A result that is zero along a dimension of which an index meets itself alone."""
        sources, mask = record_of(operation.func).sources, self._may_be(stub)
        for dim, length in enumerate(out.shape if sources is not None else ()):
            for choice in sources(arguments(operation), operation, out, frozenset([dim]), None):  # type: ignore[misc]
                at = next((part.dims for part in choice if part.stub.id == stub.id), _NONE)
                if len(at) == 1 and stub.shape[min(at)] == length and mask.shape[min(at)] == length:
                    along = _along(mask, min(at))
                    yield out, along.reshape([-1 if d == dim else 1 for d in range(len(out.shape))])
                    return

    def _may_be(self, stub: Stub, rank: int | None = None) -> Mask:
        """The elements of a tensor that may be other than zero, aligned to a rank."""
        mask = self._filled.get(stub.id, np.ones([1] * len(stub.shape), np.bool_))
        return mask if rank is None else mask.reshape([1] * (rank - mask.ndim) + [*mask.shape])

    # Elements that are seen, from the outputs back

    def _see(self, stub: Stub, mask: Mask | None) -> None:
        new = np.ones([1] * len(stub.shape), np.bool_) if mask is None else mask
        self._seen[stub.id] = self._seen[stub.id] | new if stub.id in self._seen else new

    def _pass_back(self, operation: Operation) -> None:
        """Note the elements of an operator's operands that are seen by way of its results."""
        outs = [out for out in operation.outputs if out is not None]
        for out in outs:
            if out.id in self._left:
                self._see(out, None)
        reached = [out for out in outs if out.id in self._seen]
        if operation.func._schema.is_mutable and not (reached and _elementwise(operation)):
            for stub in operation.operands:  # what is written may be read by other names
                self._see(stub, None)
            return
        for out in reached:
            mask: Mask | None = self._seen[out.id]
            if mask is not None and mask.all():
                mask = None
            behind = list(self._behind(operation, out, mask))
            if out.id in [stub.id for stub in operation.operands]:
                del self._seen[out.id]  # all of it was written anew
            for stub, part in behind:
                self._see(stub, part)

    def _behind(
        self, operation: Operation, out: Stub, mask: Mask | None
    ) -> Iterator[tuple[Stub, Mask | None]]:
        """The operands, with the elements that those of a result depend on."""
        product, movement = self._products.get(id(operation)), movement_of(operation)
        if product is not None:
            mine = product.nonzero if mask is None else product.nonzero & mask
            for stub in operation.operands:
                chosen = mine if stub.id == product.activation.id else mask
                yield stub, None if chosen is None else _aligned(chosen, stub)
        elif movement is not None and (mask is not None or movement.kind is MoveKind.CUT):
            yield from ((stub, part) for stub, _, part in moved_back(movement, operation, out, _NONE, mask))
        elif movement is not None or _elementwise(operation):
            yield from ((stub, None if mask is None else _aligned(mask, stub)) for stub in operation.operands)
        else:
            yield from self._behind_layer(operation, out, mask)

    def _behind_layer(
        self, operation: Operation, out: Stub, mask: Mask | None
    ) -> Iterator[tuple[Stub, Mask | None]]:
        """As `_behind`, of an operator with weights."""
        named, sources = arguments(operation), record_of(operation.func).sources
        parts: dict[int, Mask] = {}
        if mask is not None and sources is not None:
            for choice in sources(named, operation, out, _NONE, mask):
                for part in choice:
                    if part.mask is not None:
                        before = parts.get(part.stub.id)
                        parts[part.stub.id] = part.mask if before is None else before | part.mask
        if mask is not None:
            parts.update(_own_channels(operation, mask))
        for stub in operation.operands:
            found = parts.get(stub.id)
            for at, met in self._meets(operation, stub):
                shape = [-1 if d == at else 1 for d in range(len(stub.shape))]
                found = met.reshape(shape) if found is None else found & met.reshape(shape)
            yield stub, found

    def _meets(self, operation: Operation, stub: Stub) -> Iterator[tuple[int, Mask]]:
        """The dimensions of a weight that meet an operand which is zero at some indices, with the others."""
        given = {other.id for other in operation.operands}
        for at, other, dim in self._met.get(stub.id, ()):
            if other.id in given and other.id in self._filled and stub.shape[at] == other.shape[dim]:
                yield at, _along(np.broadcast_to(self._may_be(other), other.shape), dim)
        source = _depthwise(operation)
        if source is not None and stub is not source and source.id in self._filled:
            along = _along(np.broadcast_to(self._may_be(source), source.shape), 1)
            if len(stub.shape) > 1:
                yield 0, along.repeat(stub.shape[0] // len(along))

    # Gains

    def _fold_gains(self, outputs: set[int]) -> None:
        """Multiply gains into the weights of the layers that they follow."""
        makers = {out.id: op for op in self._operations for out in op.outputs if out is not None}
        users: dict[int, int] = {}
        for operation in self._operations:
            for stub in operation.operands:
                users[stub.id] = users.get(stub.id, 0) + 1
        for product in self._products.values():
            if product.gain is None:
                continue
            stub, (dim, gain) = product.activation, product.gain
            while users[stub.id] == 1 and stub.id not in outputs | self._left and stub.id in makers:
                operation = makers[stub.id]
                back = _one_behind(operation, stub, dim)
                if back is None:
                    self._fold(operation, stub, dim, gain, makers, users)
                    break
                stub, dim = back

    def _fold(
        self,
        operation: Operation,
        out: Stub,
        dim: int,
        gain: torch.Tensor,
        makers: dict[int, Operation],
        users: dict[int, int],
    ) -> None:
        sources = record_of(operation.func).sources
        choices = sources(arguments(operation), operation, out, frozenset([dim]), None) if sources else []
        for part in choices[0] if choices else ():
            stub, dims = part.stub, part.dims
            while len(dims) == 1 and stub.id in makers and users[stub.id] == 1:
                movement = movement_of(makers[stub.id])
                if movement is None or movement.kind not in (MoveKind.RESHAPED, MoveKind.TURNED):
                    break
                (source,) = makers[stub.id].operands
                dims, stub = movement.dims(arguments(makers[stub.id]), source, stub, dims), source
            if len(dims) == 1 and users[stub.id] == 1 and stub.shape[min(dims)] == len(gain):
                shaped = gain.reshape([-1 if d in dims else 1 for d in range(len(stub.shape))])
                self._gains[stub.id] = self._gains[stub.id] * shaped if stub.id in self._gains else shaped


def _elementwise(operation: Operation) -> bool:
    return record_of(operation.func).axes is pointwise


def _aligned(mask: Mask, stub: Stub) -> Mask:
    """A mask of an element-wise result as one of an operand that is broadcast to it."""
    missing = mask.ndim - len(stub.shape)
    gone = tuple(d for d in range(mask.ndim) if d < missing or stub.shape[d - missing] == 1)
    found = mask.any(gone, keepdims=True)
    return np.asarray(found.reshape(found.shape[missing:]))


def _along(mask: Mask, dim: int) -> Mask:
    """The indices along a dimension with any element."""
    return np.asarray(mask.any(tuple(d for d in range(mask.ndim) if d != dim)))


def _depthwise(operation: Operation) -> Stub | None:
    """The input of a convolution in which every channel has kernels of its own; None for others."""
    named = arguments(operation)
    source, weight = named.get("input"), named.get("weight")
    if not isinstance(source, Stub) or not isinstance(weight, Stub) or named.get("transposed", False):
        return None
    return source if 1 < named.get("groups", 1) == source.shape[1] and weight.shape[1] == 1 else None


def _own_channels(operation: Operation, mask: Mask) -> dict[int, Mask]:
    """The elements of an input of which each channel makes its own alone, behind those of the result."""
    named, source = arguments(operation), _depthwise(operation)
    if record_of(operation.func).axes is batch_norm:
        source = named["input"]
    if source is None or mask.ndim < 2:
        return {}
    along = _along(mask, 1)
    if len(along) > 1:
        along = np.asarray(along.reshape(source.shape[1], -1).any(1))
    return {source.id: along.reshape([-1 if d == 1 else 1 for d in range(len(source.shape))])}


def _one_behind(operation: Operation, out: Stub, dim: int) -> tuple[Stub, int] | None:
    """The one operand that an operator scales with its result, and its dimension; None for layers."""
    if len(operation.operands) != 1 or operation.func._schema.is_mutable:
        return None
    (source,), movement = operation.operands, movement_of(operation)
    if movement is not None:
        if movement.kind not in (MoveKind.RESHAPED, MoveKind.TURNED):
            return None
        dims = movement.dims(arguments(operation), source, out, frozenset([dim]))
    else:
        sources = record_of(operation.func).sources
        choices = sources(arguments(operation), operation, out, frozenset([dim]), None) if sources else []
        dims = choices[0][0].dims if choices else _NONE
    if len(dims) != 1 or source.shape[min(dims)] != out.shape[dim]:
        return None
    return source, min(dims)


def _overwritten(operations: list[Operation]) -> set[int]:
    """The numbers of tensors whose memory is written to later, so that zeros in them may not stay."""
    base: dict[int, int] = {}

    def root(number: int) -> int:
        """Return the number of the tensor that has the memory."""
        while number in base:
            number = base[number]
        return number

    written: set[int] = set()
    for operation in operations:
        movement, first = movement_of(operation), tensors_in(list(operation.args))[:1]
        shares = operation.func._schema.is_mutable or (movement is not None and not movement.copies)
        for out in operation.outputs if shares and first else ():
            if out is not None and root(out.id) != root(first[0].id):
                base[out.id] = root(first[0].id)
        zeros = record_of(operation.func).zeros
        keeps = operator_name(operation) in MULTIPLICATIONS or (
            zeros is not None and zeros.single is not None and zeros.single(arguments(operation))
        )
        if operation.func._schema.is_mutable and not keeps:
            written.update(root(stub.id) for stub in operation.operands)
    every = {out.id for operation in operations for out in operation.outputs if out is not None}
    return {number for number in every if root(number) in written}
