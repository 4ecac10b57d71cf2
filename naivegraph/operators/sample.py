"""Operators that slide windows over images, or take patches and single places out of them, and back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.movement import COMPUTED, Arguments, Dims, MoveKind, Movement
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, Rule
from naivegraph.operators.sources import front, leading, of_passing
from naivegraph.operators.zeros import PASSED, passed_if


def _windows(r: Relation, op: Operation, source: Stub, space: int) -> None:
    """Space, the last dimensions, changes its size; what is in front of it passes through."""
    places = len(source.shape) - space
    axes = r.of(source)
    for axis in axes[places:]:
        r.pin(axis, "the dimension a window slides over")
    for out in op.outputs:
        if out is not None:
            kept = [*axes[:places], *r.fixed(out.shape[places:], f"the image's size at {r.where}")]
            r.set(out, kept)


def pool(space: int) -> Rule:
    """Pooling and interpolation over this many dimensions: they change their size, channels pass through."""

    def axes(r: Relation, op: Operation, a: dict[str, Any]) -> None:
        """Relate channels, and fix space."""
        _windows(r, op, a["self"] if "self" in a else a["input"], space)

    return axes


def _pool(space: int) -> Operator:
    return Operator(pool(space), zeros=PASSED, sources=of_passing(front(space)))


def _average(space: int) -> Operator:
    return dataclasses.replace(_pool(space), additive=True)


def _nearest(space: int) -> Operator:
    return Operator(pool(space), zeros=PASSED, movement=COMPUTED)


register("max_pool1d adaptive_max_pool1d", _pool(1))
register("max_pool2d max_pool2d_with_indices mkldnn_max_pool2d adaptive_max_pool2d", _pool(2))
register("max_pool3d max_pool3d_with_indices adaptive_max_pool3d", _pool(3))
register("avg_pool1d adaptive_avg_pool1d upsample_linear1d", _average(1))
register(
    "avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d upsample_bilinear2d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    _average(2),
)
register("avg_pool3d _adaptive_avg_pool3d upsample_trilinear3d", _average(3))
register("upsample_nearest1d _upsample_nearest_exact1d", _nearest(1))
register("upsample_nearest2d _upsample_nearest_exact2d", _nearest(2))
register("upsample_nearest3d _upsample_nearest_exact3d", _nearest(3))


def _samples(a: Arguments, operand: Stub, out: Stub) -> dict[int, int]:
    """The dimensions in front of channels."""
    return {d: d for d in range(len(out.shape) - 3)}


def patches(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """`im2col`: every channel becomes `channel * places of the kernel`; `col2im` is the way back."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    places = math.prod(a["kernel_size"])
    columns = op.func.overloadpacket.__name__ == "im2col"
    space = 2 if columns else 1
    *batch, channels = r.of(source)[: len(source.shape) - space]
    for axis in r.of(source)[len(source.shape) - space :]:
        r.pin(axis, "the dimension a kernel slides over")
    if columns:
        channels = r.algebra.join([channels, single(places)])
    else:
        channels, inside = r.algebra.split(channels, places)
        r.pin(inside, "the places of a kernel")
    sizes = r.fixed(out.shape[len(batch) + 1 :], f"the image's size at {r.where}")
    r.set(out, [*batch, channels, *sizes])


def _patched(a: Arguments, source: Stub, out: Stub, dims: Dims) -> Dims:
    """Channels take their place in the kernel with them, places in the image are one dimension."""
    at = len(source.shape) - 3
    made = {at: {at, at + 1, at + 2}, at + 1: {at + 1, at + 2}}
    return frozenset(s for d in dims for s in made.get(d, {d}))


register(
    "im2col",
    Operator(patches, zeros=PASSED, movement=Movement(MoveKind.COMPUTED, _patched, copies=True)),
)
register("col2im", Operator(patches, zeros=PASSED, sources=of_passing(_samples)))


