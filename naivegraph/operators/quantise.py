"""Numbers rounded to those that few bits tell apart, as in quantisation-aware training."""

from __future__ import annotations

from typing import Any

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.zeros import KEPT


def per_channel(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Rounded with a step and a zero for each index of the dimension `axis`."""
    source = a["self"]
    axes = r.of(source)
    _one_each(r, axes, a["axis"], a["scale"], a["zero_point"])
    for out in op.outputs:
        if out is not None:
            r.set(out, axes)


def observed(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Rounded with steps that follow the range of the values: of all, or for each index of a dimension."""
    axes = r.of(a["self"])
    each = a["per_row_fake_quant"]
    numbers = [a[name] for name in ("scale", "zero_point", "running_min", "running_max")]
    for stub in [a["observer_on"], a["fake_quant_on"], *(() if each else numbers)]:
        r.pin_tensor(stub, "one number for all values that are quantised")
    if each:
        _one_each(r, axes, a["ch_axis"], *numbers)
    for dim, axis in enumerate(axes):
        if not (each and dim == a["ch_axis"] % len(axes)) and not r.settled(axis):
            r.couple(axis, "the range of values that are quantised")
    for out in op.outputs:
        if out is not None:
            r.set(out, axes)


def _one_each(r: Relation, axes: list[Any], dim: int, *numbers: Stub) -> None:
    for stub in numbers:
        if stub.shape == (axes[dim].length,):
            r.algebra.unify(axes[dim], r.of(stub)[0])
        else:
            r.pin_tensor(stub, "numbers of what is quantised")


register("fake_quantize_per_channel_affine_cachemask", Operator(per_channel, zeros=KEPT))
register("_fused_moving_avg_obs_fq_helper", Operator(observed, zeros=KEPT))
