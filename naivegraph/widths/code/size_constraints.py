"""What a network's own code demands of its sizes, so that its own `forward` runs after an edit; and rules."""

from __future__ import annotations

import dataclasses
import functools

import torch.nn.functional as F

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.graph import Vertex
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.source_lines import line_text
from naivegraph.ir.values import Attribute, Comparison, DimSize, Expression, State, Stub
from naivegraph.operators.constraints import NeuronMark, WidthConstraint
from naivegraph.operators.relation import Default
from naivegraph.widths.code.constraint_kinds import (
    CodeConstraint,
    EqualSizes,
    FixedValue,
    OpaqueAxis,
    SizeArgument,
)
from naivegraph.widths.code.custom_constraints import custom_constraints_of
from naivegraph.widths.code.function_sizes import sizes_of, value_of, where_of
from naivegraph.widths.code.layer_sizes import unread_sizes
from naivegraph.widths.code.size_solver import Equation, Reader, len_of
from naivegraph.widths.provenance.provenance import ParameterEntries, Provenance, Untraceable
from naivegraph.widths.widths import Widths

__all__ = ["Rescaled", "SizeConstraints", "constraints_of"]


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """Weights which are multiplied by the square root of the ratio by which `axis`, a head size, changes."""

    axis: Axis
    feeds: tuple[ParameterEntries, ...]


@dataclasses.dataclass
class SizeConstraints:
    """What the code and declared rules demand, and what the code's attributes become.

    Attributes:
        widths: The widths it is about.
        rescales: Attentions whose scale follows their head size, and what makes up for that.
        attributes: The size each integer attribute stands for.
        rows: Linear conditions on sizes.
        holds: Atoms that must keep their size, with the reason.
        read: Every integer attribute of which the code made any use.
        stay: Neurons that must stay if their width changes.
        go: Neurons that must go if their width changes.
    """

    attributes: dict[Attribute, Polynomial]
    rows: list[WidthConstraint]
    holds: dict[Atom, str]
    widths: Widths
    rescales: list[Rescaled] = dataclasses.field(default_factory=list)
    read: set[Attribute] = dataclasses.field(default_factory=set)
    stay: dict[Atom, list[NeuronMark]] = dataclasses.field(default_factory=dict)
    go: dict[Atom, list[NeuronMark]] = dataclasses.field(default_factory=dict)
    _products: list[WidthConstraint] = dataclasses.field(default_factory=list)
    _seen: set[object] = dataclasses.field(default_factory=set)

    def _held(self, atom: Atom) -> bool:
        return atom in self.holds or atom not in self.widths.by_atom

    def add(self, polynomial: Polynomial, reason: str) -> None:
        """Demand that a polynomial, zero now, stays zero."""
        left = polynomial.with_constants(self._held).reduced()
        free = list(left.atoms())
        if len(free) == 1:
            self.holds.setdefault(free[0], reason)
        elif free and _either_sign(left) not in self._seen:
            self._seen.add(_either_sign(left))
            (self.rows if left.degree == 1 else self._products).append(WidthConstraint(left, reason))

    def bound(self, polynomial: Polynomial, least: int, reason: str) -> None:
        """Demand that a polynomial, at least `least` now, stays so."""
        left = polynomial.with_constants(self._held)
        factors = [factor for atoms, factor in left.terms.items() if atoms]
        # Every size is at least 1: one of a sum's terms is.
        sure = min(factors, default=0) > 0 and left.terms.get((), 0) + min(factors) >= least
        key = (frozenset(left.terms.items()), least)
        if factors and not sure and key not in self._seen:
            self._seen.add(key)
            (self.rows if left.degree == 1 else self._products).append(
                WidthConstraint(left, reason, least, None)
            )

    def settle(self) -> None:
        """Make all demands linear: in what is a product of sizes, the shortest keep theirs.

        That comes last, for what is held for other reasons may leave no product.
        """
        self._spread()
        products, self._products = self._products, []
        products.sort(key=lambda row: row.polynomial.with_constants(self._held).degree)
        for row in products:
            reason = f"{row.reason}; of the sizes multiplied there, the smallest stays"
            left = self.linear(row.polynomial, reason)
            if row.high is None and row.low is not None:
                self.bound(left, row.low, row.reason)
            else:
                self.add(left, row.reason)
        self._spread()

    def _spread(self) -> None:
        """Where all but one of the widths in an equation are held, so is the last."""
        held = -1
        while held != len(self.holds):
            held = len(self.holds)
            for row in self.rows:
                free = [atom for atom in row.polynomial.atoms() if not self._held(atom)]
                if len(free) == 1 and row.high is not None:
                    self.holds[free[0]] = row.reason
        self.rows = [row for row in self.rows if not all(map(self._held, row.polynomial.atoms()))]

    def linear(self, polynomial: Polynomial, reason: str) -> Polynomial:
        """A polynomial with the shortest atoms of its products held, so that it is linear."""
        left = polynomial.with_constants(self._held)
        while left.degree > 1:
            monomial = next(m for m in left.terms if len(m) > 1)
            self.holds.setdefault(min(monomial, key=lambda atom: atom.length), reason)
            left = left.with_constants(self._held)
        return left


