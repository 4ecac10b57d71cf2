"""Reductions to one number each, softmax and gated units."""

from __future__ import annotations

import math
from typing import Any

from naivegraph.algebra.axis import single
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import shapes
from naivegraph.operators.movement import Arguments, Dims, Mask
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register
from naivegraph.operators.relation import Relation, tensors_in
from naivegraph.operators.scaling import Reduction
from naivegraph.operators.sources import Choice, Sources, all_but, of_passing, together
from naivegraph.operators.zeros import JOINTLY, PASSED, PASSED_ALL, Zeros


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


def _zero_extreme(r: Relation, op: Operation, a: dict[str, Any]) -> bool:
    """Zero where the one tensor is, or both are, element by element."""
    two = isinstance(a.get("other"), Stub)
    return JOINTLY.holds(r, op, a) if two else PASSED.holds(r, op, a)


def _of_extreme(a: Arguments, op: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    sources = together if isinstance(a.get("other"), Stub) else _REDUCED
    return sources(a, op, out, dims, mask)


def _normed(order: str) -> Sources:
    """A norm, but for one that counts."""
    return of_passing(all_but("dim"), when=lambda a: a.get(order) != 0)


_REDUCED = of_passing(all_but("dim"))
_REDUCED_TWICE = of_passing(all_but("dim"), results=2)
register(
    "mean",
    Operator(
        reduction,
        zeros=PASSED,
        sources=_REDUCED,
        shapes={"dim": shapes.mean},
        additive=True,
        reduction=Reduction(1.0, lambda a, n, m: n / m, lambda a, n, m: 1.0),
    ),
)
register(
    "sum",
    Operator(
        reduction,
        zeros=PASSED,
        sources=_REDUCED,
        additive=True,
        reduction=Reduction(1.0, lambda a, n, m: 1.0, lambda a, n, m: m / n),
    ),
)
register("nansum amax amin median", Operator(reduction, zeros=PASSED, sources=_REDUCED))
register("prod", Operator(reduction, zeros=PASSED))


def _no_factor(a: Arguments, n: int, m: int) -> None:
    """The factor is not known."""


def _of_variance(a: Arguments, n: int, m: int) -> float | None:
    """As many squares as before, divided by more."""
    given: Any = a
    fewer = given.get("correction", int(given.get("unbiased", True)))
    fewer = 1 if fewer is None else fewer
    return (n - fewer) / (m - fewer) if n > fewer else None


def _of_deviation(a: Arguments, n: int, m: int) -> float | None:
    factor = _of_variance(a, n, m)
    return None if factor is None else math.sqrt(factor)


_VARIANCE = Reduction(2.0, _no_factor, _of_variance, centred=True)
_DEVIATION = Reduction(1.0, _no_factor, _of_deviation, centred=True)
register("var", Operator(reduction, zeros=PASSED, reduction=_VARIANCE))
register("std", Operator(reduction, zeros=PASSED, sources=_REDUCED, reduction=_DEVIATION))


def _length(order: str) -> Reduction:
    """A norm of vectors, to which zeros add nothing but where they are counted."""

    def of_zeros(a: Arguments, n: int, m: int) -> float | None:
        """The factor where the new entries are zero."""
        given: Any = a
        p = given.get(order, 2)
        return 1.0 if p is None or (isinstance(p, (int, float)) and p > 0) else None

    return Reduction(1.0, of_zeros, _no_factor)


register(
    "linalg_vector_norm",
    Operator(reduction, zeros=PASSED, sources=_normed("ord"), reduction=_length("ord")),
)
register("norm", Operator(reduction, zeros=PASSED, sources=_normed("p"), reduction=_length("p")))
register("max min", Operator(reduction, zeros=Zeros(_zero_extreme), sources=_of_extreme))
register("aminmax std_mean", Operator(reduction, zeros=PASSED_ALL, sources=_REDUCED_TWICE))
register("var_mean", Operator(reduction, zeros=PASSED_ALL))
register("logsumexp any all argmax argmin count_nonzero", Operator(reduction))


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
