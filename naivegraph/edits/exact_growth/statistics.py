"""Factors by which norms and reductions change where a width grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.edits.exact_growth.decisions import ScaledNumber
from naivegraph.edits.exact_growth.tensor_state import MEAN, ZERO
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.scaling import Norm, Reduction

if TYPE_CHECKING:
    from naivegraph.edits.exact_growth.flow import Flow

__all__ = ["norm_factor", "reduced", "reduction_factor"]


def norm_factor(
    flow: Flow,
    norm: Norm,
    named: dict[str, Any],
    axes: Sequence[Axis],
    grown: Sequence[tuple[Axis, str]],
) -> float | None:
    """The factor of what a norm gives.

    The squares add up as before, as new entries differ from the mean by nothing, and are divided by m instead
    of n entries: their mean is n / m of what it was, so that the result is sqrt(m / n) times as large.

    Args:
        flow: The run.
        norm: The kind of norm.
        named: Its arguments by name.
        axes: The axes of all entries that are normalised together.
        grown: Those of them that grow, with the statistic's name.
    """
    source = named["input"]
    scale, failed = flow.state(source).scale, False
    for axis, text in grown:
        for atom in dict.fromkeys(axis.atoms()):
            if atom in flow.growing:
                problem = _problem(flow, source, axes, axis, atom, norm.centred)
                failed = failed or problem is not None
                if problem is not None:
                    flow.fail(atom, f"it enters {text}, {problem}")
    if failed:  # then none of them is taken back
        for axis, text in grown:
            for atom in axis.atoms():
                flow.fail(atom, f"it enters {text} together with others")
    before, after = (
        math.prod(each) for each in ([a.length for a in axes], [a.size(flow.count) for a in axes])
    )
    ratio = 1.0 if failed else before / after
    eps = named.get("eps")
    if scale**2 * ratio != 1 and eps and flow.where is not None:
        flow.numbers.append(ScaledNumber(flow.where, float(eps), scale**2 * ratio))
    weight, bias = named.get("weight"), named.get("bias")
    total = math.sqrt(1 / ratio)
    if isinstance(weight, Stub):
        total *= flow.state(weight).scale
        if not math.isclose(total, 1.0, rel_tol=1e-9) and flow.absorb(weight, total):
            total = 1.0
    if isinstance(bias, Stub) and not math.isclose(flow.state(bias).scale, total, rel_tol=1e-9):
        return None
    return total


def _problem(
    flow: Flow, source: Stub, axes: Sequence[Axis], axis: Axis, atom: Atom, centred: bool
) -> str | None:
    """The reason why the squares do not add up as before; None if they do."""
    if any(each in flow.shrinking for a in axes for each in a.atoms()):
        return "from which other neurons go"
    if not centred:
        return None if flow.is_zero(source, atom) else _why(flow, source, atom, "zero")
    if axis.terms != ((atom,),) or any(a.length != 1 for a in axes if a is not axis):
        return (
            "which is taken of more than one width or of all places of an image, where new entries that are "
            "the mean of the others at each place would change it"
        )
    dims = [dim for dim, other in flow.along(source) if other is atom]
    if len(dims) == 1 and flow.entries(source, dims[0], atom) == MEAN:
        return None
    return _why(flow, source, atom, "the mean of the others")


def _why(flow: Flow, source: Stub, atom: Atom, wanted: str) -> str:
    reason = flow.state(source).why.get(atom)
    return f"whose new entries would have to be {wanted}" + (f", but {reason}" if reason else "")


def reduction_factor(
    flow: Flow, reduction: Reduction, named: dict[str, Any], axes: Sequence[Axis], text: str
) -> float | None:
    """The factor of what a reduction gives.

    Args:
        flow: The run.
        reduction: The kind of reduction.
        named: Its arguments by name.
        axes: The axes that it sums over.
        text: Its name, for messages.
    """
    source = named["self"]
    factor = float(flow.state(source).scale ** reduction.degree)
    growing = [atom for axis in axes for atom in dict.fromkeys(axis.atoms()) if atom in flow.growing]
    if not growing:
        return factor
    before, after = (
        math.prod(each) for each in ([a.length for a in axes], [a.size(flow.count) for a in axes])
    )
    kinds = {_kind(flow, source, atom) for atom in growing}
    found: float | None = None
    if kinds == {ZERO}:
        found = reduction.of_zeros(named, before, after)
    elif kinds == {MEAN} and all(len(axis.terms) == 1 for axis in axes):
        alone = len(axes) == 1 and axes[0].terms == ((growing[0],),)
        found = reduction.of_means(named, before, after) if alone or not reduction.centred else None
    if found is None or any(atom in flow.shrinking for axis in axes for atom in axis.atoms()):
        for atom in growing:
            flow.fail(atom, f"it enters {text}, {_why(flow, source, atom, 'zero or the mean of the others')}")
        return factor
    return factor * found


def _kind(flow: Flow, source: Stub, atom: Atom) -> object:
    dims = [dim for dim, other in flow.along(source) if other is atom]
    return flow.entries(source, dims[0], atom) if len(dims) == 1 else None


def reduced(flow: Flow, operation: Operation, named: dict[str, Any]) -> list[Axis]:
    """The axes that a reduction sums over."""
    axes, dims = flow.widths.of(operation.operands[0]), named.get("dim")
    chosen = [dims] if isinstance(dims, int) else dims or range(len(axes))
    return [axes[d % len(axes)] for d in chosen]