def _either_sign(polynomial: Polynomial) -> object:
    """The same for a polynomial and its negative."""
    return frozenset(frozenset((m, sign * c) for m, c in polynomial.terms.items()) for sign in (1, -1))


@uncollected()
def constraints_of(widths: Widths) -> SizeConstraints:
    """Read from the recorded calls what must hold so that the network's own forward runs after an edit.

    Sizes which come from the same attribute are equal (in count, not in place), the parts of a chunk are
    equal, what is read off another tensor follows that tensor, and a number which is used in any other way
    keeps its value. What declared rules demand is added.
    """
    runs = widths.graph.runs
    found: list[CodeConstraint] = [
        d for run in runs for vertex in run.vertices for d in sizes_of(widths, vertex)
    ]
    held = [each for run in runs for each in run.escapes]
    # What is held first lets more be divided: half of `2 * c` channels once a literal 2 is known to stay.
    found.sort(
        key=lambda constraint: (
            not isinstance(constraint, SizeArgument) or not isinstance(constraint.value, int)
        )
    )
    holds: dict[Atom, str] = {}
    reader = Reader(widths, holds)
    equations: list[Equation] = [
        (d.value, Polynomial.of_axis(d.axis), functools.partial(where_of, d.vertex))
        for d in found
        if isinstance(d, SizeArgument) and not isinstance(d.value, int)
    ]
    equations += [(v, _constant(widths, v), functools.partial(_line, where)) for v, where, _ in held]
    reader.learn(equations)
    attributes = {value: size for value, size in reader.known.items() if isinstance(value, Attribute)}
    attributes = {**dict(unread_sizes(widths, attributes)), **attributes}
    constraints = SizeConstraints(attributes, [], holds, widths)
    _keep_scales(constraints)
    for constraint in found:
        _require(constraints, reader, constraint)
    for value, where, how in held:
        for left in _kept(reader, value):
            constraints.add(left, f"its size is used in {how} at {_line(where)}")
    compared = [each for run in runs for each in run.comparisons]
    for each in compared:
        _compare(constraints, reader, each)
    for row in reader.quotients():
        constraints.add(row.polynomial, row.reason)
    constraints.settle()
    used = [d.value for d in found if isinstance(d, (SizeArgument, FixedValue))]
    constraints.read = set().union(
        *map(_attributes, [*used, *(value for value, *_ in held), *(each.difference for each in compared)])
    )
    limits = custom_constraints_of(widths, constraints.linear)
    constraints.rows += limits.rows
    constraints.stay, constraints.go = limits.stay, limits.go
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


def _works_out_scale(vertex: Vertex) -> bool:
    return vertex.target is F.scaled_dot_product_attention and vertex.kwargs.get("scale") is None


def _defaults(widths: Widths, provenance: Provenance, apart: list[Vertex]) -> list[Default]:
    """Every attention that works out its scale, also where torch took it apart (head sizes that differ)."""
    found = {
        default.query.id: default for default in widths.relation.defaults if provenance.made(default.query)
    }
    for vertex in apart:
        query, key = (
            vertex.args[i] if i < len(vertex.args) else vertex.kwargs[name]
            for i, name in enumerate(("query", "key"))
        )
        stubs = [widths.graph.state[v.name] if isinstance(v, State) else v for v in (query, key)]
        if all(isinstance(stub, Stub) for stub in stubs) and stubs[0].id not in found:
            found[stubs[0].id] = Default(vertex.name, widths.of(stubs[0])[-1], *stubs)
    return list(found.values())


