"""Operators that slide windows over images, or take patches and single places out of them, and back."""

from __future__ import annotations

import math
from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.registry import operators, rule
from naivegraph.operators.relation import Relation

# By number of dimensions that a window slides over, from one on.
_POOLS = (
    "avg_pool1d max_pool1d adaptive_avg_pool1d adaptive_max_pool1d upsample_nearest1d upsample_linear1d "
    "_upsample_nearest_exact1d",
    "avg_pool2d max_pool2d max_pool2d_with_indices mkldnn_max_pool2d adaptive_avg_pool2d "
    "_adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa _upsample_nearest_exact2d",
    "avg_pool3d max_pool3d max_pool3d_with_indices _adaptive_avg_pool3d adaptive_max_pool3d "
    "upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact3d",
)
_UNPOOLS = ("", "max_unpool2d", "max_unpool3d")
_SPACE = {
    packet: space
    for names in (_POOLS, _UNPOOLS)
    for space, of_rank in enumerate(names, 1)
    for packet in operators(of_rank)
}


@rule(" ".join(_POOLS))
def pool(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Pooling and interpolation: space changes its size, channels pass through."""
    source = a.get("self", a.get("input"))
    if source is None:
        return
    _windows(r, op, source, len(source.shape) - _SPACE[op.func.overloadpacket])


def _windows(r: Relation, op: Operation, source: Stub, places: int) -> None:
    """Space, from dimension `places` on, changes its size; what is in front of it passes through."""
    axes = r.of(source)
    for axis in axes[places:]:
        r.pin(axis, "the dimension a window slides over")
    for out in op.outputs:
        if out is not None:
            kept = [*axes[:places], *r.fixed(out.shape[places:], f"the image's size at {r.where}")]
            r.set(out, kept, vanishing=r.vanishes(source))


@rule("im2col col2im")
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
    r.set(out, [*batch, channels, *sizes], vanishing=r.vanishes(source))


@rule("grid_sampler_2d grid_sampler_3d grid_sampler cudnn_grid_sampler _grid_sampler_2d_cpu_fallback")
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
    r.set(op.outputs[0], [batch, channels, *places], vanishing=r.vanishes(source))


@rule("affine_grid_generator")
def affine_grid(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """A matrix per sample becomes a grid of places."""
    batch, *matrix = r.of(a["theta"])
    for axis in matrix:
        r.pin(axis, "the matrix of a transformation")
    out = op.outputs[0]
    if out is not None:
        r.set(out, [batch, *r.fixed(out.shape[1:], f"a grid of places at {r.where}")])


@rule(" ".join(_UNPOOLS))
def unpool(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Maxima go back to where they came from; channels pass through."""
    source = a["self"]
    r.broadcast([r.of(source), r.of(a["indices"])])
    _windows(r, op, source, len(source.shape) - _SPACE[op.func.overloadpacket])


@rule("fractional_max_pool2d fractional_max_pool3d")
def fractional_pool(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Windows begin where random numbers, some for each channel, say."""
    source, samples = a["self"], a["random_samples"]
    axes, drawn = r.of(source), r.of(samples)
    places = len(axes) - len(a["kernel_size"])
    for one, two in zip(axes[:places][::-1], drawn[:-1][::-1], strict=False):
        r.broadcast([[one], [two]])
    r.pin(drawn[-1], "one number for each dimension of a window")
    _windows(r, op, source, places)


@rule("_pack_padded_sequence")
def pack(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Sequences of unequal length one after the other: [steps, batch, *] becomes [all steps, *]."""
    first, second, *rest = r.of(a["input"])
    r.pin(first, "sequences are packed")
    r.pin(second, "sequences are packed")
    data, sizes = op.outputs
    if data is not None:
        packed = r.fixed(data.shape[:1], f"sequences are packed at {r.where}")
        r.set(data, [*packed, *rest], vanishing=r.vanishes(a["input"]))
    if sizes is not None:
        r.set(sizes, r.fixed(sizes.shape, f"sequences are packed at {r.where}"))


@rule("_pad_packed_sequence")
def pad_packed(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The way back from packed sequences."""
    first, *rest = r.of(a["data"])
    r.pin(first, "sequences are packed")
    data, *others = op.outputs
    if data is not None:
        sizes = r.fixed(data.shape[:2], f"sequences are unpacked at {r.where}")
        vanishing = r.vanishes(a["data"]) and a["padding_value"] == 0
        r.set(data, [*sizes, *rest], vanishing=vanishing)
    for out in others:
        if out is not None:
            r.set(out, r.fixed(out.shape, f"sequences are unpacked at {r.where}"))
