"""Normalisation by the mean and the size of some neurons."""

from __future__ import annotations

import dataclasses
from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import shapes
from naivegraph.operators.movement import Arguments, Dims, Mask
from naivegraph.operators.operator_record import CHANNELS, FEATURES, Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.scaling import Norm
from naivegraph.operators.sources import Choice, aligned, nothing, of_channel_norm, of_layer_norm, of_passing
from naivegraph.operators.zeros import PASSED, Zeros


def _trains(op: Operation, a: Arguments) -> bool:
    """Tell whether the statistics are those of the batch; some operators are for training alone."""
    default = op.func.overloadpacket.__name__.rstrip("_") == "_batch_norm_with_update"
    return bool(a.get("training", default))


def batch_norm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Every channel by its own statistics, over batch and space."""
    source = a["input"]
    axes = list(r.of(source))
    channels = axes[1]
    states = [a.get(name) for name in ("weight", "bias", "running_mean", "running_var")]
    for stub in states:
        if isinstance(stub, Stub):
            r.algebra.unify(channels, r.of(stub)[0])
    own = _trains(op, a) or a.get("running_mean") is None
    for d, axis in enumerate(axes):
        if d != 1 and not r.settled(axis) and own:
            r.couple(axis, "batch statistics")
    r.set(op.outputs[0], axes)
    for out in op.outputs[1:]:
        if out is not None and out.id not in r.axes:
            r.set(out, [channels] if out.shape == (channels.length,) else r.fixed(out.shape, "a by-product"))


def _zero_affine(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """A channel is zero where its scale and shift are, whatever comes in; an image never is."""
    given = [a.get("weight"), a.get("bias")]
    affine = isinstance(given[0], Stub) and all(r.vanishes(s) for s in given if isinstance(s, Stub))
    return all(r.settled(axis) or (affine and d == 1) for d, axis in enumerate(r.of(a["input"])))


def _zero_channels(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """A channel is zero as with any norm, or where it, its running mean and its shift are."""
    mean, bias = a.get("running_mean"), a.get("bias")
    passed = r.vanishes(a["input"]) and isinstance(mean, Stub) and r.vanishes(mean) and not _trains(op, a)
    if not passed or (isinstance(bias, Stub) and not r.vanishes(bias)):
        return _zero_affine(r, op, a)
    return all(r.settled(axis) or d == 1 for d, axis in enumerate(r.of(a["input"])))


def _statistics(a: Arguments) -> tuple[str, ...]:
    """The running statistics, which training updates: the schemas of some batch norms do not say so."""
    return ("running_mean", "running_var") if a["training"] else ()


_BATCH_NORM = Operator(batch_norm, zeros=Zeros(_zero_channels), sources=of_channel_norm, neurons=CHANNELS)
register(
    "native_batch_norm",
    dataclasses.replace(_BATCH_NORM, shapes={"default": shapes.batch_norm}, updates=_statistics),
)
register("cudnn_batch_norm miopen_batch_norm", dataclasses.replace(_BATCH_NORM, updates=_statistics))
register(
    "_native_batch_norm_legit _native_batch_norm_legit_functional _native_batch_norm_legit_no_training "
    "_batch_norm_with_update _batch_norm_no_update batch_norm_elemt batch_norm",
    _BATCH_NORM,
)


def layer_norm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Normalised over the last dimensions."""
    source = a["input"]
    axes = r.of(source)
    last = axes[len(axes) - len(a["normalized_shape"]) :]
    for stub in (a.get("weight"), a.get("bias")):
        if isinstance(stub, Stub):
            for one, two in zip(last, r.of(stub), strict=True):
                r.algebra.unify(one, two)
    for axis in last:
        r.couple(axis, "a layer norm")
    r.set(op.outputs[0], axes)
    for out in op.outputs[1:]:
        if out is not None:
            r.set(out, [*axes[: len(axes) - len(last)], *[single(1)] * len(last)][: len(out.shape)])