def grid_sample(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Each sample of the batch is read at the places a grid gives; channels pass through."""
    source, grid = a.get("input", a.get("self")), a["grid"]
    if not isinstance(source, Stub):
        return
    (batch, channels, *space), (other, *places, inside) = r.of(source), r.of(grid)
    r.algebra.unify(batch, other)
    r.pin(inside, "the coordinates of a place")
    for axis in space:
        r.pin(axis, "the dimension a grid reads from")
    r.set(op.outputs[0], [batch, channels, *places])


def _grid_settled(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """Tell whether the grid is fixed, for a place of zero reads something all the same."""
    return all(r.settled(axis) for axis in r.of(a["grid"])[1:])


register(
    "grid_sampler_2d grid_sampler_3d grid_sampler cudnn_grid_sampler _grid_sampler_2d_cpu_fallback",
    Operator(grid_sample, zeros=passed_if(_grid_settled), sources=of_passing(leading(2))),
)


def affine_grid(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A matrix per sample becomes a grid of places."""
    batch, *matrix = r.of(a["theta"])
    for axis in matrix:
        r.pin(axis, "the matrix of a transformation")
    out = op.outputs[0]
    if out is not None:
        r.set(out, [batch, *r.fixed(out.shape[1:], f"a grid of places at {r.where}")])


register("affine_grid_generator", Operator(affine_grid, zeros=PASSED, sources=of_passing(leading(1))))


def unpool(space: int) -> Rule:
    """Maxima go back to where they came from; channels pass through."""

    def axes(r: Relation, op: Operation, a: dict[str, Any]) -> None:
        """Relate channels of values and indices, and fix space."""
        r.broadcast([r.of(a["self"]), r.of(a["indices"])])
        _windows(r, op, a["self"], space)

    return axes


register("max_unpool2d", Operator(unpool(2), zeros=PASSED, sources=of_passing(front(2))))
register("max_unpool3d", Operator(unpool(3), zeros=PASSED, sources=of_passing(front(3))))


def fractional_pool(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Windows begin where random numbers, some for each channel, say."""
    source, samples = a["self"], a["random_samples"]
    axes, drawn = r.of(source), r.of(samples)
    places = len(axes) - len(a["kernel_size"])
    for one, two in zip(axes[:places][::-1], drawn[:-1][::-1], strict=False):
        r.broadcast([[one], [two]])
    r.pin(drawn[-1], "one number for each dimension of a window")
    _windows(r, op, source, len(a["kernel_size"]))


register("fractional_max_pool2d", Operator(fractional_pool, zeros=PASSED, sources=of_passing(front(2))))
register("fractional_max_pool3d", Operator(fractional_pool, zeros=PASSED, sources=of_passing(front(3))))


def pack(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Sequences of unequal length one after the other: [steps, batch, *] becomes [all steps, *]."""
    first, second, *rest = r.of(a["input"])
    r.pin(first, "sequences are packed")
    r.pin(second, "sequences are packed")
    data, sizes = op.outputs
    if data is not None:
        packed = r.fixed(data.shape[:1], f"sequences are packed at {r.where}")
        r.set(data, [*packed, *rest])
    if sizes is not None:
        r.set(sizes, r.fixed(sizes.shape, f"sequences are packed at {r.where}"))


def _unpacked(a: Arguments, operand: Stub, out: Stub) -> dict[int, int]:
    """The dimensions that are neither step nor sample."""
    more = len(operand.shape) - len(out.shape)
    return {d: d + more for d in range(len(out.shape)) if d >= 1 - min(more, 0) and d + more >= 1}


register("_pack_padded_sequence", Operator(pack, zeros=PASSED, sources=of_passing(_unpacked)))


def pad_packed(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The way back from packed sequences."""
    first, *rest = r.of(a["data"])
    r.pin(first, "sequences are packed")
    data, *others = op.outputs
    if data is not None:
        sizes = r.fixed(data.shape[:2], f"sequences are unpacked at {r.where}")
        r.set(data, [*sizes, *rest])
    for out in others:
        if out is not None:
            r.set(out, r.fixed(out.shape, f"sequences are unpacked at {r.where}"))


def _pads_zero(a: Arguments) -> bool:
    return bool(a["padding_value"] == 0)


register(
    "_pad_packed_sequence",
    Operator(
        pad_packed,
        zeros=passed_if(lambda r, op, a: _pads_zero(a)),
        sources=of_passing(_unpacked, when=_pads_zero),
    ),
)
