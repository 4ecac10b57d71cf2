"""A resize as a mixed-integer program: the numbers of neurons kept and added, for each width.

Sizes are linear in these columns, but for products of widths (heads times head size). A product is linearised
exactly: one of its factors is written in binary, and each binary digit times the other factor gets a column
of its own (McCormick's inequalities, which are exact for a binary factor; "Computability of global solutions
to factorable nonconvex programs: part I", Mathematical Programming 10, 1976).

Goals come in order: first relaxed requests are satisfied as nearly as possible, then utility is maximised,
less the costs of new neurons and of sizes moved.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from naivegraph.algebra.axis import Atom, Axis, single
from naivegraph.algebra.polynomial import Monomial, Polynomial
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.request.requests import Between, Multiple
from naivegraph.edits.request.scope import AxisRequest, Scope
from naivegraph.operators.constraints import WidthConstraint
from naivegraph.solvers import Program
from naivegraph.utility.ranking import TINY, NeuronRanking, required
from naivegraph.widths import SizeConstraints, Width, Widths

__all__ = ["AxisRequest", "Goal", "ResizeProgram"]

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass
class Goal:
    """A linear function of the columns to maximise, before any goal that comes after it."""

    indices: list[int]
    coefficients: list[float]


# A constant, and the coefficient of each column.
LinearForm = tuple[float, dict[int, float]]


class _Block:
    """Rows that are added to a program all at once."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.starts, self.indices = [0], list[int]()
        self.values, self.lower, self.upper = list[float](), list[float](), list[float]()
        self.requests: list[str | None] = []

    def row(
        self,
        name: str,
        parts: Mapping[int, float],
        *,
        lower: float = -np.inf,
        upper: float = np.inf,
        request: str | None = None,
    ) -> None:
        """Add `lower <= sum of parts <= upper`."""
        self.names.append(name)
        self.indices += parts.keys()
        self.values += parts.values()
        self.starts.append(len(self.indices))
        self.lower.append(lower)
        self.upper.append(upper)
        self.requests.append(request)

    def add_to(self, program: Program) -> None:
        """Add all rows to the program."""
        program.rows(
            self.starts,
            np.array(self.indices, np.int64),
            self.values,
            self.lower,
            self.upper,
            self.names,
            requests=self.requests,
        )