def _zero_normalised(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """A neuron is zero where its scale and shift are; what is normalised at a time, where all of it is."""
    source, weight, bias = a["input"], a.get("weight"), a.get("bias")
    shift = isinstance(bias, Stub)
    affine = isinstance(weight, Stub) and all(r.vanishes(s) for s in (weight, bias) if isinstance(s, Stub))
    scaled = "rms" in op.func.overloadpacket.__name__ and r.vanishes(source)
    last = len(source.shape) - len(a["normalized_shape"])
    return all(
        r.settled(axis) or (affine or scaled if d >= last else r.vanishes(source) and not shift)
        for d, axis in enumerate(r.of(source))
    )


_LAYER_NORM = Operator(
    layer_norm,
    zeros=Zeros(_zero_normalised),
    sources=of_layer_norm,
    neurons=FEATURES,
    norm=Norm(centred=True),
)
_RMS_NORM = dataclasses.replace(_LAYER_NORM, norm=Norm(centred=False))
register("native_layer_norm", dataclasses.replace(_LAYER_NORM, shapes={"default": shapes.layer_norm}))
register("layer_norm", _LAYER_NORM)
register("rms_norm", _RMS_NORM)
register("_fused_rms_norm", _RMS_NORM, since="2.8")


def weight_norm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """`v * g / |v|`, with one norm for every index along one dimension."""
    v, g, dim = a["v"], a["g"], a["dim"]
    axes = r.of(v)
    for d, axis in enumerate(axes):
        if d == dim % len(axes):
            r.algebra.unify(axis, r.of(g)[d if len(g.shape) == len(axes) else 0])
            continue
        if len(g.shape) == len(axes):
            r.pin(r.of(g)[d], "one norm for all indices")
        if not r.settled(axis):
            r.couple(axis, "the norm of a weight")
    r.set(op.outputs[0], axes)
    for out in op.outputs[1:]:
        if out is not None:
            r.set(out, r.of(g))


def _zero_weight(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """Zero where both are; a small weight alone is none, for its direction has length 1 all the same."""
    v, along = r.of(a["v"]), a["dim"] % len(a["v"].shape)
    return r.vanishes(a["v"]) and (r.vanishes(a["g"]) or r.settled(v[along]))


def _silenced(a: Arguments, dims: Dims) -> Stub | None:
    """A column of zeros is one of the weight, too, and adds nothing to the norms of the rows."""
    v: Stub = a["v"]
    return None if a["dim"] % len(v.shape) in dims else v


def _of_length(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """A weight is as long as it is said to be: linear in that."""
    whole = len(a["g"].shape) == len(out.shape)
    return (aligned("g") if whole else of_passing(nothing, "g"))(a, op, out, dims, mask)


register(
    "_weight_norm_interface _weight_norm",
    Operator(weight_norm, zeros=Zeros(_zero_weight, silences=_silenced), sources=_of_length),
)


def renorm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Rows along one dimension are made shorter where their norm is too large."""
    source = a["self"]
    axes, dim = r.of(source), a.get("dim", 0) % len(source.shape)
    for d, axis in enumerate(axes):
        if d != dim and not r.settled(axis) and not r.vanishes(source):
            r.couple(axis, "a norm")
        elif d != dim:
            r.measure(axis, "a norm")
    if isinstance(a.get("indices"), Stub):
        r.pin(axes[0], "a table looked up by index")
    r.set(op.outputs[0], axes)


register("renorm embedding_renorm", Operator(renorm, zeros=PASSED))


def group_norm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Channels in groups `g*c`, normalised over c and space."""
    source = a["input"]
    axes = list(r.of(source))
    groups = a.get("group", a.get("num_groups"))
    for stub in (a.get("weight"), a.get("bias")):
        if isinstance(stub, Stub):
            r.algebra.unify(axes[1], r.of(stub)[0])
    count, inside = r.algebra.split(axes[1], source.shape[1] // groups)
    r.couple(inside, "a group norm")
    if op.outputs[0] is not None:
        r.counts[op.outputs[0].id] = count
    for axis in axes[2:]:
        r.couple(axis, "a group norm")
    r.set(op.outputs[0], axes)
    for out in op.outputs[1:]:
        r.set(out, [axes[0], count])


_GROUP_NORM = Operator(
    group_norm, zeros=Zeros(_zero_affine), sources=of_channel_norm, norm=Norm(centred=True)
)
register("native_group_norm", dataclasses.replace(_GROUP_NORM, neurons=CHANNELS))
register("group_norm", _GROUP_NORM)
