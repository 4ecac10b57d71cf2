"""Operators that only move elements: views, permutations, concatenation, cuts, padding, repetition."""

from __future__ import annotations

import math
from typing import Any

from naivegraph.algebra.axis import Axis, single
from naivegraph.algebra.reshape import reshaped
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.registry import rule
from naivegraph.operators.relation import Relation, tensors_in


def moved(r: Relation, op: Operation, source: Stub, axes: list[Axis]) -> None:
    """Set the axes of the one result of an operator that moves the elements of `source`."""
    r.set(op.outputs[0], axes, vanishing=r.vanishes(source))


@rule("view _unsafe_view reshape _reshape_alias flatten unflatten squeeze unsqueeze squeeze_ unsqueeze_")
def reshape(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Any view in another shape, element order kept."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    name = op.func.overloadpacket.__name__.rstrip("_")
    axes = list(r.of(source))
    if name == "squeeze":
        axes = _squeezed(r, source, a)
    elif name == "unsqueeze":
        axes.insert(a["dim"] % (len(axes) + 1), single(1))
    else:
        axes = _reshaped_empty(r, axes, out.shape) if 0 in out.shape else reshaped(r.algebra, axes, out.shape)
    if out.id == source.id:
        r.axes[source.id] = axes
        return
    moved(r, op, source, axes)


def _reshaped_empty(r: Relation, axes: list[Axis], shape: tuple[int, ...]) -> list[Axis]:
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


def _squeezed(r: Relation, source: Stub, a: dict[str, Any]) -> list[Axis]:
    axes = r.of(source)
    sizes = [axis.length for axis in axes]  # of before, where it happens in place
    dims = a.get("dim")
    given = range(len(axes)) if dims is None else [dims] if isinstance(dims, int) else dims
    drop = {d % len(axes) for d in given if axes and sizes[d] == 1}
    for d in drop:
        r.pin(axes[d], "a dimension of one index is dropped")
    return [axis for d, axis in enumerate(axes) if d not in drop]


@rule("permute")
def permute(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Dimensions in another order."""
    axes = r.of(a["self"])
    moved(r, op, a["self"], [axes[d] for d in a["dims"]])


@rule("transpose t swapaxes numpy_T transpose_ t_")
def transpose(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Two dimensions exchanged."""
    axes = list(r.of(a["self"]))
    if len(axes) > 1:
        i, j = a.get("dim0", 0), a.get("dim1", 1)
        axes[i], axes[j] = axes[j], axes[i]
    if op.outputs[0] is not None and op.outputs[0].id == a["self"].id:
        r.axes[a["self"].id] = axes
        return
    moved(r, op, a["self"], axes)


@rule("expand broadcast_to expand_copy")
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
    r.set(out, result, vanishing=False)


@rule("repeat tile")
def repeat(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Whole dimensions repeated one after the other."""
    source, repeats = a["self"], a["repeats"] if "repeats" in a else a["dims"]
    axes = [single(1)] * (len(repeats) - len(source.shape)) + list(r.of(source))
    moved(r, op, source, [r.algebra.join([single(n), axis]) for n, axis in zip(repeats, axes, strict=True)])


@rule("repeat_interleave")
def repeat_interleave(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Every index repeated in place; only with one number of repeats."""
    source, out, repeats, dim = a.get("self"), op.outputs[0], a.get("repeats"), a.get("dim")
    if out is None:
        return
    if source is None or not isinstance(repeats, int) or dim is None:
        unknown(r, op, a)
        return
    axes = list(r.of(source))
    axes[dim] = r.algebra.join([axes[dim], single(repeats)])
    moved(r, op, source, axes)


@rule("cat concat concatenate")
def concatenate(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Tensors one after the other along a dimension."""
    given = tensors_in(a["tensors"])
    parts = [stub for stub in given if stub.shape != (0,)] or given[:1]
    rank = len(parts[0].shape)
    dim = a["dim"] % rank
    axes = [r.of(stub) for stub in parts]
    out = [
        r.algebra.concatenate([x[d] for x in axes]) if d == dim else r.broadcast([[x[d]] for x in axes])[0]
        for d in range(rank)
    ]
    r.set(op.outputs[0], out, vanishing=all(r.vanishes(stub) for stub in parts))


@rule("stack")
def stack(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Tensors along a new dimension, whose length is the code's."""
    parts = tensors_in(a["tensors"])
    axes = r.broadcast([r.of(stub) for stub in parts])
    axes.insert(a["dim"] % (len(axes) + 1), r.fixed([len(parts)], "the parts of a stack")[0])
    r.set(op.outputs[0], axes, vanishing=all(r.vanishes(stub) for stub in parts))


@rule(
    "split split_with_sizes chunk split_copy split_with_sizes_copy tensor_split unsafe_split "
    "unsafe_split_with_sizes unsafe_chunk"
)
def split(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Consecutive parts along a dimension."""
    source = a["self"]
    axes, dim = r.of(source), a["dim"] % len(source.shape)
    rest = axes[dim]
    for out in op.outputs:
        if out is not None:
            part, rest = r.algebra.cut(rest, out.shape[dim])
            r.set(
                out, [part if d == dim else axis for d, axis in enumerate(axes)], vanishing=r.vanishes(source)
            )


@rule("slice")
def slice_(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A run of indices, or every s-th of them."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    axes, dim, step = list(r.of(source)), a["dim"] % len(source.shape), a["step"]
    n = source.shape[dim]
    start, stop, _ = slice(a["start"], a["end"]).indices(n)
    if step == 1:
        before, rest = r.algebra.cut(axes[dim], start)
        axes[dim], after = r.algebra.cut(rest, max(stop - start, 0))
        r.left_out += [before, after]
    elif n % step == 0 and start < step and stop == n:
        axes[dim], inside = r.algebra.split(axes[dim], step)
        r.pin(inside, f"every {step}th index is taken")
    else:
        r.pin(axes[dim], f"every {step}th index is taken")
        axes[dim] = r.fixed([out.shape[dim]], f"every {step}th index at {r.where}")[0]
    moved(r, op, source, axes)


@rule("select unbind")
def select(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """One index of a dimension, or each of them: that dimension is then the code's."""
    source = a["self"]
    axes, dim = list(r.of(source)), a["dim"] % len(source.shape)
    r.pin(axes.pop(dim), "single indices are taken")
    for out in op.outputs:
        if out is not None:
            r.set(out, axes, vanishing=r.vanishes(source))


@rule(
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
    "replication_pad3d pad"
)
def pad(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Indices added before and after; where they are constants they are neurons of their own."""
    source, out = a["self"], op.outputs[0]
    amounts = a.get("pad", a.get("padding"))
    if out is None or amounts is None:
        return
    constant = op.func.overloadpacket.__name__ == "constant_pad_nd"
    axes = list(r.of(source))
    for index in range(len(amounts) // 2):
        dim = len(axes) - 1 - index
        before, after = amounts[2 * index : 2 * index + 2]
        if before == after == 0:
            continue
        if not constant or min(before, after) < 0:
            r.pin(axes[dim], "padded by its own values" if not constant else "cropped")
            axes[dim] = r.fixed([out.shape[dim]], f"padded at {r.where}")[0]
        else:
            axes[dim] = r.algebra.concatenate([r.algebra.new(before), axes[dim], r.algebra.new(after)])
    r.set(out, axes, vanishing=r.vanishes(source) and constant and a.get("value") in (0, None))


@rule(
    "roll flip cumsum cumprod cummax sort argsort topk tril triu diagonal diag_embed logcumsumexp "
    "cummin kthvalue msort linalg_cross"
)
def order_matters(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Operators in which the place along some dimensions matters: those are fixed."""
    source = a["self"]
    rank = len(source.shape)
    name = op.func.overloadpacket.__name__
    dims = a.get("dims", a.get("dim"))
    if name in ("tril", "triu"):
        dims = [-1, -2]
    elif name in ("diagonal", "diag_embed") or dims is None or dims == []:
        dims = list(range(rank))
    fixed = {d % rank for d in ([dims] if isinstance(dims, int) else dims)} if rank else set()
    axes = list(r.of(source))
    for d in fixed:
        r.pin(axes[d], f"the order of its indices matters ({name})")
    for out in op.outputs:
        if out is not None:
            kept = [
                axes[d]
                if len(out.shape) == rank and d not in fixed
                else r.fixed([n], f"{name} at {r.where}")[0]
                for d, n in enumerate(out.shape)
            ]
            r.set(out, kept, vanishing=False)


@rule("rot90")
def rot90(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Quarter turns: two dimensions are exchanged or turned round."""
    axes = list(r.of(a["self"]))
    out = op.outputs[0]
    if out is None:
        return
    for d in a["dims"]:
        r.pin(axes[d], "the order of its indices matters (rot90)")
        axes[d] = r.fixed([out.shape[d]], f"rot90 at {r.where}")[0]
    moved(r, op, a["self"], axes)


@rule("unfold unfold_copy")
def unfold(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Windows along one dimension become a last one."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    axes, dim = list(r.of(source)), a["dimension"] % max(len(source.shape), 1)
    r.pin(axes[dim], "the dimension a window slides over")
    axes[dim] = r.fixed([out.shape[dim]], f"windows at {r.where}")[0]
    moved(r, op, source, [*axes, *r.fixed([out.shape[-1]], f"windows at {r.where}")])


@rule("channel_shuffle native_channel_shuffle")
def channel_shuffle(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Channels `g*c` become `c*g`."""
    source, out = a["self"], op.outputs[0]
    axes = list(r.of(source))
    count, inside = r.algebra.split(axes[1], source.shape[1] // a["groups"])
    axes[1] = r.algebra.join([inside, count])
    if out is not None:
        r.counts[out.id] = count
    moved(r, op, source, axes)


@rule("as_strided as_strided_ as_strided_copy")
def as_strided(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The identity where the size stays; anything else is not followed."""
    source, out = a["self"], op.outputs[0]
    if out is not None and tuple(a["size"]) == source.shape and not a.get("storage_offset"):
        if out.id != source.id:
            moved(r, op, source, r.of(source))
        return
    unknown(r, op, a)


@rule("pixel_shuffle pixel_unshuffle")
def pixel_shuffle(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Channels to space: `c*r*r` channels become `c`, or the other way round."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    axes = list(r.of(source))
    upscale = "upscale_factor" in a
    factor = a["upscale_factor"] if upscale else a["downscale_factor"]
    if upscale:
        axes[-3], inside = r.algebra.split(axes[-3], factor**2)
        r.pin(inside, "channels moved to space")
    else:
        axes[-3] = r.algebra.join([axes[-3], single(factor**2)])
    for d in (-2, -1):
        r.pin(axes[d], "space moved from or to channels")
        axes[d] = r.fixed([out.shape[d]], f"space at {r.where}")[0]
    moved(r, op, source, axes)


def unknown(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """An operator without a rule fixes all it touches: never guess."""
    name = str(op.func.overloadpacket)
    r.unknown.append((name, r.where))
    for stub in tensors_in(list(op.args)) + tensors_in(op.kwargs):
        r.pin_tensor(stub, f"operator {name} has no rule")
    for out in op.outputs:
        if out is None:
            continue
        if out.id in r.axes and tuple(axis.length for axis in r.axes[out.id]) != out.shape:
            del r.axes[out.id]  # it was given another shape in place
        if out.id not in r.axes:
            r.set(out, r.fixed(out.shape, f"operator {name} has no rule, at {r.where}"))