class ResizeProgram:
    """The program of a resize, and the meaning of its columns.

    Args:
        widths: The widths of the graph.
        constraints: The constraints of the network's own code and of custom rules.
        axis_requests: The requests.
        values: One number per neuron of every width; None where only sizes count.
        new: The most new neurons in all; None for no bound.

    Attributes:
        program: The program.
        forms: The size of each request's axis, as a linear function of the columns.
        nearness: The goal of relaxed requests; None without any.
        first: The program with this goal alone; None without any.
        in_scope: The widths that may change.
        fixed: Those that keep all their neurons, with the reason.
    """

    def __init__(
        self,
        widths: Widths,
        constraints: SizeConstraints,
        axis_requests: list[AxisRequest],
        values: Mapping[Width, Floats] | None,
        new: int | None,
    ) -> None:
        self.widths, self.constraints = widths, constraints
        self.axis_requests, self.values = axis_requests, values
        self.program = Program()
        self._block = _Block()
        self._scope = Scope(widths, constraints, axis_requests)
        self.in_scope, self.fixed = self._scope.widths, self._scope.fixed
        self._rankings = {w.atom: self._ranking(w, values[w]) for w in self.in_scope if values is not None}
        self.new = 0 if not axis_requests else new
        self._room = self._most_new()
        self._columns()
        self._products: dict[Monomial, dict[int, float]] = {}
        self._structure()
        self.forms = [self.form(axis_request.axis) for axis_request in axis_requests]
        self.nearness = self._requests()
        self._block.add_to(self.program)
        self.first = self.program.copy() if self.nearness is not None else None
        self._utility_terms()

    def _ranking(self, width: Width, values: Floats) -> NeuronRanking:
        stay, go = self.constraints.must_stay.get(width.atom), self.constraints.must_go.get(width.atom)
        return NeuronRanking(values, required(stay), required(go))

    # Columns

    def _most_new(self) -> int:
        """A number of new neurons beyond which no width profits from more."""
        if not self.axis_requests:
            return 0
        most, times = 8, 1.0
        for axis_request in self.axis_requests:
            size = axis_request.target or 0
            if isinstance(axis_request.request, Between):
                size = axis_request.request.lower
            elif isinstance(axis_request.request, Multiple):
                size = axis_request.request.of
            most, times = max(most, size), max(times, size / max(axis_request.axis.length, 1))
        for row in self.constraints.width_constraints:
            if row.rule:
                factor = max(map(abs, row.polynomial.terms.values()), default=1)
                most = factor * max(most, row.multiple, abs(row.low or 0), abs(row.high or 0))
        # A width tied to one that grows by a factor may have to grow by the same factor.
        return 2 * most + int(np.ceil(times)) * max((width.size for width in self.in_scope), default=0)

    def _columns(self) -> None:
        """Add the columns of every width: neurons kept and new neurons."""
        widths, columns = self.in_scope, self.program.columns
        fixed = np.array([width.atom in self.fixed for width in widths], dtype=bool)
        sizes = np.array([width.size for width in widths], dtype=np.float64)
        kept = columns([f"{width.name} kept" for width in widths], np.where(fixed, sizes, 0.0), sizes)
        no_more = fixed | np.array([width.atom.alone for width in widths], dtype=bool)
        come = columns([f"{width.name} new" for width in widths], 0, np.where(no_more, 0.0, self._room))
        atoms = [width.atom for width in widths]
        self._kept, self._come = dict(zip(atoms, kept, strict=True)), dict(zip(atoms, come, strict=True))

    # Sizes

    def form(self, axis: Axis) -> LinearForm:
        """The size of an axis as a linear function of the columns (products of widths get columns)."""
        return self._linear(Polynomial.of_axis(axis))

    def _still(self, atom: Atom) -> bool:
        return atom in self.fixed or atom not in self._kept

    def _linear(self, polynomial: Polynomial) -> LinearForm:
        constant, parts = 0.0, dict[int, float]()
        if any(self._still(atom) for atom in polynomial.atoms()):
            polynomial = polynomial.with_constants(self._still)
        for monomial, factor in polynomial.terms.items():
            if not monomial:
                constant += factor
                continue
            for column, coefficient in self._product(monomial).items():
                parts[column] = parts.get(column, 0.0) + factor * coefficient
        return constant, {column: c for column, c in parts.items() if c}

    def _product(self, monomial: Monomial) -> dict[int, float]:
        """The size of a product of widths: that of the longest, times the others' sizes written in binary."""
        last, *others = sorted(monomial, key=lambda atom: (-atom.length, self._kept[atom]))
        size: dict[int, float] = {self._kept[last]: 1.0, self._come[last]: 1.0}
        top = float(last.length + self._room)
        key: Monomial = (last,)
        for atom in others:
            key = (*key, atom)
            if key not in self._products:
                self._products[key] = self._multiplied(atom, size, top)
            size, top = self._products[key], top * (atom.length + self._room)
        return size

    def _multiplied(self, atom: Atom, size: Mapping[int, float], top: float) -> dict[int, float]:
        """`size`, at most `top`, times the size of an atom, which is written in binary."""
        bits = range((atom.length + self._room).bit_length())
        name = f"product {len(self._products)}"
        digits = self.program.columns([f"{name} digit {bit}" for bit in bits], 0, 1)
        parts = self.program.columns([f"{name} part {bit}" for bit in bits], 0, top, integer=False)
        count = {digit: float(2**bit) for bit, digit in enumerate(digits)}
        both = {self._kept[atom]: -1.0, self._come[atom]: -1.0}
        self._block.row(f"{name} its count", {**count, **both}, lower=0, upper=0)
        less = {column: -factor for column, factor in size.items()}
        for digit, part in zip(digits, parts, strict=True):
            # A part is the size where its digit is 1, and else 0 (McCormick's inequalities).
            self._block.row(f"{name} none {digit}", {part: 1.0, digit: -top}, upper=0)
            self._block.row(f"{name} most {digit}", {part: 1.0, **less}, upper=0)
            self._block.row(f"{name} least {digit}", {part: 1.0, **less, digit: -top}, lower=-top)
        return {part: float(2**bit) for bit, part in enumerate(parts)}

    def _structure(self) -> None:
        """Add the rows of the network: sizes are at least 1, constraints hold, new neurons are bounded."""
        for index, axis in enumerate(self._scope.axes):
            self._at_least_one(f"axis {index} at least 1", axis)
        for index, constraint in enumerate(self.constraints.width_constraints):
            self._constrain(f"constraint {index}", constraint)
        for width in self.in_scope:
            if width.atom not in self.fixed:
                self._require_neurons(width)
        if self.new is not None and self._come:
            # A row instead of bounds of the columns, so that it can be part of an infeasible set.
            name = f"at most {self.new} new neurons in all" if self.axis_requests else None
            come = dict.fromkeys(self._come.values(), 1.0)
            self._block.row("new neurons", come, upper=self.new, request=name)

    def _constrain(self, name: str, constraint: WidthConstraint) -> None:
        constant, parts = self._linear(constraint.polynomial)
        if not parts:
            return
        if constraint.multiple > 1:
            parts[self.program.column(f"{name} times", -np.inf, np.inf)] = -float(constraint.multiple)
            lower = upper = 0.0
        else:
            lower = -np.inf if constraint.low is None else constraint.low
            upper = np.inf if constraint.high is None else constraint.high
        request = constraint.reason if constraint.rule else None
        self._block.row(name, parts, lower=lower - constant, upper=upper - constant, request=request)

    def _require_neurons(self, width: Width) -> None:
        """Keep at least as many neurons as must stay, and remove as many as must go."""
        stay = self.constraints.must_stay.get(width.atom, [])
        go = self.constraints.must_go.get(width.atom, [])
        kept = {self._kept[width.atom]: 1.0}
        for requirement in stay:
            name = f"{width.name} stays: {requirement.reason}"
            self._block.row(name, kept, lower=len(required(stay)), request=requirement.reason)
        for requirement in go:
            name = f"{width.name} goes: {requirement.reason}"
            self._block.row(name, kept, upper=width.size - len(required(go)), request=requirement.reason)
        for one, two in itertools.product(stay, go):
            if set(one.indices) & set(two.indices):
                both = {self.program.column(f"{width.name}: {one.reason}; {two.reason}", 0, 1): 1.0}
                self._block.row(f"{width.name} stays, {one.reason}", both, lower=1, request=one.reason)
                self._block.row(f"{width.name} goes, {two.reason}", both, upper=0, request=two.reason)

    def _at_least_one(self, name: str, axis: Axis) -> None:
        """Require that an axis has a neuron; a product has if each of its factors has."""
        if len(axis.terms) > 1:
            constant, parts = self.form(axis)
            if constant < 1:
                self._block.row(name, parts, lower=1 - constant)
            return
        for position, factor in enumerate(axis.terms[0]):
            if isinstance(factor, Axis):
                self._at_least_one(f"{name}, factor {position}", factor)
            elif isinstance(factor, Atom) and not self._still(factor):
                both = {self._kept[factor]: 1.0, self._come[factor]: 1.0}
                self._block.row(f"{name}, factor {position}", both, lower=1)

    # Goals

    def _requests(self) -> Goal | None:
        """Add rows for the requests, and return the goal of relaxed ones."""
        distances: list[int] = []
        for axis_request, form in zip(self.axis_requests, self.forms, strict=True):
            now = axis_request.axis.length
            if axis_request.target is None:
                self._bound(axis_request, form)
            elif not axis_request.is_relaxed:
                self._request_row(axis_request, form, axis_request.target, axis_request.target)
            else:
                distances.append(self._distance(f"{axis_request.name} missed by", form, axis_request.target))
                if axis_request.target > now:
                    self._request_row(axis_request, form, now + 1, np.inf)
                elif axis_request.target < now:
                    self._request_row(axis_request, form, -np.inf, now - 1)
        return self._goal("requests", distances, [1.0] * len(distances)) if distances else None

    def _request_row(self, axis_request: AxisRequest, form: LinearForm, lower: float, upper: float) -> None:
        """The row of a request: `lower <= form <= upper`."""
        constant, parts = form
        name = axis_request.name
        self._block.row(name, parts, lower=lower - constant, upper=upper - constant, request=name)

    def _bound(self, axis_request: AxisRequest, form: LinearForm) -> None:
        request = axis_request.request
        if isinstance(request, Between):
            upper = np.inf if request.upper is None else request.upper
            self._request_row(axis_request, form, request.lower, upper)
        elif isinstance(request, Multiple):
            # Named by its number: two inputs of one vertex may have the same request.
            times = self.program.column(f"multiple {len(self.program.column_names)}", 1, np.inf)
            self._request_row(axis_request, (form[0], {**form[1], times: -float(request.of)}), 0, 0)
        else:
            for atom in dict.fromkeys(axis_request.axis.atoms()):
                if atom in self._kept:
                    self._request_row(axis_request, (0.0, {self._kept[atom]: 1.0}), atom.length, np.inf)
                    self._request_row(axis_request, (0.0, {self._come[atom]: 1.0}), -np.inf, 0)

    def _distance(self, name: str, form: LinearForm, target: float) -> int:
        """A column at least as large as |size - target|."""
        constant, parts = form
        column = self.program.column(f"{name} {len(self.program.column_names)}", 0, np.inf, integer=False)
        self._block.row(f"{name} above", {**parts, column: -1.0}, upper=target - constant)
        self._block.row(f"{name} below", {**parts, column: 1.0}, lower=target - constant)
        return column

    def _goal(self, name: str, distances: Sequence[int], weights: Sequence[float]) -> Goal:
        """The goal of small distances: 0.1 of their weighted sum and 0.8 of the largest."""
        largest = self.program.column(f"{name} largest", 0, np.inf, integer=False)
        for distance, weight in zip(distances, weights, strict=True):
            self._block.row(f"{name} largest {distance}", {largest: 1.0, distance: -weight}, lower=0)
        return Goal([*distances, largest], [*(-0.1 * weight for weight in weights), -0.8])

    def _utility_terms(self) -> None:
        """Set the objective: utility, less the costs of new neurons and of sizes moved."""
        self._block = _Block()
        columns = list(self._come.values())
        factors = [-self._rankings[atom].cost if self._rankings else -TINY for atom in self._come]
        still = self._size_terms()
        if still is not None:
            columns, factors = [*columns, *still.indices], [*factors, *still.coefficients]
        self._block.add_to(self.program)
        self.program.set_objective(columns, factors)
        for width in self.in_scope if self._rankings else []:
            sums = self._rankings[width.atom].sums
            if not sums.any():  # all neurons have value 0
                continue
            self.program.concave(f"{width.name} utility", self._kept[width.atom], sums)

    def _size_terms(self) -> Goal | None:
        """The goal of keeping other sizes: distances to present sizes, weighted by their neurons' values."""
        relaxed = [axis_request for axis_request in self.axis_requests if axis_request.is_relaxed]
        asked = {self._scope.settled(axis_request.axis) for axis_request in relaxed}
        axes = dict.fromkeys(part for axis in self._scope.parameters for part in self._factors(axis, asked))
        terms = [(axis, *self._of_axis(axis)) for axis in axes]
        # Sizes of neurons without value are kept, too: they weigh as much as the least of the others.
        least = min((largest for _, largest, _ in terms if largest), default=1.0)
        distances, weights = [], []
        for index, (axis, largest, negative) in enumerate(terms):
            target = max(axis.length - negative, 1)
            distances.append(self._distance(f"size {index} moved by", self.form(axis), target))
            weights.append((largest or least) / target)
        return self._goal("sizes", distances, weights) if distances else None

    def _factors(self, axis: Axis, asked: Collection[Axis]) -> list[Axis]:
        """The axes to keep so that an axis keeps its size: in a product of widths each of them.

        Otherwise fewer neurons in each head would be compensated by more heads.
        """
        if axis in asked or Polynomial.of_axis(axis).with_constants(self._still).degree <= 1:
            parts = [axis]
        else:
            parts = [single(atom) for atom in dict.fromkeys(axis.atoms()) if not self._still(atom)]
        return [part for part in parts if part not in asked]

    def _of_axis(self, axis: Axis) -> tuple[float, int]:
        """The largest |utility| on an axis, and the number of its neurons with a negative one."""
        if not self._rankings:
            return 1.0, 0
        largest = max(self._rankings[atom].largest for atom in axis.atoms())
        good = axis.size(lambda atom: atom.length - self._rankings[atom].negative)
        return largest, axis.length - good

    # Answers

    def decided(self, values: Floats) -> tuple[dict[Width, Indices], dict[Width, int]]:
        """The neurons that stay and the numbers of new ones, from the program's answer."""
        kept, new = {}, {}
        for width in self.in_scope:
            count = round(float(values[self._kept[width.atom]]))
            ranking = self._rankings.get(width.atom) or self._ranking(width, np.zeros(width.size))
            kept[width] = ranking.best(count)
            new[width] = round(float(values[self._come[width.atom]]))
        return kept, new
