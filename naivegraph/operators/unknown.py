"""The rule for operators without a record."""

from __future__ import annotations

from typing import Any

from naivegraph.ir.values import Operation
from naivegraph.operators.relation import Relation, tensors_in

__all__ = ["unknown"]


def unknown(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Fix every axis that the operator touches, as guessing would make wrong networks."""
    name = str(op.func.overloadpacket)
    r.unknown.append((name, r.where))
    for stub in tensors_in(list(op.args)) + tensors_in(op.kwargs):
        r.pin_tensor(stub, f"operator {name} has no rule (naivegraph.extend.register_operator states one)")
    for out in op.outputs:
        if out is None:
            continue
        if out.id in r.axes and tuple(axis.length for axis in r.axes[out.id]) != out.shape:
            del r.axes[out.id]  # it was given another shape in place
        if out.id not in r.axes:
            r.set(out, r.fixed(out.shape, f"operator {name} has no rule, at {r.where}"))
