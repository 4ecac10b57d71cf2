"""Operators in which the place of an index matters: repeats, turns, sorting, shuffles."""

from __future__ import annotations

from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import PLACED, REPEATED, Arguments, Dims, MoveKind, Movement, same_dims
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.sources import all_but, nothing, of_passing, one_of
from naivegraph.operators.unknown import unknown
from naivegraph.operators.zeros import PASSED, PRODUCT


def repeat(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Whole dimensions repeated one after the other."""
    source, repeats = a["self"], a["repeats"] if "repeats" in a else a["dims"]
    axes = [single(1)] * (len(repeats) - len(source.shape)) + list(r.of(source))
    repeats = [*[1] * (len(axes) - len(repeats)), *repeats]
    r.set(op.outputs[0], [r.algebra.join([single(n), axis]) for n, axis in zip(repeats, axes, strict=True)])


register("repeat tile", Operator(repeat, zeros=PASSED, movement=REPEATED))


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
    r.set(out, axes)


def _along_one(a: Arguments) -> bool:
    return isinstance(a.get("repeats"), int) and a.get("dim") is not None


register(
    "repeat_interleave",
    Operator(
        repeat_interleave,
        zeros=PASSED,
        movement=Movement(MoveKind.REPEATED, same_dims, copies=True, when=_along_one),
    ),
)


def order_matters(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Operators in which the place along some dimensions matters: those are fixed."""
    source = a["self"]
    rank = len(source.shape)
    name = op.func.overloadpacket.__name__
    dims = a.get("dims", a.get("dim"))
    if name in ("diagonal", "diag_embed") or dims is None or dims == []:
        dims = list(range(rank))
    fixed = {d % rank for d in ([dims] if isinstance(dims, int) else dims)} if rank else set()
    axes = list(r.of(source))
    for d in fixed:
        r.pin(axes[d], f"the order of its indices matters ({name})")
    for out in op.outputs:
        if out is not None:
            left = range(rank) if len(out.shape) == rank else [d for d in range(rank) if d not in fixed]
            whole = len(left) == len(out.shape)
            kept = [
                axes[left[place]]
                if whole and left[place] not in fixed
                else r.fixed([n], f"{name} at {r.where}")[0]
                for place, n in enumerate(out.shape)
            ]
            r.set(out, kept)


def _rolled(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """All dimensions are rolled as one if none is named: a step along one carries over to those before it."""
    return dims if a["dims"] or not dims else frozenset(range(max(dims) + 1))


register("flip", Operator(order_matters, zeros=PASSED, movement=PLACED))
register(
    "roll",
    Operator(order_matters, zeros=PASSED, movement=Movement(MoveKind.PLACED, _rolled, copies=True)),
)


def triangle(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Zeros below or above a diagonal.

    On the main diagonal or next to it, the triangle of some rows and the same columns is that of the whole,
    for they stay in order; further away the distances between them matter.
    """
    axes = list(r.of(a["self"]))
    upper = op.func.overloadpacket.__name__.startswith("triu")
    rows, columns = axes[-2:]
    if rows.length == columns.length and a.get("diagonal", 0) in ((0, 1) if upper else (0, -1)):
        r.algebra.unify(rows, columns)
        r.ordered.append((rows, f"{'triu' if upper else 'tril'} at {r.where}"))
    else:
        for axis in (rows, columns):
            r.pin(axis, f"the order of its indices matters ({'triu' if upper else 'tril'})")
    r.set(op.outputs[0], axes)


register("tril triu", Operator(triangle, zeros=PASSED, movement=PLACED))
register(
    "cumsum cummax cummin sort topk kthvalue",
    Operator(order_matters, zeros=PASSED, sources=of_passing(all_but("dim"))),
)
register("msort", Operator(order_matters, zeros=PASSED, sources=of_passing(nothing)))
register("cumprod", Operator(order_matters, zeros=PASSED))


def _from_diagonal(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """The last dimension is made of two."""
    two = [a[name] % len(source.shape) for name in ("dim1", "dim2")]
    left = [d for d in range(len(source.shape)) if d not in two]
    return frozenset(s for d in dims for s in ([left[d]] if d < len(left) else two))


def _to_diagonal(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Two dimensions are made of the last one."""
    two = [a[name] % len(out.shape) for name in ("dim1", "dim2")]
    left = [d for d in range(len(out.shape)) if d not in two]
    return frozenset(len(left) if d in two else left.index(d) for d in dims)


register(
    "diagonal",
    Operator(order_matters, zeros=PASSED, movement=Movement(MoveKind.PLACED, _from_diagonal)),
)
register(
    "diag_embed",
    Operator(order_matters, zeros=PASSED, movement=Movement(MoveKind.PLACED, _to_diagonal, copies=True)),
)
register("argsort logcumsumexp", Operator(order_matters))


def cross_product(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Products of vectors of three numbers, which lie along one dimension."""
    axes = r.broadcast([r.of(a["self"]), r.of(a["other"])])
    r.pin(axes[a["dim"]], "the three numbers of a vector")
    r.set(op.outputs[0], axes)


register(
    "linalg_cross",
    Operator(
        cross_product,
        zeros=PRODUCT,
        sources=one_of(of_passing(all_but("dim"), "self"), of_passing(all_but("dim"), "other")),
    ),
)


def rot90(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Quarter turns: two dimensions are exchanged or turned round."""
    axes = list(r.of(a["self"]))
    out = op.outputs[0]
    if out is None:
        return
    for d in a["dims"]:
        r.pin(axes[d], "the order of its indices matters (rot90)")
        axes[d] = r.fixed([out.shape[d]], f"rot90 at {r.where}")[0]
    r.set(out, axes)


def _turned_back(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Odd numbers of quarter turns exchange two dimensions."""
    one, two = (d % len(source.shape) for d in a["dims"])
    swap = {one: two, two: one} if a["k"] % 2 else {}
    return frozenset(swap.get(d, d) for d in dims)


register(
    "rot90",
    Operator(rot90, zeros=PASSED, movement=Movement(MoveKind.PLACED, _turned_back, copies=True)),
)


def channel_shuffle(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Channels `g*c` become `c*g`."""
    source, out = a["self"], op.outputs[0]
    axes = list(r.of(source))
    count, inside = r.algebra.split(axes[1], source.shape[1] // a["groups"])
    axes[1] = r.algebra.join([inside, count])
    if out is not None:
        r.counts[out.id] = count
    r.set(out, axes)


register("channel_shuffle native_channel_shuffle", Operator(channel_shuffle, zeros=PASSED, movement=PLACED))


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
    r.set(out, axes)


def _shuffled_back(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Space is made of space and channels, or channels of both."""
    c, h, w = range(len(out.shape) - 3, len(out.shape))
    made = {h: {c, h}, w: {c, w}} if "upscale_factor" in a else {c: {c, h, w}}
    return frozenset(s for d in dims for s in made.get(d, {d}))


register(
    "pixel_shuffle pixel_unshuffle",
    Operator(pixel_shuffle, zeros=PASSED, movement=Movement(MoveKind.PLACED, _shuffled_back, copies=True)),
)
