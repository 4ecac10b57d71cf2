"""Constraints on sizes under which the network's own `forward` runs after an edit, and those of custom rules.

The code computes sizes by itself: it reads attributes, passes numbers to functions, compares. Each such use
becomes an equation or inequality between polynomials in widths. A program takes linear ones only, so products
are made linear by fixing the smallest of the widths multiplied.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
import torch.nn.functional as F

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.graph import Vertex
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.source_lines import line_text
from naivegraph.ir.values import Attribute, Comparison, DimSize, Expression, State, Stub
from naivegraph.operators.constraints import RequiredNeurons, WidthConstraint
from naivegraph.operators.relation import DefaultScale
from naivegraph.widths.code.constraint_kinds import (
    CodeConstraint,
    EqualSizes,
    FixedValue,
    LongestAxis,
    OpaqueAxis,
    SizeArgument,
    SmallerAxis,
)
from naivegraph.widths.code.custom_constraints import custom_constraints_of
from naivegraph.widths.code.function_sizes import place_of_vertex, sizes_of, value_of
from naivegraph.widths.code.layer_sizes import unread_sizes
from naivegraph.widths.code.size_solver import Equation, SizeSolver, len_of
from naivegraph.widths.provenance.provenance import ParameterEntries, Provenance, Untraceable
from naivegraph.widths.widths import Widths

__all__ = ["Rescaled", "SizeConstraints", "constraints_of"]


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """Weights to multiply by the square root of the ratio by which the size of `axis`, a head size, changes.

    Attributes:
        axis: The axis of the neurons of one head.
        entries: The entries of parameters to multiply.
    """

    axis: Axis
    entries: tuple[ParameterEntries, ...]


@dataclasses.dataclass
class SizeConstraints:
    """The constraints that the code and custom rules impose, and the sizes of the code's attributes.

    Attributes:
        attributes: The size that each integer attribute stands for.
        width_constraints: Linear constraints on sizes, and multiples.
        fixed: Atoms that must keep their size, with the reason.
        widths: The widths they are about.
        rescales: Weights of attentions whose scale depends on the head size.
        read: All integer attributes that the code used.
        must_stay: Neurons that must stay if their width changes.
        must_go: Neurons that must go if their width changes.
    """

    attributes: dict[Attribute, Polynomial]
    width_constraints: list[WidthConstraint]
    fixed: dict[Atom, str]
    widths: Widths
    rescales: list[Rescaled] = dataclasses.field(default_factory=list)
    read: set[Attribute] = dataclasses.field(default_factory=set)
    must_stay: dict[Atom, list[RequiredNeurons]] = dataclasses.field(default_factory=dict)
    must_go: dict[Atom, list[RequiredNeurons]] = dataclasses.field(default_factory=dict)
    _products: list[WidthConstraint] = dataclasses.field(default_factory=list)
    _seen: set[object] = dataclasses.field(default_factory=set)

    def _is_fixed(self, atom: Atom) -> bool:
        """Tell whether an atom keeps its size."""
        return atom in self.fixed or atom not in self.widths.by_atom

    def add(self, polynomial: Polynomial, reason: str) -> None:
        """Require that a polynomial, zero now, stays zero."""
        left = polynomial.with_constants(self._is_fixed).reduced()
        free = list(left.atoms())
        if len(free) == 1:
            self.fixed.setdefault(free[0], reason)
        elif free and _either_sign(left) not in self._seen:
            self._seen.add(_either_sign(left))
            (self.width_constraints if left.degree == 1 else self._products).append(
                WidthConstraint(left, reason)
            )

    def bound(self, polynomial: Polynomial, least: int, reason: str) -> None:
        """Require that a polynomial, at least `least` now, stays so."""
        left = polynomial.with_constants(self._is_fixed)
        factors = [factor for atoms, factor in left.terms.items() if atoms]
        # Every size is at least 1: one of a sum's terms is.
        sure = min(factors, default=0) > 0 and left.terms.get((), 0) + min(factors) >= least
        key = (frozenset(left.terms.items()), least)
        if factors and not sure and key not in self._seen:
            self._seen.add(key)
            (self.width_constraints if left.degree == 1 else self._products).append(
                WidthConstraint(left, reason, least, None)
            )

    def settle(self) -> None:
        """Make all constraints linear: in a product of sizes, the smallest are fixed.

        That comes last, as widths that are fixed for other reasons may leave no product.
        """
        self._spread()
        products, self._products = self._products, []
        products.sort(key=lambda row: row.polynomial.with_constants(self._is_fixed).degree)
        for row in products:
            reason = f"{row.reason}; of the sizes multiplied there, the smallest stays"
            left = self.linear(row.polynomial, reason)
            if row.high is None and row.low is not None:
                self.bound(left, row.low, row.reason)
            else:
                self.add(left, row.reason)
        self._spread()

    def _spread(self) -> None:
        """Fix the last width of each equation whose other widths are all fixed, until none is left."""
        before = -1
        while before != len(self.fixed):
            before = len(self.fixed)
            for row in self.width_constraints:
                free = [atom for atom in row.polynomial.atoms() if not self._is_fixed(atom)]
                if len(free) == 1 and row.high is not None:
                    self.fixed[free[0]] = row.reason
        self.width_constraints = [
            row for row in self.width_constraints if not all(map(self._is_fixed, row.polynomial.atoms()))
        ]

    def linear(self, polynomial: Polynomial, reason: str) -> Polynomial:
        """A polynomial with the shortest atoms of its products fixed, so that it is linear."""
        left = polynomial.with_constants(self._is_fixed)
        while left.degree > 1:
            monomial = next(m for m in left.terms if len(m) > 1)
            self.fixed.setdefault(min(monomial, key=lambda atom: atom.length), reason)
            left = left.with_constants(self._is_fixed)
        return left


def _either_sign(polynomial: Polynomial) -> object:
    """A key that is the same for a polynomial and its negative."""
    return frozenset(frozenset((m, sign * c) for m, c in polynomial.terms.items()) for sign in (1, -1))


@uncollected()
def constraints_of(widths: Widths) -> SizeConstraints:
    """Work out the constraints under which the network's own forward runs after an edit.

    Sizes that come from the same attribute are equal (in number, not in place), the parts of a chunk are
    equal, sizes read off another tensor follow that tensor, and a number used in any other way keeps its
    value. The constraints of custom rules are added.
    """
    runs = widths.graph.runs
    found: list[CodeConstraint] = [
        d for run in runs for vertex in run.vertices for d in sizes_of(widths, vertex)
    ]
    escapes = [each for run in runs for each in run.escapes]
    # Literals first: widths that they fix let more be divided, as `2 * c` channels by 2 once the 2 is fixed.
    found.sort(
        key=lambda constraint: (
            not isinstance(constraint, SizeArgument) or not isinstance(constraint.value, int)
        )
    )
    fixed: dict[Atom, str] = {}
    solver = SizeSolver(widths, fixed)
    equations: list[Equation] = [
        (d.value, Polynomial.of_axis(d.axis), functools.partial(place_of_vertex, d.vertex))
        for d in found
        if isinstance(d, SizeArgument) and not isinstance(d.value, int)
    ]
    equations += [(v, _constant(widths, v), functools.partial(_line, where)) for v, where, _ in escapes]
    solver.learn(equations)
    attributes = {value: size for value, size in solver.known.items() if isinstance(value, Attribute)}
    attributes = {**dict(unread_sizes(widths, attributes)), **attributes}
    constraints = SizeConstraints(attributes, [], fixed, widths)
    _keep_scales(constraints)
    for constraint in found:
        _require(constraints, solver, constraint)
    for value, where, how in escapes:
        for left in _kept(solver, value):
            constraints.add(left, f"its size is used in {how} at {_line(where)}")
    comparisons = [each for run in runs for each in run.comparisons]
    for each in comparisons:
        _compare(constraints, solver, each)
    for row in solver.quotients():
        constraints.add(row.polynomial, row.reason)
    constraints.settle()
    used = [d.value for d in found if isinstance(d, (SizeArgument, FixedValue))]
    constraints.read = set().union(
        *map(
            _attributes,
            [*used, *(value for value, *_ in escapes), *(each.difference for each in comparisons)],
        )
    )
    limits = custom_constraints_of(widths, constraints.linear)
    constraints.width_constraints += limits.width_constraints
    constraints.must_stay, constraints.must_go = limits.must_stay, limits.must_go
    return constraints


def _attributes(value: Expression) -> set[Attribute]:
    if isinstance(value, Attribute):
        return {value}
    if isinstance(value, (int, DimSize)):
        return set()
    return _attributes(value.left) | _attributes(value.right)


def _constant(widths: Widths, value: Expression) -> Polynomial:
    return Polynomial.constant(value_of(widths, value))


def _line(where: tuple[str, int] | None) -> str:
    return line_text(where) if where else "an unknown line"


# Torch may decompose the first, and always decomposes the second, into operators without a default scale.
_SCALED = (F.scaled_dot_product_attention, torch.ops.aten._scaled_dot_product_attention_math.default)


def _works_out_scale(vertex: Vertex) -> bool:
    return vertex.target in _SCALED and vertex.kwargs.get("scale") is None


def _default_scales(widths: Widths, provenance: Provenance, apart: list[Vertex]) -> list[DefaultScale]:
    """The attentions with a default scale, those too that torch decomposed (head sizes that differ)."""
    found = {
        default.query.id: default
        for default in widths.relation.default_scales
        if provenance.takes(default.query)
    }
    for vertex in apart:
        query, key = (
            vertex.args[i] if i < len(vertex.args) else vertex.kwargs[name]
            for i, name in enumerate(("query", "key"))
        )
        stubs = [widths.graph.state[v.name] if isinstance(v, State) else v for v in (query, key)]
        if all(isinstance(stub, Stub) for stub in stubs) and stubs[0].id not in found:
            found[stubs[0].id] = DefaultScale(vertex.name, widths.of(stubs[0])[-1], *stubs)
    return list(found.values())


def _keep_scales(constraints: SizeConstraints) -> None:
    """Let the head size of an attention change if its query or key can be scaled in turn, else fix it.

    The weights that are scaled must make the same query or key in every run that uses them, and nothing else.
    """
    widths = constraints.widths
    found: list[tuple[DefaultScale, Provenance, Rescaled | str]] = []
    for index, run in enumerate(widths.graph.runs):
        apart = [vertex for vertex in run.vertices if _works_out_scale(vertex)]
        if not apart and not widths.relation.default_scales:
            continue  # provenance takes time to work out
        provenance = widths.provenances[index]
        for default in _default_scales(widths, provenance, apart):
            axis = widths.relation.algebra.resolve(default.axis)
            if not axis.fixed:
                found.append((default, provenance, _rescaled(provenance, default, axis)))
    for default, provenance, rescaled in found:
        if isinstance(rescaled, Rescaled):
            others = [
                t
                for t in widths.provenances
                if t is not provenance and t.uses(f.name for f in rescaled.entries)
            ]
            same = [t for _, t, other in found if other == rescaled]
            if all(any(t is other for t in same) for other in others):
                if rescaled not in constraints.rescales:
                    constraints.rescales.append(rescaled)
                continue
            rescaled = "its weights are used otherwise in another mode"
        reason = f"the attention at {default.where} works out its scale from the head size, and {rescaled}"
        for atom in widths.relation.algebra.resolve(default.axis).atoms():
            constraints.fixed.setdefault(atom, reason)


def _rescaled(provenance: Provenance, default: DefaultScale, axis: Axis) -> Rescaled | str:
    """The weights to scale where the head size changes, or the reason why there are none."""
    reasons = []
    for operand in (default.query, default.key):
        try:
            trace = provenance.trace(operand)
            provenance.check_exclusive(trace)
            return Rescaled(axis, tuple(trace.entries()))
        except Untraceable as error:
            reasons.append(str(error))
    return reasons[0]


def _require(constraints: SizeConstraints, solver: SizeSolver, constraint: CodeConstraint) -> None:
    """Add a constraint of the code to the constraints on widths."""
    if isinstance(constraint, EqualSizes):
        first, *others = (Polynomial.of_axis(axis) for axis in constraint.axes)
        for other in others:
            constraints.add(first - other, f"{place_of_vertex(constraint.vertex)} makes equal parts")
    elif isinstance(constraint, OpaqueAxis):
        free = [atom for atom in constraint.axis.atoms() if atom not in constraints.fixed]
        if free:
            reason = f"{place_of_vertex(constraint.vertex)} works with sizes of its own"
            constraints.fixed.update(dict.fromkeys(free, reason))
    elif isinstance(constraint, SmallerAxis):
        larger, smaller = Polynomial.of_axis(constraint.larger), Polynomial.of_axis(constraint.smaller)
        constraints.bound(
            larger - smaller, 1, f"{place_of_vertex(constraint.vertex)} needs it to stay larger"
        )
    elif isinstance(constraint, LongestAxis):
        most = Polynomial.constant(constraint.most)
        reason = f"{place_of_vertex(constraint.vertex)} takes {constraint.most} of them at most"
        constraints.bound(most - Polynomial.of_axis(constraint.axis), 0, reason)
    elif isinstance(constraint, FixedValue):
        for left in _kept(solver, constraint.value):
            constraints.add(left, f"{place_of_vertex(constraint.vertex)} uses its size")
    elif not (isinstance(constraint.value, int) and constraint.axis.fixed):
        _require_size(constraints, solver, constraint)


def _require_size(constraints: SizeConstraints, solver: SizeSolver, constraint: SizeArgument) -> None:
    """Require that an expression equals the size of an axis."""
    value = solver.read(constraint.value)
    if value is None:
        for left in _kept(solver, constraint.value):
            constraints.add(left, f"{place_of_vertex(constraint.vertex)} computes with its size")
        value = _constant(solver.widths, constraint.value)
    left = value - Polynomial.of_axis(constraint.axis)
    if not left.degree:
        return
    place = place_of_vertex(constraint.vertex)
    if isinstance(constraint.value, int):
        reason = (
            f"its size is written as {constraint.value} at {place}; it can change once the code there works "
            "it out, as by -1, x.shape or flatten, or in ng.capture(...).to_module()"
        )
    else:
        reason = f"{place} works its size out from another one"
    constraints.add(left, reason)


def _compare(constraints: SizeConstraints, solver: SizeSolver, comparison: Comparison) -> None:
    """Require that a comparison comes out as recorded."""
    difference = solver.read(comparison.difference)
    kept = _kept(solver, comparison.difference) if difference is None else []
    if not kept and (difference is None or not difference.degree):
        return
    reason = (
        f"the code compares sizes at {_line(comparison.where)} and would go another way; in "
        "ng.capture(...).to_module() nothing is compared"
    )
    if difference is not None:
        constraints.bound(difference, comparison.least, reason)
    for left in kept:
        constraints.add(left, reason)


def _kept(solver: SizeSolver, value: Expression) -> list[Polynomial]:
    """Polynomials that must stay zero so that an expression keeps its value."""
    whole = solver.read(value)
    found = solver.leaves(value) if whole is None else [whole]
    return [each - Polynomial.constant(each.value(len_of)) for each in found if each.degree]
