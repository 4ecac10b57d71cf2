"""Reductions to one number each, softmax and gated units."""

from __future__ import annotations

from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation
from naivegraph.operators import shapes
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, tensors_in
from naivegraph.operators.zeros import PASSED


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
            r.set(out, kept[len(kept) - len(out.shape) :])


register("mean", Operator(reduction, zeros=PASSED, shapes={"dim": shapes.mean}))
register("sum", Operator(reduction, zeros=PASSED))
register(
    "amax amin max min var var_mean std std_mean linalg_vector_norm norm logsumexp prod any all argmax "
    "argmin nansum aminmax median count_nonzero",
    Operator(reduction),
)


def softmax(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Every neuron of one dimension enters the sum that the others are divided by."""
    axes = r.of(a["self"])
    r.couple(axes[a["dim"] % len(axes)], "a softmax")
    r.set(op.outputs[0], axes)


register("_softmax softmax _log_softmax log_softmax _safe_softmax", Operator(softmax))


def gated_unit(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """One half of a dimension multiplied by the sigmoid of the other."""
    axes = list(r.of(a["self"]))
    dim = a["dim"] % len(axes)
    first, second = r.algebra.cut(axes[dim], axes[dim].length // 2)
    r.algebra.unify(first, second)
    axes[dim] = r.algebra.resolve(first)
    r.set(op.outputs[0], axes)


register("glu", Operator(gated_unit, zeros=PASSED))
