"""Alignment of sizes before tensors are connected: those that must be equal, that end, and that grow."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from naivegraph.algebra.axis import Atom, Axis, FixedLength, single, total
from naivegraph.algebra.polynomial import Polynomial
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.plan.outgoing_weights import growth_notes, unkept
from naivegraph.edits.plan.plan import plan
from naivegraph.edits.request.requests import Between, Frozen, Size
from naivegraph.edits.request.scope import AxisRequest
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.edits.resize_program.strategy import Attempt, Decision, Strategy, decide
from naivegraph.edits.structure.align_strategy import Align, HoldFirst, Pair
from naivegraph.edits.structure.joint import Joint
from naivegraph.edits.structure.planned_sizes import PlannedSizes
from naivegraph.errors import InfeasibleError
from naivegraph.graph import Vertex
from naivegraph.graph.list_argument import is_empty_part
from naivegraph.graph.run.liveness import idle, tensor_numbers
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.operators.constraints import WidthConstraint
from naivegraph.operators.relation import tensors_in
from naivegraph.solvers.budget import Certificate
from naivegraph.utility import Utility, utilities
from naivegraph.utility.collect import Floats, per_atom
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate
from naivegraph.widths.widths import reason_of

__all__ = ["AlignmentProgram", "first_feasible"]


class AlignmentProgram:
    """The sizes of a graph in which the calls of some vertices are cut out, and the constraints on them.

    Args:
        graph: A graph.
        cut: Vertices that constrain nothing any more: sizes on their two sides are independent.
        opened: Their outputs: a tensor, its free dimension, and the lengths of the runs of it.
        uses: By `id` of a vertex, the numbers of the tensors it takes in the end; what only others need then
            leaves the graph, so that it constrains nothing either.
        joints: Concatenations of which parts go, or to which one comes.
    """

    def __init__(
        self,
        graph: Graph,
        cut: Iterable[Vertex],
        opened: Iterable[tuple[Stub, int, Sequence[int]]],
        uses: Mapping[int, Collection[int]] | None = None,
        joints: Sequence[Joint] = (),
    ) -> None:
        self._graph = graph
        gone = {id(vertex) for vertex in (*cut, *(idle(graph, idle(graph), uses) if uses else ()))}
        instead = {id(joint.vertex): joint for joint in joints}
        rest = Recording(
            graph.module,
            [
                instead[id(vertex)].stand_in if id(vertex) in instead else vertex
                for vertex in graph.vertices
                if id(vertex) not in gone
            ],
            graph.state,
            graph.inputs,
            graph.output,
            constants=graph.constants,
            escapes=graph.escapes,
            comparisons=graph.comparisons,
            example=graph.example,
            rewired=True,
        )
        opened = list(opened)
        made = tensor_numbers([[vertex.output for vertex in rest], [stub for stub, _, _ in opened]])
        rest.escapes = [each for each in rest.escapes if tensor_numbers(each[0]) <= made]
        rest.comparisons = [each for each in rest.comparisons if tensor_numbers(each.difference) <= made]
        self._runs: dict[int, list[Axis]] = {}
        given: dict[int, list[Axis]] = {}
        for stub, dim, lengths in opened:
            self._runs[stub.id] = [single(Atom(n, "what is cut")) for n in lengths]
            axes = [single(FixedLength(n, "a size of the example")) for n in stub.shape]
            axes[dim] = total([term for run in self._runs[stub.id] for term in run.terms])
            given[stub.id] = axes
        self.widths: Widths = relate(
            rest,
            free_outputs=True,
            known=given,
            instead={id(joint.stand_in): joint.relate for joint in joints},
            afterwards=[joint.settle for joint in joints],
        )
        self.widths.see_dimensions_of(graph)
        self.constraints: SizeConstraints = constraints_of(self.widths)
        self._outputs = [
            axis for stub in tensors_in(graph.output) for axis in self.widths.of(stub) if not axis.fixed
        ]
        self._opened = [(stub, dim) for stub, dim, _ in opened]
        self._released: set[Atom] = set()
        self._pairs: list[Pair] = []
        self._held: list[AxisRequest] = []
        self._axis_requests: list[AxisRequest] = []
        self._ended: dict[Axis, int] = {}
        self._following: dict[Atom, Axis] = {}
        self._followers: dict[Atom, str] = {}  # the vertices that give these

    def axis(self, stub: Stub, dim: int) -> Axis:
        """The axis of a tensor."""
        return total(()) if is_empty_part(stub) else self.widths.of(stub)[dim]

    def knows(self, stub: Stub) -> bool:
        """Check whether a tensor is still there once what nothing needs has left."""
        return stub.id in self.widths.relation.axes

    def run(self, stub: Stub, index: int) -> Axis:
        """One run of the free dimension of an opened tensor."""
        return self.settled(self._runs[stub.id][index])

    def settled(self, axis: Axis) -> Axis:
        """An axis in normal form."""
        return self.widths.relation.algebra.resolve(axis)

    def counted(self, axis: Axis) -> bool:
        """Check whether a parameter (or something fixed) has this size, so that it cannot just follow."""
        return axis.fixed or any(atom in self.widths.by_atom for atom in axis.atoms())

    def together(self, axes: Sequence[Axis]) -> Axis:
        """The concatenation of axes."""
        return self.widths.relation.algebra.concatenate(axes)

    def equal(
        self,
        left: Axis,
        right: Axis,
        vertex: Vertex,
        names: tuple[str, str],
        preferred: int | None = None,
        why: str = "",
    ) -> None:
        """Require that two sizes are equal; for the arguments see `Pair`.

        Raises:
            InfeasibleError: No sizes above 0 make them equal.
        """
        pair = Pair(left, right, vertex, names, preferred, why)
        difference = Polynomial.of_axis(left) - Polynomial.of_axis(right)
        if not pair.apart and not difference.terms:
            return
        for one, other in ((left, right), (right, left)):
            if self._follows(one):
                if len(atoms := list(one.atoms())) == 1 and one.length == atoms[0].length:
                    self._following[atoms[0]] = other
                    self._followers[atoms[0]] = vertex.name
                elif one.length != other.length:
                    raise InfeasibleError(self._unequal(pair, "nothing tells how many each part is to have"))
                return
        signs = {coefficient > 0 for coefficient in difference.terms.values()}
        if len(signs) == 1:
            raise InfeasibleError(self._unequal(pair, _why_not(pair)))
        self._pairs.append(pair)
        if pair.apart or not (left.fixed and right.fixed):
            self.constraints.width_constraints.append(
                WidthConstraint(difference, f"{names[0]} and {names[1]} are to be equal")
            )

    def release(self, axis: Axis) -> None:
        """Let the network's output have another size where it has that of an axis."""
        self._released.update(axis.atoms())

    def _follows(self, axis: Axis) -> bool:
        """Check whether nothing has this size but what is computed, so that it may be any."""
        kept = {atom for each in self._outputs for atom in each.atoms()} - self._released
        return not axis.fixed and (kept | self.widths.by_atom.keys()).isdisjoint(axis.atoms())

    def freeze(self, axis: Axis, vertex: Vertex, where: str) -> None:
        """Require that an axis stays as it is."""
        self._axis_requests.append(AxisRequest(vertex, axis, Frozen(), where))

    def hold(self, axis: Axis, vertex: Vertex, where: str) -> None:
        """Ask that an axis stay as it is where preferred sizes allow it."""
        if not axis.fixed:
            self._held.append(AxisRequest(vertex, axis, Frozen(), where))

    def size(self, axis: Axis, size: int, vertex: Vertex, where: str) -> None:
        """Require a size, which may be 0."""
        self._axis_requests.append(AxisRequest(vertex, axis, Size(size), where))
        self._ended[axis] = size

    def decide(self, what: str, choice: SizeChoice) -> Decision:
        """Decide which neurons stay and how many come, so that all constraints hold.

        Args:
            what: The beginning of messages, on what cannot be done.
            choice: The choice of neurons and of the strategy, which is `Align` by default where two sizes
                differ.

        Raises:
            EditError: The utility does not fit the graph.
            InfeasibleError: No sizes meet the constraints.
        """
        given = None if choice.utility is None else self._utilities(choice, choice.utility)
        apart = any(pair.apart for pair in self._pairs)
        if not apart and not self._ended:
            return Decision({}, {}, Certificate(0, 0), weighed=False)
        self._hold_outputs()
        axis_requests = [
            *self._axis_requests,
            *(a for pair in self._pairs for a in pair.axis_request(Between(1))),
        ]
        axis_requests = [
            axis_request
            for axis_request in axis_requests
            if not axis_request.axis.fixed or axis_request.target is not None
        ]

        values = functools.partial(self._utilities, choice)
        attempt = Attempt(
            self.widths, self.constraints, tuple(axis_requests),
            values(None) if given is None else given, values, backend=choice.backend,
        )  # fmt: skip
        answer = decide(choice.strategy or self._default_strategy(), attempt)
        if answer is None or not self._met(answer):
            raise InfeasibleError(f"{what}: {self._reason()}")
        return answer

    def _utilities(self, choice: SizeChoice, utility: Utility) -> dict[Width, Floats]:
        """Values of all neurons; those of what was cut count as they do in the whole network."""
        judge = functools.partial(
            utilities, utility=utility, default="magnitude", loss=choice.loss, graph=self._graph, once=True
        )
        found = judge(self.widths)
        if self._opened:
            whole = relate(self._graph, free_outputs=True)
            values = {width.atom: value for width, value in judge(whole).items()}
            for stub, dim in self._opened:
                along = _along(whole.of(stub)[dim], values)
                told = {} if along is None else per_atom(self.axis(stub, dim), along, self.widths.outer)
                for width in (self.widths.by_atom[atom] for atom in told if atom in self.widths.by_atom):
                    if told[width.atom].shape == found[width].shape:
                        found[width] = told[width.atom]
        return found

    def _default_strategy(self) -> Strategy:
        # Nothing else need change to fill a run that is empty, or to end one.
        if all(pair.left.length == 0 for pair in self._pairs):
            return HoldFirst(tuple(self._held))
        return Align(tuple(self._pairs), tuple(self._held))

    def _met(self, answer: Decision) -> bool:
        """Check that a decision, which may come from a strategy of the user's, meets the requirements."""
        sizes = answer.sizes()

        def count(atom: Atom) -> int:
            """The number of neurons of a width after the edit."""
            return sizes.get(atom, atom.length)

        equal = all(pair.left.size(count) == pair.right.size(count) for pair in self._pairs)
        return equal and all(axis.size(count) == size for axis, size in self._ended.items())

    def planned(self, answer: Decision, structure: dict[str, Any]) -> PlannedSizes:
        """The change of sizes as decided, while the graph is the one that the program was made for.

        Args:
            answer: The decision on the widths.
            structure: The change of the structure, as data.
        """
        sizes = answer.sizes()
        following = {
            atom: axis.size(lambda each: sizes.get(each, each.length))
            for atom, axis in self._following.items()
        }
        made = plan(self.widths, self.constraints, answer.kept, answer.new, following=following)
        change = dataclasses.replace(made, structure=structure)
        grown = {width.atom for width, count in answer.new.items() if count}
        report = SizeReport(self.widths, change, otherwise="so that sizes fit")
        notes = growth_notes(self.widths, grown) + self._part_notes()
        return PlannedSizes(self._graph, change, answer.certified, report, notes)

    def _part_notes(self) -> tuple[str, ...]:
        """A sentence for each part of a concatenation that is new and enters a statistic without a weight."""
        parts = [atom for atom, axis in self._following.items() if atom.length == 0 < axis.length]
        return tuple(
            f"What comes to {self._followers[atom]!r} changes what the network computes: {reason}."
            for atom, reason in unkept(self.widths, parts).items()
        )

    def _hold_outputs(self) -> None:
        for axis in self._outputs:
            for atom in axis.atoms():
                if atom not in self._released:
                    self.constraints.fixed.setdefault(atom, "an output of the network")

    def _unequal(self, pair: Pair, reason: str) -> str:
        if pair.why:
            return f"{pair.why} ({reason})"
        return (
            f"{pair.names[0]} is {pair.left.length} wide and {pair.names[1]} {pair.right.length}, "
            f"and they cannot be made equal: {reason}"
        )

    def _reason(self) -> str:
        for pair in self._pairs:
            if pair.apart:
                return self._unequal(pair, self._held_by(pair.left, pair.right))
        for axis in self._ended:
            return f"the sizes that would have to follow cannot: {self._held_by(axis)}"
        return "the sizes that would have to follow cannot"

    def _held_by(self, *axes: Axis) -> str:
        """Reasons for which the sizes of axes cannot change, as far as known."""
        atoms, constraints = {atom for axis in axes for atom in axis.atoms()}, self.constraints
        found = [reason_of(axis) for axis in axes if axis.fixed]
        found += [
            constraints.fixed[atom] for axis in axes for atom in axis.atoms() if atom in constraints.fixed
        ]
        found += [
            row.reason
            for row in constraints.width_constraints
            if row.rule and atoms & set(row.polynomial.atoms())
        ]
        for marks in (constraints.must_stay, constraints.must_go):
            found += [mark.reason for atom in atoms for mark in marks.get(atom, ())]
        return "; ".join(dict.fromkeys(found)) or "other sizes which must equal theirs do not allow it"


