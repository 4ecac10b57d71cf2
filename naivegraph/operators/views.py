"""Operators that show the same elements in another shape or order of dimensions."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from naivegraph.algebra.axis import Axis, single
from naivegraph.algebra.reshape import reshaped
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import shapes
from naivegraph.operators.movement import (
    EXPANDED,
    REPEATED,
    REVERSED,
    SWAPPED,
    TURNED,
    UNSQUEEZED,
    VIEWED,
    Arguments,
    Dims,
    MoveKind,
    Movement,
)
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.unknown import unknown
from naivegraph.operators.zeros import PASSED, passed_if


def reshape(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Any view in another shape, element order kept."""
    out = op.outputs[0]
    if out is not None:
        axes = list(r.of(a["self"]))
        empty = 0 in out.shape
        _show(r, op, _of_nothing(r, axes, out.shape) if empty else reshaped(r.algebra, axes, out.shape))


register(
    "view _unsafe_view",
    Operator(reshape, zeros=PASSED, movement=VIEWED, shapes={"default": shapes.view}),
)
register("reshape _reshape_alias flatten unflatten", Operator(reshape, zeros=PASSED, movement=VIEWED))


def _show(r: Relation, op: Operation, axes: list[Axis]) -> None:
    """Set the axes of a view; one made in place is the same tensor with other dimensions from there on."""
    out = op.outputs[0]
    if out is not None and out.id == op.args[0].id:
        r.axes[out.id] = axes
    else:
        r.set(out, axes)


def _of_nothing(r: Relation, axes: list[Axis], shape: tuple[int, ...]) -> list[Axis]:
    """Of a tensor without elements, say no box found: what stands before and after its empty dimension."""
    lengths = [axis.length for axis in axes]
    start, end = lengths.index(0), shape.index(0)
    before, after = (lengths[:start], shape[:end]), (lengths[start + 1 :], shape[end + 1 :])
    if all(math.prod(old) == math.prod(new) != 0 for old, new in (before, after)):
        outer, inner = (
            reshaped(r.algebra, axes[:start], before[1]),
            reshaped(r.algebra, axes[start + 1 :], after[1]),
        )
        return [r.algebra.resolve(axis) for axis in (*outer, axes[start], *inner)]
    reason = "no element shows how its dimensions are regrouped"
    for axis in axes:
        r.pin(axis, reason)
    return r.fixed(shape, f"{reason}, at {r.where}")


def squeeze(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Dimensions of one index dropped: all such, or some."""
    axes = r.of(a["self"])
    sizes = [axis.length for axis in axes]  # of before, where it happens in place
    dims = a.get("dim")
    given = range(len(axes)) if dims is None else [dims] if isinstance(dims, int) else dims
    drop = {d % len(axes) for d in given if axes and sizes[d] == 1}
    for d in drop:
        r.pin(axes[d], "a dimension of one index is dropped")
    _show(r, op, [axis for d, axis in enumerate(axes) if d not in drop])


register("squeeze", Operator(squeeze, zeros=PASSED, movement=VIEWED))


def unsqueeze(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A dimension of one index more."""
    axes = list(r.of(a["self"]))
    axes.insert(a["dim"] % (len(axes) + 1), single(1))
    _show(r, op, axes)


register("unsqueeze", Operator(unsqueeze, zeros=PASSED, movement=UNSQUEEZED))


def permute(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Dimensions in another order."""
    axes = r.of(a["self"])
    r.set(op.outputs[0], [axes[d] for d in a["dims"]])


register("permute", Operator(permute, zeros=PASSED, movement=TURNED, shapes={"default": shapes.permute}))


def transpose(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Two dimensions exchanged."""
    axes = list(r.of(a["self"]))
    if len(axes) > 1:
        i, j = a.get("dim0", a.get("axis0", 0)), a.get("dim1", a.get("axis1", 1))
        axes[i], axes[j] = axes[j], axes[i]
    _show(r, op, axes)


register("transpose", Operator(transpose, zeros=PASSED, movement=SWAPPED, shapes={"int": shapes.transpose}))
register("t swapaxes", Operator(transpose, zeros=PASSED, movement=SWAPPED))


def reverse(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """All dimensions in the opposite order."""
    r.set(op.outputs[0], r.of(a["self"])[::-1])


register("numpy_T", Operator(reverse, zeros=PASSED, movement=REVERSED))


def expand(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Dimensions of size 1 repeated: the repeats are neurons of their own that nothing else ties."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    axes = r.of(source)
    missing = len(out.shape) - len(axes)
    result: list[Axis] = []
    for position, n in enumerate(out.shape):
        if position >= missing and source.shape[position - missing] == n:
            result.append(axes[position - missing])
            continue
        if position >= missing:
            r.pin(axes[position - missing], "one index is repeated")
        result.append(r.algebra.new(n))
    r.set(out, result)


def _not_repeated(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """Tell whether nothing is repeated: repeats of an index are neurons that are not zero by themselves."""
    return op.outputs[0] is not None and op.outputs[0].shape == a["self"].shape


register("expand broadcast_to", Operator(expand, zeros=passed_if(_not_repeated), movement=EXPANDED))
register("expand_copy", Operator(expand, zeros=passed_if(_not_repeated), movement=REPEATED))


def as_strided(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The identity where the size stays; anything else is not followed."""
    source, out = a["self"], op.outputs[0]
    if out is None or tuple(a["size"]) != source.shape or a.get("storage_offset"):
        unknown(r, op, a)
    elif out.id != source.id:
        r.set(out, r.of(source))


register("as_strided as_strided_copy", Operator(as_strided, zeros=PASSED))


def unfold(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Windows along one dimension become a last one."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    axes, dim = list(r.of(source)), a["dimension"] % max(len(source.shape), 1)
    r.pin(axes[dim], "the dimension a window slides over")
    axes[dim] = r.fixed([out.shape[dim]], f"windows at {r.where}")[0]
    r.set(out, [*axes, *r.fixed([out.shape[-1]], f"windows at {r.where}")])


def _unfolded(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Places in a window, the last dimension, are made of the one that it slides over."""
    return frozenset(d if d < len(source.shape) else a["dimension"] % len(source.shape) for d in dims)


_WINDOWS = Movement(MoveKind.REPEATED, _unfolded)
register("unfold", Operator(unfold, zeros=PASSED, movement=_WINDOWS))
register("unfold_copy", Operator(unfold, zeros=PASSED, movement=dataclasses.replace(_WINDOWS, copies=True)))
