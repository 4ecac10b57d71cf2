"""What a network's own code demands of its sizes, so that its own `forward` runs after an edit; and rules."""

from __future__ import annotations

import dataclasses

import torch.nn.functional as F

from naivegraph.graph.execute import COMPUTE
from naivegraph.graph.frames import line_text
from naivegraph.graph.values import Attribute, Expression, Shape, State, Stub
from naivegraph.widths.arguments import sizes_of, value_of, where_of
from naivegraph.widths.axis import Atom, Axis
from naivegraph.widths.constraints import Mark, Row
from naivegraph.widths.demand import Demand, Equal, Keep, Size, Still
from naivegraph.widths.limits import limits_of
from naivegraph.widths.polynomial import Polynomial
from naivegraph.widths.relation import Default
from naivegraph.widths.trace import Feed, Untraceable
from naivegraph.widths.widths import Widths

__all__ = ["Demands", "Rescaled", "demands_of"]


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """Weights which are multiplied by the square root of the ratio by which `axis`, a head size, changes."""

    axis: Axis
    feeds: tuple[Feed, ...]


@dataclasses.dataclass
class Demands:
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
    rows: list[Row]
    holds: dict[Atom, str]
    widths: Widths
    rescales: list[Rescaled] = dataclasses.field(default_factory=list)
    read: set[Attribute] = dataclasses.field(default_factory=set)
    stay: dict[Atom, list[Mark]] = dataclasses.field(default_factory=dict)
    go: dict[Atom, list[Mark]] = dataclasses.field(default_factory=dict)

    def _held(self, atom: Atom) -> bool:
        return atom in self.holds or atom not in self.widths.by_atom

    def add(self, polynomial: Polynomial, reason: str) -> None:
        """Demand that a polynomial, zero now, stays zero.

        Where it is not linear the shortest atoms of its products keep their size, so that the rest is.
        """
        left = self.linear(polynomial.holding(self._held).reduced(), reason)
        free = list(left.atoms())
        if len(free) == 1:
            self.holds.setdefault(free[0], reason)
        elif free:
            self.rows.append(Row(left, reason))

    def linear(self, polynomial: Polynomial, reason: str) -> Polynomial:
        """A polynomial with the shortest atoms of its products held, so that it is linear."""
        left = polynomial.holding(self._held)
        while left.degree > 1:
            monomial = next(m for m in left.terms if len(m) > 1)
            self.holds.setdefault(min(monomial, key=lambda atom: atom.length), reason)
            left = left.holding(self._held)
        return left


class _Reader:
    """Turns expressions into polynomials; an attribute is the size of the axis it is used for."""

    def __init__(self, widths: Widths) -> None:
        self.widths = widths
        self.attributes: dict[Attribute, Polynomial] = {}
        self.symbols: dict[Attribute, Atom] = {}

    def learn(self, sizes: list[Size]) -> None:
        """Find out which size each attribute stands for."""
        for size in sizes:
            if isinstance(size.value, Attribute) and size.value not in self.attributes:
                self.attributes[size.value] = Polynomial.of_axis(size.axis)
        waiting = [size for size in sizes if not isinstance(size.value, (int, Attribute, Shape))]
        progress = True
        while progress:
            progress = False
            for size in waiting:
                found = self._solve(size)
                if found is not None:
                    self.attributes[found[0]] = found[1]
                    progress = True

    def _solve(self, size: Size) -> tuple[Attribute, Polynomial] | None:
        """The one unknown attribute of a compound expression, if the equation gives it."""
        unknown = {leaf for leaf in _attributes(size.value) if leaf not in self.attributes}
        if len(unknown) != 1:
            return None
        attribute = unknown.pop()
        symbol = self.symbols.setdefault(attribute, Atom(value_of(self.widths, attribute)))
        self.attributes[attribute] = Polynomial.of_atom(symbol)
        polynomial = self.read(size.value)
        del self.attributes[attribute]
        if polynomial is None or any(m.count(symbol) > 1 for m in polynomial.terms):
            return None
        factor = Polynomial(
            {tuple(a for a in m if a is not symbol): c for m, c in polynomial.terms.items() if symbol in m}
        )
        rest = Polynomial({m: c for m, c in polynomial.terms.items() if symbol not in m})
        solved = (Polynomial.of_axis(size.axis) - rest).divided(factor)
        return None if solved is None else (attribute, solved)

    def read(self, value: Expression) -> Polynomial | None:
        """An expression as a polynomial; None where it is none (a quotient with a rest)."""
        if isinstance(value, int):
            return Polynomial.constant(value)
        if isinstance(value, Attribute):
            known = self.attributes.get(value)
            return Polynomial.constant(value_of(self.widths, value)) if known is None else known
        if isinstance(value, Shape):
            return Polynomial.of_axis(self._axis(value))
        left, right = self.read(value.left), self.read(value.right)
        if left is None or right is None:
            return None
        if left.degree == right.degree == 0:
            number = COMPUTE[value.operator](left.value(len_of), right.value(len_of))
            return Polynomial.constant(number)
        if value.operator == "//":
            return left.divided(right)
        if value.operator == "%":
            return Polynomial({}) if left.divided(right) is not None else None
        return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__}[value.operator](right)

    def _axis(self, shape: Shape) -> Axis:
        if isinstance(shape.tensor, str):
            return self.widths.axes[shape.tensor][shape.dim]
        return self.widths.relation.algebra.resolve(self.widths.relation.axes[shape.tensor][shape.dim])

    def leaves(self, value: Expression) -> list[Polynomial]:
        """The polynomials of all attributes and shapes in an expression."""
        if isinstance(value, int):
            return []
        if isinstance(value, (Attribute, Shape)):
            found = self.read(value)
            return [] if found is None else [found]
        return self.leaves(value.left) + self.leaves(value.right)


