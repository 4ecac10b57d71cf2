"""Fourier transforms and complex numbers."""

from __future__ import annotations

from typing import Any

from naivegraph.ir.values import Operation
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation
from naivegraph.operators.sources import all_but, front, of_passing
from naivegraph.operators.zeros import PASSED


def fourier(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Every frequency is a sum over all indices: transformed dimensions are fixed, others pass through."""
    source, out = a["self"], op.outputs[0]
    if out is None:
        return
    axes = list(r.of(source))
    for d in a["dim"]:
        r.pin(axes[d], "a Fourier transform runs over it")
        axes[d] = r.fixed([out.shape[d]], f"a Fourier transform at {r.where}")[0]
    r.set(out, axes)


register("_fft_r2c _fft_c2r _fft_c2c", Operator(fourier, zeros=PASSED, sources=of_passing(all_but("dim"))))


def view_as_complex(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """The last dimension, of two, holds real and imaginary parts."""
    *axes, parts = r.of(a["self"])
    r.pin(parts, "real and imaginary parts")
    r.set(op.outputs[0], axes)


register(
    "view_as_complex view_as_complex_copy",
    Operator(view_as_complex, zeros=PASSED, sources=of_passing(front(0))),
)


def view_as_real(r: Relation, op: Operation, a: dict[str, Any]) -> None:
    """Real and imaginary parts along a last dimension of two."""
    parts = r.fixed([2], "real and imaginary parts")
    r.set(op.outputs[0], [*r.of(a["self"]), *parts])


register("view_as_real view_as_real_copy", Operator(view_as_real, zeros=PASSED, sources=of_passing(front(1))))
