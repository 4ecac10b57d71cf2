"""Tensors made of parts, and parts of tensors: concatenation, stacks, runs of indices, padding."""

from __future__ import annotations

import dataclasses
from typing import Any

from naivegraph.ir.values import Operation
from naivegraph.operators import shapes
from naivegraph.operators.movement import COMPUTED, CUT, PICKED, PLACED, STACKED, Arguments
from naivegraph.operators.operator_record import Operator, Role
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, tensors_in
from naivegraph.operators.zeros import PASSED, PASSED_ALL, of_all, passed_if


def concatenate(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Tensors one after the other along a dimension."""
    given = tensors_in(a["tensors"])
    parts = [stub for stub in given if stub.shape != (0,)] or given[:1]
    rank = len(parts[0].shape)
    dim = a["dim"] % rank
    axes = [r.of(stub) for stub in parts]
    out = [
        r.algebra.concatenate([x[d] for x in axes]) if d == dim else r.equal([[x[d]] for x in axes])[0]
        for d in range(rank)
    ]
    r.set(op.outputs[0], out)


register(
    "cat concat concatenate",
    Operator(
        concatenate,
        zeros=of_all("tensors"),
        movement=PLACED,
        shapes={"default": shapes.cat},
        role=Role.CONCATENATION,
    ),
)


def stack(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Tensors along a new dimension, whose length is the code's."""
    parts = tensors_in(a["tensors"])
    axes = r.equal([r.of(stub) for stub in parts])
    axes.insert(a["dim"] % (len(axes) + 1), r.fixed([len(parts)], "the parts of a stack")[0])
    r.set(op.outputs[0], axes)


register("stack", Operator(stack, zeros=of_all("tensors"), movement=STACKED))


def split(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Consecutive parts along a dimension."""
    source = a["self"]
    axes, dim = r.of(source), a["dim"] % len(source.shape)
    rest = axes[dim]
    for out in op.outputs:
        if out is not None:
            part, rest = r.algebra.cut(rest, out.shape[dim])
            r.set(out, [part if d == dim else axis for d, axis in enumerate(axes)])


register(
    "split split_with_sizes chunk tensor_split unsafe_split unsafe_split_with_sizes unsafe_chunk",
    Operator(split, zeros=PASSED_ALL, movement=CUT),
)
register(
    "split_copy split_with_sizes_copy",
    Operator(split, zeros=PASSED_ALL, movement=dataclasses.replace(CUT, copies=True)),
)


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
    r.set(out, axes)


register("slice", Operator(slice_, zeros=PASSED, movement=CUT))


def select(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """One index of a dimension, or each of them: that dimension is then the code's."""
    source = a["self"]
    axes, dim = list(r.of(source)), a["dim"] % len(source.shape)
    r.pin(axes.pop(dim), "single indices are taken")
    for out in op.outputs:
        if out is not None:
            r.set(out, axes)


register("select unbind", Operator(select, zeros=PASSED_ALL, movement=PICKED))


def constant_pad(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Constants added before and after: neurons of their own."""
    source, out, amounts = a["self"], op.outputs[0], a["pad"]
    if out is None:
        return
    axes = list(r.of(source))
    for dim, before, after in _sides(len(axes), amounts):
        if min(before, after) < 0:
            r.pin(axes[dim], "cropped")
            axes[dim] = r.fixed([out.shape[dim]], f"padded at {r.where}")[0]
        else:
            axes[dim] = r.algebra.concatenate([r.algebra.new(before), axes[dim], r.algebra.new(after)])
    r.set(out, axes)


def _sides(rank: int, amounts: list[int]) -> list[tuple[int, int, int]]:
    """The dimensions that are padded, with how much before and after; the list counts from the last one."""
    pairs = enumerate(zip(amounts[::2], amounts[1::2], strict=True))
    return [(rank - 1 - index, before, after) for index, (before, after) in pairs if before or after]


def _pads_zero(a: Arguments) -> bool:
    return a.get("value") in (0, None)


register(
    "constant_pad_nd",
    Operator(
        constant_pad,
        zeros=passed_if(lambda r, op, a: _pads_zero(a)),
        movement=dataclasses.replace(PLACED, when=_pads_zero),
    ),
)


def pad(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A tensor's own values added before and after: what is padded is fixed."""
    source, out, amounts = a["self"], op.outputs[0], a.get("pad", a.get("padding"))
    if out is None or amounts is None:
        return
    axes = list(r.of(source))
    for dim, _, _ in _sides(len(axes), amounts):
        r.pin(axes[dim], "padded by its own values")
        axes[dim] = r.fixed([out.shape[dim]], f"padded at {r.where}")[0]
    r.set(out, axes)


register(
    "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
    "replication_pad3d",
    Operator(pad, zeros=PASSED, movement=COMPUTED),
)


def _pads_own_or_zero(a: Arguments) -> bool:
    return a["mode"] != "constant" or _pads_zero(a)


register(
    "pad",
    Operator(
        pad,
        zeros=passed_if(lambda r, op, a: _pads_own_or_zero(a)),
        movement=dataclasses.replace(COMPUTED, when=_pads_own_or_zero),
    ),
)