def len_of(atom: Atom) -> int:
    """The present size of an atom."""
    return atom.length


def _attributes(value: Expression) -> set[Attribute]:
    if isinstance(value, Attribute):
        return {value}
    if isinstance(value, (int, Shape)):
        return set()
    return _attributes(value.left) | _attributes(value.right)


def demands_of(widths: Widths) -> Demands:
    """Read from the recorded calls what must hold so that the network's own forward runs after an edit.

    Sizes which come from the same attribute are equal (in count, not in place), the parts of a chunk are
    equal, what is read off another tensor follows that tensor, and a number which is used in any other way
    keeps its value. What declared rules demand is added.
    """
    found: list[Demand] = [d for vertex in widths.graph.vertices for d in sizes_of(widths, vertex)]
    reader = _Reader(widths)
    reader.learn([d for d in found if isinstance(d, Size)])
    demands = Demands(reader.attributes, [], {}, widths)
    for default in _defaults(widths):
        _keep_scale(demands, default)
    for demand in found:
        _require(demands, reader, demand)
    for value, where, how in widths.graph.held:
        place = f" ({line_text(where)})" if where else ""
        _keep(demands, reader, value, f"its size is used in {how}{place}")
    used = [d.value for d in found if isinstance(d, (Size, Keep))] + [
        value for value, *_ in widths.graph.held
    ]
    demands.read = set().union(*map(_attributes, used))
    limits = limits_of(widths, demands.linear)
    demands.rows += limits.rows
    demands.stay, demands.go = limits.stay, limits.go
    return demands


def _defaults(widths: Widths) -> list[Default]:
    """Every attention that works out its scale, also where torch took it apart (head sizes that differ)."""
    found = {default.query.id: default for default in widths.relation.defaults}
    for vertex in widths.graph.vertices:
        if vertex.target is not F.scaled_dot_product_attention or vertex.kwargs.get("scale") is not None:
            continue
        query, key = (
            vertex.args[i] if i < len(vertex.args) else vertex.kwargs[name]
            for i, name in enumerate(("query", "key"))
        )
        stubs = [widths.graph.state[v.name] if isinstance(v, State) else v for v in (query, key)]
        if all(isinstance(stub, Stub) for stub in stubs) and stubs[0].id not in found:
            found[stubs[0].id] = Default(vertex.name, widths.of(stubs[0])[-1], *stubs)
    return list(found.values())


def _keep_scale(demands: Demands, default: Default) -> None:
    """Let the size of an attention's heads change if its query or key can be scaled instead, else not."""
    widths = demands.widths
    axis = widths.relation.algebra.resolve(default.axis)
    if axis.fixed:
        return
    reasons = []
    for operand in (default.query, default.key):
        try:
            trace = widths.tracer.trace(operand)
            widths.tracer.check_exclusive(trace)
        except Untraceable as error:
            reasons.append(str(error))
            continue
        demands.rescales.append(Rescaled(axis, tuple(trace.feeds())))
        return
    reason = f"the attention at {default.where} works out its scale from the head size, and {reasons[0]}"
    for atom in axis.atoms():
        demands.holds.setdefault(atom, reason)


def _require(demands: Demands, reader: _Reader, demand: Demand) -> None:
    place = where_of(demand.vertex)
    if isinstance(demand, Equal):
        first, *others = (Polynomial.of_axis(axis) for axis in demand.axes)
        for other in others:
            demands.add(first - other, f"{place} makes equal parts")
    elif isinstance(demand, Still):
        for atom in demand.axis.atoms():
            demands.holds.setdefault(atom, f"{place} works with sizes of its own")
    elif isinstance(demand, Keep):
        _keep(demands, reader, demand.value, f"{place} uses its size")
    else:
        size = Polynomial.of_axis(demand.axis)
        value = reader.read(demand.value)
        if value is None:
            _keep(demands, reader, demand.value, f"{place} computes with its size")
            value = Polynomial.constant(value_of(reader.widths, demand.value))
        if isinstance(demand.value, int):
            reason = f"its size is written as {demand.value} at {place}; the graph's own module can change it"
        else:
            reason = f"{place} takes its size from another one"
        demands.add(value - size, reason)


def _keep(demands: Demands, reader: _Reader, value: Expression, reason: str) -> None:
    polynomial = reader.read(value)
    if polynomial is not None:
        demands.add(polynomial - Polynomial.constant(polynomial.value(len_of)), reason)
        return
    for leaf in reader.leaves(value):
        demands.add(leaf - Polynomial.constant(leaf.value(len_of)), reason)
