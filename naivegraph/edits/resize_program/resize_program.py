"""A resize as a mixed-integer program: the numbers of neurons kept and added, for each width.

Sizes are linear in these columns (`size_forms`), and so is the value of products of widths, such as heads
times head size (`product_rows`).

Goals come in order: first relaxed requests are satisfied as nearly as possible, then utility is maximised,
less the costs of new neurons and of sizes moved.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.edits.request.requests import Between, Multiple
from naivegraph.edits.request.scope import AxisRequest, Scope
from naivegraph.edits.resize_program.new_neurons import costs_of_new
from naivegraph.edits.resize_program.product_rows import ProductRows, product_rows, with_inside
from naivegraph.edits.resize_program.size_forms import LinearForm, RowBlock, SizeForms
from naivegraph.operators.constraints import WidthConstraint
from naivegraph.solvers import Program
from naivegraph.utility.ranking import NeuronRanking, required
from naivegraph.widths import SizeConstraints, Width, Widths

__all__ = ["AxisRequest", "Goal", "ResizeProgram"]

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass
class Goal:
    """A linear function of the columns to maximise, before any goal that comes after it."""

    indices: list[int]
    coefficients: list[float]


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
        self._block = RowBlock()
        self._scope = Scope(widths, constraints, axis_requests)
        self.in_scope, self.fixed = self._scope.widths, self._scope.fixed
        self._rankings: dict[Atom, NeuronRanking] = {}
        self._rows: list[ProductRows] = []
        if values is not None:
            self._rank({width.atom: values[width] for width in self.in_scope})
        self.new = 0 if not axis_requests else new
        self._room = self._most_new()
        self._columns()
        self._sizes = SizeForms(
            self.program,
            self._block,
            self._kept,
            self._come,
            self._room,
            lambda atom: atom in self.fixed or atom not in self._kept,
        )
        self._structure()
        self._forbid_replacement()
        self.forms = [self.form(axis_request.axis) for axis_request in axis_requests]
        self.nearness = self._requests()
        self._block.add_to(self.program)
        self.first = self.program.copy() if self.nearness is not None else None
        self._utility_terms()

    def _ranking(self, width: Width, values: Floats) -> NeuronRanking:
        stay, go = self.constraints.must_stay.get(width.atom), self.constraints.must_go.get(width.atom)
        return NeuronRanking(values, required(stay), required(go))

    def _rank(self, values: dict[Atom, Floats]) -> None:
        """Rank the neurons of every width, and of products of widths those in each row."""
        moving = [atom for atom in values if atom not in self.fixed]
        stay, go = (
            {atom: required(marks.get(atom)) for atom in moving}
            for marks in (self.constraints.must_stay, self.constraints.must_go)
        )
        self._rows = product_rows(values, self.widths.outer, moving, stay, go)
        values = with_inside(values, self.widths.outer, self._rows)
        self._rankings = {width.atom: self._ranking(width, values[width.atom]) for width in self.in_scope}

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
        sizes = [width.size for width in self.in_scope]
        # An empty width may become as large as all of what it is made equal to.
        empty = sum(axis.length for axis in self._scope.axes) if 0 in sizes else 0
        # A width tied to one that grows by a factor may have to grow by the same factor.
        return 2 * most + int(np.ceil(times)) * max(sizes, default=0) + empty

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
        return self._sizes.of(Polynomial.of_axis(axis))

    def _still(self, atom: Atom) -> bool:
        """Tell whether a width keeps its size."""
        return self._sizes.still(atom)

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

    def _forbid_replacement(self) -> None:
        """Forbid that one factor of a product of widths loses useful neurons while another one gains some.

        The neurons of the product would go, and new ones come in their place. They may where requests ask for
        it: one about the factor that loses some, another about the one that gains some.
        """
        axes = [*self._scope.parameters, *(self._scope.settled(one.axis) for one in self.axis_requests)]
        monomials = (m for axis in axes for m in Polynomial.of_axis(axis).with_constants(self._still).terms)
        asked = [set(axis_request.axis.atoms()) for axis_request in self.axis_requests]
        comes: dict[Atom, int] = {}
        for one, two in dict.fromkeys(p for m in monomials for p in itertools.permutations(m, 2)):
            apart = any(two in atoms and one not in atoms for atoms in asked)
            if one is two or one.alone or (apart and any(one in atoms for atoms in asked)):
                continue
            if one not in comes:
                comes[one] = self.program.column(f"neurons come {len(comes)}", 0, 1)
                some = {self._come[one]: 1.0, comes[one]: -float(self._room)}
                self._block.row(f"neurons come {len(comes)}", some, upper=0)
            useful = float(two.length - (self._rankings[two].negative if self._rankings else 0))
            name = f"no neuron replaced {len(self._block.names)}"
            self._block.row(name, {self._kept[two]: 1.0, comes[one]: -useful}, lower=0)

    def _constrain(self, name: str, constraint: WidthConstraint) -> None:
        constant, parts = self._sizes.of(constraint.polynomial)
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
                if axis_request.target != now:
                    self._must_move(axis_request, form, now)
        return (
            self._goal("requests", distances, [1.0] * len(distances), [1] * len(distances))
            if distances
            else None
        )

    def _must_move(self, axis_request: AxisRequest, form: LinearForm, now: int) -> None:
        """The rows of a relaxed request: its size changes by at least one, in either direction.

        An exact one that gave way does so in its own direction, for the other was never asked for.
        """
        if axis_request.gave_way:
            ends = (now + 1, np.inf) if (axis_request.target or 0) > now else (-np.inf, now - 1)
            self._request_row(axis_request, form, *ends)
            return
        most = self._sizes.largest(form) + now + 1
        up = self.program.column(f"{axis_request.name} grows {len(self.program.column_names)}", 0, 1)
        constant, parts = form
        self._request_row(axis_request, (constant, {**parts, up: -most}), now + 1 - most, np.inf)
        self._request_row(axis_request, (constant, {**parts, up: -most}), -np.inf, now - 1)

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

    def _goal(
        self, name: str, distances: Sequence[int], weights: Sequence[float], counts: Sequence[int]
    ) -> Goal:
        """The goal of small distances: 0.1 of their weighted sum and 0.8 of the largest."""
        largest = self.program.column(f"{name} largest", 0, np.inf, integer=False)
        for distance, weight in zip(distances, weights, strict=True):
            self._block.row(f"{name} largest {distance}", {largest: 1.0, distance: -weight}, lower=0)
        each = [-0.1 * weight * count for weight, count in zip(weights, counts, strict=True)]
        return Goal([*distances, largest], [*each, -0.8])

    def _utility_terms(self) -> None:
        """Set the objective: utility, less the costs of new neurons and of sizes moved."""
        self._block = self._sizes.block = RowBlock()
        columns, factors, together = list[int](), list[float](), set[Atom]()
        for number, rows in enumerate(self._rows):
            indices, worth = rows.add(self.program, self._block, self._kept, f"product rows {number}")
            columns, factors = [*columns, *indices], [*factors, *worth]
            together |= {rows.outer, *rows.inner}
        if self._room:
            indices, worth = costs_of_new(
                self.program, self._sizes, self._come, self.widths, self._rankings, self._rows
            )
            columns, factors = [*columns, *indices], [*factors, *worth]
        still = self._size_terms()
        if still is not None:
            columns, factors = [*columns, *still.indices], [*factors, *still.coefficients]
        self._block.add_to(self.program)
        self.program.set_objective(columns, factors)
        for width in self.in_scope if self._rankings else []:
            sums = self._rankings[width.atom].sums
            if width.atom in together or not sums.any():  # all neurons have value 0
                continue
            self.program.concave(f"{width.name} utility", self._kept[width.atom], sums)

    def _size_terms(self) -> Goal | None:
        """The goal of keeping sizes: distances to present sizes, weighted by their neurons' values.

        Every vertex counts once by the size of its output, and so does every axis of parameters which is no
        vertex's output; vertices of relaxed requests do not, for their sizes are a goal before this one.
        """
        axes = self._counted()
        terms = [(axis, *self._of_axis(axis)) for axis in axes]
        # Sizes of neurons without value are kept, too: they weigh as much as the least of the others.
        least = min((largest for _, largest, _ in terms if largest), default=1.0)
        distances, weights = [], []
        for index, (axis, largest, negative) in enumerate(terms):
            target = max(axis.length - negative, 1)
            distances.append(self._distance(f"size {index} moved by", self.form(axis), target))
            weights.append((largest or least) / target)
        return self._goal("sizes", distances, weights, list(axes.values())) if distances else None

    def _counted(self) -> dict[Axis, int]:
        """The axes to keep, and how often each counts."""
        relaxed = {
            (one.vertex.name, self._scope.settled(one.axis)) for one in self.axis_requests if one.is_relaxed
        }
        counts: dict[Axis, int] = {}
        outputs: set[Axis] = set()
        for name, whole in self.widths.output_axes.items():
            if not any(atom in self._kept for atom in whole.atoms()):
                continue
            axis = self._scope.settled(whole)
            outputs.add(axis)
            if (name, axis) not in relaxed:
                counts[axis] = counts.get(axis, 0) + 1
        asked = {axis for _, axis in relaxed}
        # Parameters of rows and of columns inside a product: the product's own size is a vertex's.
        for axis in self._scope.parameters:
            if axis not in outputs and axis not in asked:
                counts[axis] = 1
        return counts

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
        counts = {width.atom: round(float(values[self._kept[width.atom]])) for width in self.in_scope}
        chosen = {rows.outer: rows.best(counts) for rows in self._rows}
        for width in self.in_scope:
            ranking = self._rankings.get(width.atom) or self._ranking(width, np.zeros(width.size))
            kept[width] = chosen[width.atom] if width.atom in chosen else ranking.best(counts[width.atom])
            new[width] = round(float(values[self._come[width.atom]]))
        return kept, new
