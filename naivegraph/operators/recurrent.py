"""Recurrent layers which torch runs as one operator; where it takes them apart the other rules do."""

from __future__ import annotations

from typing import Any

from naivegraph.ir.values import Operation
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.zeros import Zeros


def one_layer(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """One direction of one layer, over all steps: input [t, b, i], weights [4*h, i] and [4*h, h]."""
    source, y = a["input"], op.outputs[0]
    if y is None:
        return
    inputs, hidden = a["weight0"], a["weight1"]
    steps, batch, features = r.of(source)
    rows, columns = r.of(inputs)
    r.algebra.unify(features, columns)
    h = r.of(hidden)[1]
    gates = r.fixed([rows.length // a["hidden_size"]], f"the gates of a recurrent layer, at {r.where}")
    r.algebra.unify(rows, r.algebra.join([*gates, h]))
    for axis in (r.of(hidden)[0], r.of(a["weight2"])[0], r.of(a["weight3"])[0]):
        r.algebra.unify(rows, axis)
    for stub in (a["hx_"], a["cx_"]):
        r.algebra.unify(batch, r.of(stub)[-2])
    for axis in (r.of(a["hx_"])[-1], r.of(a["cx_"])[-1]):
        r.algebra.unify(h, axis)
    r.pin(steps, "the steps of a recurrent layer")
    r.contract([steps, batch, features, rows])
    r.contract([steps, batch, h, rows])
    r.sum_over(features, (inputs, 1), (source, 2))
    r.sum_over(h, (hidden, 1))
    r.set(y, [steps, batch, h])
    for out in op.outputs[1:3]:
        if out is not None:
            r.set(out, [batch, h])
    for out in op.outputs[3:]:
        if out is not None:
            r.set(out, r.fixed(out.shape, "a by-product"))


def _zero_units(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """A unit is zero where its weights, biases and first state are; with biases a sample never is."""
    names = ("weight0", "weight1", "weight2", "weight3", "hx_", "cx_")
    return all(r.vanishes(a[name]) for name in names) and r.settled(r.of(a["input"])[1])


register("mkldnn_rnn_layer", Operator(one_layer, zeros=Zeros(_zero_units, results=3)))