def _keep_scales(constraints: SizeConstraints) -> None:
    """Let the size of an attention's heads change if its query or key can be scaled instead, else not.

    What is scaled must feed the same attention in every run that uses it.
    """
    widths = constraints.widths
    found: list[tuple[Default, Provenance, Rescaled | str]] = []
    for index, run in enumerate(widths.graph.runs):
        apart = [vertex for vertex in run.vertices if _works_out_scale(vertex)]
        if not apart and not widths.relation.defaults:
            continue  # a tracer takes time to make
        provenance = widths.tracers[index]
        for default in _defaults(widths, provenance, apart):
            axis = widths.relation.algebra.resolve(default.axis)
            if not axis.fixed:
                found.append((default, provenance, _rescaled(provenance, default, axis)))
    for default, provenance, rescaled in found:
        if isinstance(rescaled, Rescaled):
            others = [
                t for t in widths.tracers if t is not provenance and t.uses(f.name for f in rescaled.feeds)
            ]
            same = [t for _, t, other in found if other == rescaled]
            if all(any(t is other for t in same) for other in others):
                if rescaled not in constraints.rescales:
                    constraints.rescales.append(rescaled)
                continue
            rescaled = "its weights are used otherwise in another mode"
        reason = f"the attention at {default.where} works out its scale from the head size, and {rescaled}"
        for atom in widths.relation.algebra.resolve(default.axis).atoms():
            constraints.holds.setdefault(atom, reason)


def _rescaled(provenance: Provenance, default: Default, axis: Axis) -> Rescaled | str:
    """What to scale where the head size changes, or why there is nothing."""
    reasons = []
    for operand in (default.query, default.key):
        try:
            trace = provenance.trace(operand)
            provenance.check_exclusive(trace)
            return Rescaled(axis, tuple(trace.feeds()))
        except Untraceable as error:
            reasons.append(str(error))
    return reasons[0]


def _require(constraints: SizeConstraints, reader: Reader, constraint: CodeConstraint) -> None:
    if isinstance(constraint, EqualSizes):
        first, *others = (Polynomial.of_axis(axis) for axis in constraint.axes)
        for other in others:
            constraints.add(first - other, f"{where_of(constraint.vertex)} makes equal parts")
    elif isinstance(constraint, OpaqueAxis):
        free = [atom for atom in constraint.axis.atoms() if atom not in constraints.holds]
        if free:
            reason = f"{where_of(constraint.vertex)} works with sizes of its own"
            constraints.holds.update(dict.fromkeys(free, reason))
    elif isinstance(constraint, FixedValue):
        for left in _kept(reader, constraint.value):
            constraints.add(left, f"{where_of(constraint.vertex)} uses its size")
    elif not (isinstance(constraint.value, int) and constraint.axis.fixed):
        _require_size(constraints, reader, constraint)


def _require_size(constraints: SizeConstraints, reader: Reader, constraint: SizeArgument) -> None:
    value = reader.read(constraint.value)
    if value is None:
        for left in _kept(reader, constraint.value):
            constraints.add(left, f"{where_of(constraint.vertex)} computes with its size")
        value = _constant(reader.widths, constraint.value)
    left = value - Polynomial.of_axis(constraint.axis)
    if not left.degree:
        return
    place = where_of(constraint.vertex)
    if isinstance(constraint.value, int):
        reason = (
            f"its size is written as {constraint.value} at {place}; it can change once the code there works "
            "it out, as by -1, x.shape or flatten, or in ng.capture(...).to_module()"
        )
    else:
        reason = f"{place} works its size out from another one"
    constraints.add(left, reason)


def _compare(constraints: SizeConstraints, reader: Reader, compared: Comparison) -> None:
    difference = reader.read(compared.difference)
    kept = _kept(reader, compared.difference) if difference is None else []
    if not kept and (difference is None or not difference.degree):
        return
    reason = (
        f"the code compares sizes at {_line(compared.where)} and would go another way; in "
        "ng.capture(...).to_module() nothing is compared"
    )
    if difference is not None:
        constraints.bound(difference, compared.least, reason)
    for left in kept:
        constraints.add(left, reason)


def _kept(reader: Reader, value: Expression) -> list[Polynomial]:
    """What must stay zero so that an expression keeps its value."""
    whole = reader.read(value)
    found = reader.leaves(value) if whole is None else [whole]
    return [each - Polynomial.constant(each.value(len_of)) for each in found if each.degree]
