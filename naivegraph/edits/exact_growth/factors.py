"""Factors of the old entries of an operator's result."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from naivegraph.algebra.axis import Atom
from naivegraph.edits.exact_growth.decisions import ScaledNumber
from naivegraph.edits.exact_growth.roles import matrices
from naivegraph.edits.exact_growth.statistics import norm_factor, reduced, reduction_factor
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.sources import each_of, of_convolution, of_matrices

if TYPE_CHECKING:
    from naivegraph.edits.exact_growth.flow import Flow

__all__ = ["factor_of"]

Named = dict[str, Any]


def factor_of(
    flow: Flow, operation: Operation, record: Operator, named: Named
) -> tuple[float, frozenset[Atom]]:
    """The factor of the old entries of an operator's first result, with the widths that caused it."""
    cause = frozenset[Atom]().union(*(flow.state(stub).cause for stub in operation.operands))
    measured = flow.measured.get(id(operation), [])
    grown = [(axis, text) for axis, text in measured if not flow.growing.isdisjoint(axis.atoms())]
    summed = reduced(flow, operation, named) if record.reduction is not None else []
    axes = [*(axis for axis, _ in grown), *summed]
    cause |= {atom for axis in axes for atom in axis.atoms() if atom in flow.growing}
    flow.cause = cause
    if record.norm is not None:
        factor = norm_factor(flow, record.norm, named, [axis for axis, _ in measured], grown)
    elif record.reduction is not None and len(operation.operands) == 1:
        text = grown[0][1] if grown else f"a reduction at {flow.place}"
        factor = reduction_factor(flow, record.reduction, named, summed, text)
    else:
        for axis, text in grown:
            for atom in axis.atoms():
                flow.fail(atom, f"it enters {text}")
        factor = _passed_on(flow, operation, record, named)
    if factor is None:
        name = operation.func.overloadpacket.__name__
        for atom in cause:
            flow.fail(atom, f"{name} at {flow.place} takes values that would be larger by a factor")
        return 1.0, frozenset()
    if math.isclose(factor, 1.0, rel_tol=1e-9):
        return 1.0, frozenset()
    return factor, cause


def _passed_on(flow: Flow, operation: Operation, record: Operator, named: Named) -> float | None:
    """The factor of a result whose operator computes no statistic of a growing width."""
    found = {stub.id: flow.state(stub).scale for stub in operation.operands}
    scaled = {number: scale for number, scale in found.items() if scale != 1}
    if not scaled:
        return 1.0
    if movement_of(operation) is not None:
        return _together(flow, operation.operands)
    if record.sources is of_matrices:
        pair = matrices(named)
        given = named["self"]
        added = None if given in pair or named.get("beta", 1) == 0 else given
        return _product(flow, pair, added)
    if record.sources is of_convolution:
        bias = named.get("bias")
        source = named["input"] if "input" in named else named["self"]
        return _product(flow, (named["weight"], source), bias if isinstance(bias, Stub) else None)
    if record.degrees is not None:
        return _by_degrees(flow, record, named, scaled)
    if record.additive or record.sources is not None:
        return _homogeneous(flow, operation, record, named, scaled)
    return None


def _together(flow: Flow, stubs: Iterable[Stub]) -> float | None:
    """The factor that all these tensors have; None if they differ."""
    first, *others = (flow.state(stub).scale for stub in stubs)
    return first if all(math.isclose(first, each, rel_tol=1e-9) for each in others) else None


def _product(flow: Flow, factors: tuple[Stub, ...], added: Stub | None = None) -> float | None:
    """The factor of a product, which a parameter among the factors takes back if it can."""
    total = math.prod(flow.state(stub).scale for stub in factors)
    if not math.isclose(total, 1.0, rel_tol=1e-9) and any(flow.absorb(stub, total) for stub in factors):
        total = 1.0
    if added is not None and not math.isclose(flow.state(added).scale, total, rel_tol=1e-9):
        return None
    return total


def _by_degrees(flow: Flow, record: Operator, named: Named, scaled: dict[int, float]) -> float | None:
    """The factor of a result that scales in a known degree with each operand."""
    degrees = record.degrees(named) if record.degrees is not None else {}
    given = [(stub, degree) for name, degree in degrees.items() if isinstance(stub := named.get(name), Stub)]
    if not {stub.id for stub, _ in given} >= scaled.keys():
        return None
    if record.sources is each_of:
        return _product(flow, tuple(stub for stub, _ in given))
    total = float(math.prod(flow.state(stub).scale ** degree for stub, degree in given))
    linear = [stub for stub, degree in given if degree == 1 and len(given) > 1]
    if not math.isclose(total, 1.0, rel_tol=1e-9) and any(flow.absorb(stub, total) for stub in linear):
        return 1.0
    return total


def _homogeneous(
    flow: Flow, operation: Operation, record: Operator, named: Named, scaled: dict[int, float]
) -> float | None:
    """The factor of a result that scales with some operands together, or with one and a number."""
    out = operation.outputs[0]
    if out is None:
        return None
    every = frozenset(range(len(out.shape)))
    for choice in record.sources(named, operation, out, every, None) if record.sources else []:
        if {part.stub.id for part in choice} >= scaled.keys():
            return _together(flow, [part.stub for part in choice])
    numbers = [value for name in ("other", "min", "max") if isinstance(value := named.get(name), float)]
    if len(operation.operands) != 1 or not numbers or flow.where is None:
        return None
    scale = next(iter(scaled.values()))
    flow.numbers += [ScaledNumber(flow.where, value, scale) for value in numbers if value]
    return scale
