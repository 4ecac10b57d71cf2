"""Writing at indices: the dimensions that are indexed are fixed, the others pass through."""

from __future__ import annotations

from typing import Any

from naivegraph.algebra.axis import Axis
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.registry import rule
from naivegraph.operators.relation import Relation, tensors_in

_WRITTEN = "written to by index"


def _unify_others(r: Relation, axes: list[Axis], source: list[Axis], dim: int) -> None:
    """Dimensions besides the one that is indexed are the same in both; where one has fewer indices, fixed."""
    for d, (one, two) in enumerate(zip(axes, source, strict=True)):
        if d == dim or one.length != two.length:
            r.pin(one, _WRITTEN)
            r.pin(two, _WRITTEN)
        else:
            r.algebra.unify(one, two)


@rule(
    "index_add index_add_ index_copy index_copy_ index_fill index_fill_ index_reduce index_reduce_ "
    "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ "
    "select_scatter slice_scatter"
)
def along_one(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Something is written at indices along one dimension, `dim`."""
    target: Stub = a["self"]
    value = next((a[name] for name in ("source", "src", "value") if name in a), None)
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
            r.pin_tensor(stub, _WRITTEN)
    r.pin(axes[dim], _WRITTEN)
    nothing = r.vanishes(value) if isinstance(value, Stub) else value == 0
    r.set(op.outputs[0], axes, vanishing=r.vanishes(target) and nothing)


@rule("index_put index_put_ _unsafe_index_put _index_put_impl_")
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
            r.pin(axis, _WRITTEN)
        if mask:
            r.pin_tensor(stub, _WRITTEN)
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
            r.set(op.outputs[0], axes, vanishing=r.vanishes(target) and r.vanishes(values))
            return
    # What a mask chooses has a length of its own; values of one element alone tie nothing.
    if values.shape not in ((), (1,)):
        for axis in (*axes, *r.of(values)):
            r.pin(axis, "chosen by a mask")
    r.set(op.outputs[0], axes, vanishing=r.vanishes(target) and r.vanishes(values))


@rule("diagonal_scatter masked_scatter masked_scatter_ put put_ take")
def anywhere(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Elements are read or written wherever indices say, across dimensions."""
    for value in a.values():
        if isinstance(value, Stub):
            r.pin_tensor(value, "indexed across dimensions")
    out = op.outputs[0]
    if out is not None:
        r.set(out, r.fixed(out.shape, f"indexed across dimensions at {r.where}"))


@rule("_local_scalar_dense nonzero _unique2 unique_dim histc masked_select bincount equal is_nonzero")
def by_value(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """What comes out, and how much of it, depends on the values."""
    for stub in tensors_in(list(op.args)) + tensors_in(op.kwargs):
        r.pin_tensor(stub, "its values decide what is computed")
    for out in op.outputs:
        if out is not None:
            r.set(out, r.fixed(out.shape, f"values decide its size at {r.where}"))
