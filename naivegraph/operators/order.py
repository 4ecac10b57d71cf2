"""Operators in which the place of an index matters: repeats, turns, sorting, shuffles."""

from __future__ import annotations

from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation
from naivegraph.operators.movement import PLACED, REPEATED
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.unknown import unknown
from naivegraph.operators.zeros import PASSED


def repeat(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Whole dimensions repeated one after the other."""
    source, repeats = a["self"], a["repeats"] if "repeats" in a else a["dims"]
    axes = [single(1)] * (len(repeats) - len(source.shape)) + list(r.of(source))
    r.set(op.outputs[0], [r.algebra.join([single(n), axis]) for n, axis in zip(repeats, axes, strict=True)])


register("repeat", Operator(repeat, zeros=PASSED, movement=REPEATED))
register("tile", Operator(repeat, zeros=PASSED))


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


register("repeat_interleave", Operator(repeat_interleave, zeros=PASSED))


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
            r.set(out, kept)


register("roll flip", Operator(order_matters, movement=PLACED))
register(
    "cumsum cumprod cummax sort argsort topk tril triu diagonal diag_embed logcumsumexp cummin kthvalue "
    "msort linalg_cross",
    Operator(order_matters),
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


register("rot90", Operator(rot90, zeros=PASSED))


def channel_shuffle(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Channels `g*c` become `c*g`."""
    source, out = a["self"], op.outputs[0]
    axes = list(r.of(source))
    count, inside = r.algebra.split(axes[1], source.shape[1] // a["groups"])
    axes[1] = r.algebra.join([inside, count])
    if out is not None:
        r.counts[out.id] = count
    r.set(out, axes)


register("channel_shuffle native_channel_shuffle", Operator(channel_shuffle, zeros=PASSED))


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


register("pixel_shuffle pixel_unshuffle", Operator(pixel_shuffle, zeros=PASSED))
