"""Writing at indices: the dimensions that are indexed are fixed, the others pass through."""

from __future__ import annotations

from typing import Any

from naivegraph.algebra.axis import Axis
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import PLACED, Arguments, Dims, Mask, MoveKind, Movement
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, tensors_in
from naivegraph.operators.sources import Choice, all_but, nothing, of_passing
from naivegraph.operators.zeros import of_all, passed_if

_INDEXED = "written to by index"


def _unify_others(r: Relation, axes: list[Axis], source: list[Axis], dim: int) -> None:
    """Dimensions besides the one that is indexed are the same in both; where one has fewer indices, fixed."""
    for d, (one, two) in enumerate(zip(axes, source, strict=True)):
        if d == dim or one.length != two.length:
            r.pin(one, _INDEXED)
            r.pin(two, _INDEXED)
        else:
            r.algebra.unify(one, two)


def along_one(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Something is written at indices along one dimension, `dim`."""
    target: Stub = a["self"]
    axes, dim = list(r.of(target)), a["dim"] % max(len(target.shape), 1)
    single_place = op.func.overloadpacket.__name__ == "select_scatter"
    for name in ("index", "source", "src", "value"):
        stub = a.get(name)
        if isinstance(stub, Stub) and len(stub.shape) == len(axes):
            _unify_others(r, axes, r.of(stub), dim)
        elif isinstance(stub, Stub) and single_place:
            for one, two in zip([*axes[:dim], *axes[dim + 1 :]], r.of(stub), strict=True):
                r.algebra.unify(one, two)
        elif isinstance(stub, Stub):
            r.pin_tensor(stub, _INDEXED)
    r.pin(axes[dim], _INDEXED)
    r.set(op.outputs[0], axes)


def _written(a: dict[str, Any]) -> Any:
    """The tensor or number that is written."""
    return next((a[name] for name in ("source", "src", "value") if name in a), None)


def _with_what_is_written(
    a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None
) -> list[Choice]:
    """Linear in what was there together with what is written, unless that is a number."""
    value = _written(a)
    if not isinstance(value, Stub) and value != 0:
        return []
    names = ["self", *(name for name in ("source", "src", "value") if isinstance(a.get(name), Stub))]
    return of_passing(all_but("dim"), *names)(a, op, out, dims, mask)


def _writes_zero(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    value = _written(a)
    return r.vanishes(value) if isinstance(value, Stub) else value == 0


register(
    "index_add index_copy index_fill index_reduce scatter scatter_add scatter_reduce",
    Operator(along_one, zeros=passed_if(_writes_zero), sources=_with_what_is_written),
)


def _selected(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """The target keeps its dimensions; the written tensor has one less."""
    at = a["dim"] % len(out.shape)
    return dims if source.id == a["self"].id else frozenset(d - (d > at) for d in dims if d != at)


register(
    "select_scatter",
    Operator(
        along_one,
        zeros=passed_if(_writes_zero),
        movement=Movement(MoveKind.PLACED, _selected, copies=True),
    ),
)
register("slice_scatter", Operator(along_one, zeros=passed_if(_writes_zero), movement=PLACED))


def index_put(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Values are written where lists of indices (or masks) say."""
    target, values = a["self"], a["values"]
    axes = list(r.of(target))
    kept, looked, first, d = list[Axis](), list[list[Axis]](), None, 0
    for stub in a["indices"]:
        if not isinstance(stub, Stub):
            kept.append(axes[d])
            d += 1
            continue
        mask = str(stub.dtype) in ("torch.bool", "torch.uint8")
        first = len(kept) if first is None else first
        covered = max(len(stub.shape), 1) if mask else 1
        for axis in axes[d : d + covered]:
            r.pin(axis, _INDEXED)
        if mask:
            r.pin_tensor(stub, _INDEXED)
        else:
            looked.append(r.of(stub))
        d += covered
    kept += axes[d:]
    if looked and len(r.of(values)) <= len(kept) + len(r.broadcast(looked)):
        chosen = r.broadcast(looked)
        place = first or 0
        wanted = [*kept[:place], *chosen, *kept[place:]]
        if all(v.length in (1, w.length) for v, w in zip(r.of(values)[::-1], wanted[::-1], strict=False)):
            r.broadcast([r.of(values), wanted])
            for axis in chosen:
                r.pin(axis, _INDEXED)
            r.set(op.outputs[0], axes)
            return
    # What a mask chooses has a length of its own; values of one element alone tie nothing.
    for axis in (*(axes if values.shape not in ((), (1,)) else ()), *r.of(values)):
        r.pin(axis, "chosen by a mask")
    r.set(op.outputs[0], axes)


register(
    "index_put _unsafe_index_put _index_put_impl",
    Operator(index_put, zeros=of_all("self", "values"), sources=of_passing(nothing, "self", "values")),
)


def anywhere(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Elements are read or written wherever indices say, across dimensions."""
    for value in a.values():
        if isinstance(value, Stub):
            r.pin_tensor(value, "indexed across dimensions")
    out = op.outputs[0]
    if out is not None:
        r.set(out, r.fixed(out.shape, f"indexed across dimensions at {r.where}"))


register("masked_scatter put", Operator(anywhere, sources=of_passing(nothing, "self", "source")))
register("take", Operator(anywhere, sources=of_passing(nothing, "self")))


def _scattered(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """The target keeps its dimensions; the last of the written tensor goes along two."""
    if source.id == a["self"].id:
        return dims
    two = [a[name] % len(out.shape) for name in ("dim1", "dim2")]
    left = [d for d in range(len(out.shape)) if d not in two]
    return frozenset(len(left) if d in two else left.index(d) for d in dims)


register(
    "diagonal_scatter",
    Operator(anywhere, movement=Movement(MoveKind.PLACED, _scattered, copies=True)),
)


def by_value(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Results whose sizes depend on values."""
    for stub in tensors_in(list(op.args)) + tensors_in(op.kwargs):
        r.pin_tensor(stub, "its values decide what is computed")
    for out in op.outputs:
        if out is not None:
            r.set(out, r.fixed(out.shape, f"values decide its size at {r.where}"))


register(
    "_local_scalar_dense nonzero _unique2 unique_dim histc bincount equal is_nonzero",
    Operator(by_value),
)
register("masked_select", Operator(by_value, sources=of_passing(nothing)))
