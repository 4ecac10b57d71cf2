"""Lookups by index, and tensors made from sizes alone."""

from __future__ import annotations

from typing import Any

import torch

from naivegraph.algebra.axis import Axis, single
from naivegraph.ir.pytree import leaves
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import Arguments
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, tensors_in
from naivegraph.operators.sources import all_but, of_passing
from naivegraph.operators.zeros import ALWAYS, passed_if


def index(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Advanced indexing: indexed dimensions are fixed, the others pass through."""
    source, indices, out = a["self"], a["indices"], op.outputs[0]
    if out is None:
        return
    axes = r.of(source)
    given = [d for d, i in enumerate(indices) if isinstance(i, Stub)]
    for d in range(len(axes)):
        if d < len(indices) and d in given:
            r.pin(axes[d], "looked up by index")
    stubs = [indices[d] for d in given]
    rest = [axis for d, axis in enumerate(axes) if d not in given]
    if any(str(stub.dtype) in ("torch.bool", "torch.uint8") for stub in stubs):
        _masked(r, op, source, indices)
        return
    looked: list[Axis] = r.broadcast([r.of(stub) for stub in stubs])
    adjacent = given == list(range(given[0], given[-1] + 1))
    place = given[0] if adjacent else 0
    r.set(out, [*rest[:place], *looked, *rest[place:]])


def _not_looked_up(a: Arguments, operand: Stub, out: Stub) -> dict[int, int]:
    """Dimensions without indices, which have those of the indices before, among or behind them."""
    indices = [*a["indices"], *[None] * (len(operand.shape) - len(a["indices"]))]
    given = [d for d, index in enumerate(indices) if index is not None]
    rest = [d for d, index in enumerate(indices) if index is None]
    if any(indices[d].dtype in (torch.bool, torch.uint8) for d in given):
        return {}
    looked = len(out.shape) - len(rest)
    place = given[0] if given == list(range(given[0], given[-1] + 1)) else 0
    return {d if d < place else d + looked: s for d, s in enumerate(rest)}


def _indices_settled(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """Tell whether the number of indices is fixed, for an index of zero looks something up, too."""
    return all(r.settled(axis) for stub in tensors_in(a["indices"]) for axis in r.of(stub))


register(
    "index _unsafe_index",
    Operator(index, zeros=passed_if(_indices_settled), sources=of_passing(_not_looked_up)),
)


def _masked(r: Relation, op: Operation, source: Stub, indices: list[Any]) -> None:
    """One mask over the first dimensions leaves the others as they are; anything else fixes all."""
    out, axes, mask = op.outputs[0], r.of(source), indices[0]
    alone = isinstance(mask, Stub) and not any(isinstance(other, Stub) for other in indices[1:])
    covered = len(mask.shape) if alone else len(axes)
    for axis in axes[:covered]:
        r.pin(axis, "chosen by a mask")
    for stub in tensors_in(indices):
        r.pin_tensor(stub, "it is a mask")
    if out is not None:
        chosen = r.fixed(out.shape[: len(out.shape) - len(axes) + covered], f"chosen by a mask at {r.where}")
        r.set(out, [*chosen, *axes[covered:]])


def index_select(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Indices along one dimension: that one is fixed."""
    source, out, dim = a["self"], op.outputs[0], a["dim"]
    if out is None:
        return
    axes = list(r.of(source))
    dim %= max(len(axes), 1)
    r.pin(axes[dim], "looked up by index")
    looked = r.of(a["index"] if "index" in a else a["indices"])
    if op.func.overloadpacket.__name__ == "index_select":
        axes[dim] = looked[0]
    else:
        for d, axis in enumerate(looked):
            if d != dim and axis.length == axes[d].length:
                r.algebra.unify(axes[d], axis)
            elif d != dim:
                r.pin(axes[d], "looked up by index")
        axes = list(looked)
    r.set(out, axes)


def _place_settled(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    out = op.outputs[0]
    return out is not None and (not out.shape or r.settled(r.of(out)[a["dim"]]))


register(
    "index_select gather take_along_dim",
    Operator(index_select, zeros=passed_if(_place_settled), sources=of_passing(all_but("dim"))),
)


def factory(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A tensor made from a size: no index of it differs from another.

    A size that the code writes as 1 is no width of one neuron; one that it works out, or a layer's, may be.
    """
    called = r.vertex if r.vertex is not None and r.vertex.kind == "function" else None
    for out in op.outputs:
        if out is None:
            continue
        written = list(leaves(called.args)) if called is not None else []
        axes = r.fresh(out.shape)
        if len(written) == len(axes):
            axes = [
                single(1) if type(size) is int and size == 1 else axis
                for size, axis in zip(written, axes, strict=True)
            ]
        r.set(out, axes)


register("zeros new_zeros", Operator(factory, zeros=ALWAYS))
register(
    "ones full empty empty_strided new_ones new_full new_empty rand randn new_empty_strided scalar_tensor",
    Operator(factory),
)


def sequence(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A tensor whose every index differs: positions, an identity."""
    for out in op.outputs:
        if out is not None:
            r.set(out, r.fixed(out.shape, f"positions counted at {r.where}"))


register("arange linspace eye logspace randperm tril_indices triu_indices", Operator(sequence))


def places(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The place of each value among sorted boundaries, element by element."""
    boundaries, values, out = a.get("boundaries", a.get("sorted_sequence")), a["self"], op.outputs[0]
    axes = r.of(values) if isinstance(values, Stub) else []
    if isinstance(boundaries, Stub):
        *rows, last = r.of(boundaries)
        r.pin(last, "sorted boundaries")
        for one, two in zip(rows, axes[:-1], strict=True) if rows else ():
            r.algebra.unify(one, two)
    if out is not None:
        r.set(out, axes)


register("bucketize searchsorted", Operator(places))
