"""Losses, and distances between rows."""

from __future__ import annotations

from typing import Any

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, tensors_in
from naivegraph.operators.sources import nothing, of_passing
from naivegraph.operators.zeros import jointly_if


def elementwise_loss(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Element by element, and then summed or averaged over all unless `reduction` says none (0)."""
    operands = tensors_in(list(op.args)) + tensors_in(op.kwargs)
    axes = r.broadcast([r.of(stub) for stub in operands])
    if a["reduction"] == 0:
        r.set(op.outputs[0], axes)
        return
    for axis in axes:
        if not r.settled(axis):
            r.couple(axis, "a loss")
    r.set(op.outputs[0], [])


def _each(a: dict[str, Any]) -> bool:
    """Tell whether the losses are given one by one."""
    return bool(a["reduction"] == 0)


register("mse_loss smooth_l1_loss huber_loss", Operator(elementwise_loss, zeros=jointly_if(_each)))
register(
    "binary_cross_entropy binary_cross_entropy_with_logits soft_margin_loss",
    Operator(elementwise_loss),
)


def indexed_loss(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The target says which index of the classes counts, so they are fixed."""
    source = a["self"]
    batch, classes = (0, 1) if len(source.shape) > 1 else (None, 0)
    axes = r.of(source)
    for stub in (a.get("target"), a.get("weight")):
        if isinstance(stub, Stub):
            r.pin_tensor(stub, "classes are looked up by index")
    for d, axis in enumerate(axes):
        if d == classes or (d != batch and not r.settled(axis)):
            r.pin(axis, "classes are looked up by index")
        elif not r.settled(axis) and a["reduction"] != 0:
            r.couple(axis, "a loss")
    for position, out in enumerate(op.outputs):
        if out is not None:
            whole = position == 0 and a["reduction"] == 0 and batch is not None
            rest = r.fixed(out.shape[1:] if whole else out.shape, f"a loss at {r.where}")
            r.set(out, [axes[0], *rest] if whole else rest)


register(
    "nll_loss_forward nll_loss2d_forward nll_loss nll_loss2d",
    Operator(indexed_loss, sources=of_passing(nothing, "self")),
)
register("multi_margin_loss multilabel_margin_loss_forward", Operator(indexed_loss))


def distances(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Between every row of one [*, p, m] and every row of the other [*, r, m]: [*, p, r]."""
    one, two = a["x1"], a["x2"]
    (*batch, p, m), (*other, q, n) = r.of(one), r.of(two)
    r.algebra.unify(m, n)
    if r.vanishes(one) and r.vanishes(two):
        r.measure(m, "a distance")
    elif not r.settled(m):
        r.couple(m, "a distance")
    r.set(op.outputs[0], [*r.broadcast([batch, other]), p, q])


register("_cdist_forward _euclidean_dist cdist", Operator(distances, sources=of_passing(nothing, "x1", "x2")))


def pairwise_distances(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Between all pairs of rows [p, m]."""
    rows, columns = r.of(a["self"])
    r.pin(rows, "all pairs are counted")
    if not r.settled(columns):
        r.couple(columns, "a distance")
    out = op.outputs[0]
    if out is not None:
        r.set(out, r.fixed(out.shape, f"all pairs are counted at {r.where}"))


register("_pdist_forward pdist", Operator(pairwise_distances, sources=of_passing(nothing)))