def first_feasible(
    programs: Sequence[Callable[[], AlignmentProgram]], what: str, choice: SizeChoice
) -> tuple[AlignmentProgram, Decision]:
    """The first of several programs, one instead of the other, that has an answer, and its answer.

    Args:
        programs: Make the programs, or raise an InfeasibleError.
        what: The beginning of messages, on what cannot be done.
        choice: The choice of neurons and of the strategy.

    Raises:
        InfeasibleError: None has one; it says why the first has not.
    """
    failed: InfeasibleError | None = None
    for make in programs:
        try:
            sizes = make()
            return sizes, sizes.decide(what, choice)
        except InfeasibleError as error:
            failed = failed or error
    raise failed or InfeasibleError(what)


def _along(axis: Axis, values: Mapping[Atom, Floats]) -> Floats | None:
    """The values of the neurons along an axis; None if it is no plain row of widths."""
    parts = [
        values.get(term[0]) if len(term) == 1 and isinstance(term[0], Atom) else None for term in axis.terms
    ]
    rows = [part for part in parts if part is not None and part.ndim == 1]
    return np.concatenate(rows) if rows and len(rows) == len(parts) else None


def _why_not(pair: Pair) -> str:
    if pair.left.fixed and pair.right.fixed:
        return f"both are fixed ({reason_of(pair.left)}; {reason_of(pair.right)})"
    return "a size would have to equal itself plus something"
