"""Normalisation and reductions: operators that compute statistics."""

from __future__ import annotations

from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.registry import rule
from naivegraph.operators.relation import Relation, tensors_in


@rule(
    "native_batch_norm _native_batch_norm_legit_no_training _native_batch_norm_legit cudnn_batch_norm "
    "_batch_norm_with_update _batch_norm_no_update miopen_batch_norm batch_norm_elemt "
    "_native_batch_norm_legit_functional batch_norm"
)
def batch_norm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Every channel by its own statistics, over batch and space."""
    source = a["input"]
    axes = list(r.of(source))
    channels = axes[1]
    states = [a.get(name) for name in ("weight", "bias", "running_mean", "running_var")]
    for stub in states:
        if isinstance(stub, Stub):
            r.algebra.unify(channels, r.of(stub)[0])
    for d, axis in enumerate(axes):
        if d != 1 and not r.settled(axis) and (a.get("training") or a.get("running_mean") is None):
            r.couple(axis, "batch statistics")
    affine = all(isinstance(stub, Stub) for stub in states[:2])
    r.set(op.outputs[0], axes, vanishing=affine)
    for out in op.outputs[1:]:
        if out is not None and out.id not in r.axes:
            r.set(out, [channels] if out.shape == (channels.length,) else r.fixed(out.shape, "a by-product"))


@rule("native_layer_norm layer_norm _fused_rms_norm rms_norm")
def layer_norm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Normalised over the last dimensions."""
    source = a["input"]
    axes = r.of(source)
    last = axes[len(axes) - len(a["normalized_shape"]) :]
    vanishing = r.vanishes(source) or isinstance(a.get("weight"), Stub)
    for stub in (a.get("weight"), a.get("bias")):
        if isinstance(stub, Stub):
            vanishing = vanishing and r.vanishes(stub)
            for one, two in zip(last, r.of(stub), strict=True):
                r.algebra.unify(one, two)
    for axis in last:
        r.couple(axis, "a layer norm")
    r.set(op.outputs[0], axes, vanishing=vanishing)
    for out in op.outputs[1:]:
        if out is not None:
            r.set(out, [*axes[: len(axes) - len(last)], *[single(1)] * len(last)][: len(out.shape)])


@rule("_weight_norm_interface _weight_norm")
def weight_norm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """`v * g / |v|`, with one norm for every index along one dimension."""
    v, g, dim = a["v"], a["g"], a["dim"]
    axes = r.of(v)
    for d, axis in enumerate(axes):
        if d == dim % len(axes):
            r.algebra.unify(axis, r.of(g)[d if len(g.shape) == len(axes) else 0])
        elif not r.settled(axis):
            r.couple(axis, "the norm of a weight")
    r.set(op.outputs[0], axes, vanishing=r.vanishes(v))
    for out in op.outputs[1:]:
        if out is not None:
            r.set(out, r.of(g))


@rule("renorm renorm_ embedding_renorm_")
def renorm(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Rows along one dimension are made shorter where their norm is too large."""
    source = a["self"]
    axes, dim = r.of(source), a.get("dim", 0) % len(source.shape)
    for d, axis in enumerate(axes):
        if d != dim and not r.settled(axis) and not r.vanishes(source):
            r.couple(axis, "a norm")
        elif d != dim:
            r.statistics.append((axis, f"a norm at {r.where}"))
    if isinstance(a.get("indices"), Stub):
        r.pin(axes[0], "a table looked up by index")
    r.set(op.outputs[0], axes, vanishing=r.vanishes(source))


@rule("native_group_norm group_norm")
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
    r.set(op.outputs[0], axes, vanishing=isinstance(a.get("weight"), Stub))
    for out in op.outputs[1:]:
        if out is not None:
            r.set(out, r.fixed(out.shape, "a by-product"))


@rule(
    "mean sum amax amin max min var var_mean std std_mean linalg_vector_norm norm logsumexp prod any "
    "all argmax argmin nansum aminmax median count_nonzero"
)
def reduction(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Dimensions summed up in one number each."""
    source = a["self"]
    others = tensors_in(list(op.args))[1:]
    name = op.func.overloadpacket.__name__
    axes = list(r.of(source))
    if others:  # max(a, b) of two tensors is element-wise
        r.set(op.outputs[0], r.broadcast([axes, *[r.of(stub) for stub in others]]))
        return
    dims = a.get("dim")
    chosen = (
        {d % len(axes) for d in ([dims] if isinstance(dims, int) else dims or range(len(axes)))}
        if axes
        else set()
    )
    harmless = name == "sum" and r.vanishes(source)
    for d in chosen:
        if not r.settled(axes[d]) and not harmless:
            r.couple(axes[d], f"a {name}", summed=name == "sum")
        if name == "sum":
            r.sum_over(axes[d], (source, d))
        if name in ("argmax", "argmin"):
            r.pin(axes[d], "the place of a maximum is used")
    keep = bool(a.get("keepdim", False))
    for out in op.outputs:
        if out is not None:
            kept = [
                single(1) if d in chosen else axis for d, axis in enumerate(axes) if keep or d not in chosen
            ]
            r.set(
                out,
                kept[len(kept) - len(out.shape) :],
                vanishing=r.vanishes(source) and name in ("mean", "sum"),
            )


@rule("_softmax softmax _log_softmax log_softmax _safe_softmax glu")
def softmax(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Softmax couples its dimension; a gated unit multiplies one half of it by the other."""
    source, out = a["self"], op.outputs[0]
    axes = list(r.of(source))
    dim = a["dim"] % len(axes)
    if op.func.overloadpacket.__name__ == "glu":
        first, second = r.algebra.cut(axes[dim], axes[dim].length // 2)
        r.algebra.unify(first, second)
        axes[dim] = r.algebra.resolve(first)
        r.set(out, axes, vanishing=r.vanishes(source))
        return
    r.couple(axes[dim], "a softmax")
    r.set(out, axes)
