"""One run of the states of all tensors, forwards, by which a decision on starts and factors is confirmed.

Nothing is computed: every operator passes on what is known of the new entries of its operands along each
width that grows (they are zero, or the mean of the others), and the factor of the old ones. A statistic of
entries that are so changes by a known factor, which the weights and the `eps` behind it take back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.edits.exact_growth.decisions import Decisions, ScaledNumber
from naivegraph.edits.exact_growth.factors import factor_of
from naivegraph.edits.exact_growth.new_entries import entries_of_result
from naivegraph.edits.exact_growth.roles import Along, Roles, ShownStates
from naivegraph.edits.exact_growth.tensor_state import UNCHANGED, ZERO, NewEntries, TensorState
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.relation import arguments
from naivegraph.widths.widths import Widths

__all__ = ["Flow"]


class Flow:
    """The states of all tensors under some decisions.

    Attributes:
        widths: The widths of the graph.
        count: The size of each width afterwards.
        growing: The widths that grow.
        shrinking: The widths of which neurons go.
        decisions: The decisions so far; a run adds to them.
        origins: The parameters that tensors show.
        failures: The reasons why widths cannot grow exactly.
        numbers: The numbers of the code that have to follow.
        measured: The axes of statistics, with their names, by the `id` of the operator.
        where: The vertex that is passed; None behind the last one.
        cause: The widths whose growth led to the factors of the operator that is passed.
        more: Whether the run added to the decisions, so that another one is needed.
    """

    def __init__(
        self,
        widths: Widths,
        count: Callable[[Atom], int],
        growing: Collection[Atom],
        shrinking: Collection[Atom],
        decisions: Decisions,
        origins: ShownStates,
        roles: Roles,
    ) -> None:
        self.widths, self.count, self.growing = widths, count, frozenset(growing)
        self.shrinking = frozenset(shrinking)
        self.decisions, self.origins, self.roles = decisions, origins, roles
        self.failures: dict[Atom, str] = {}
        self.numbers: list[ScaledNumber] = []
        self.more = False
        self._decided: set[int] = set()
        self.where: Vertex | None = None
        self.cause: frozenset[Atom] = frozenset()
        self.measured: dict[int, list[tuple[Axis, str]]] = {}
        for axis, text, operation in widths.relation.measured:
            resolved = widths.relation.algebra.resolve(axis)
            self.measured.setdefault(id(operation), []).append((resolved, text))
        self._states: dict[int, TensorState] = {}
        self._roots: dict[int, int] = {}
        self._atoms: dict[int, list[tuple[int, Atom]]] = {}
        self._views = _Views(widths.graph.runs)
        self._enter_state()

    # States

    def _enter_state(self) -> None:
        kinds, decisions = self.decisions.kinds, self.decisions
        for name, stub in self.widths.graph.state.items():
            scale, cause = decisions.scales.get(stub.id, (1.0, frozenset()))
            state = TensorState(scale=scale, cause=cause)
            for dim, atom in self.along(stub):
                key: Along = (stub.id, dim, atom)
                if atom not in kinds:
                    continue
                if key in self.roles.shifts or key in decisions.shifts:
                    state.new[dim, atom] = ZERO
                elif key in self.roles.writers:
                    gains = decisions.gains.get(key, frozenset())
                    state.new[dim, atom] = NewEntries(kinds[atom], gains, frozenset([key]))
                    if not self.widths.graph.tensor(name).is_floating_point():
                        self.fail(atom, f"{name} has no floating-point numbers")
            self._states.setdefault(stub.id, state)

    def along(self, stub: Stub) -> list[tuple[int, Atom]]:
        """The dimensions of a tensor along which widths grow, with these."""
        found = self._atoms.get(stub.id)
        if found is None:
            found = [
                (dim, atom)
                for dim, axis in enumerate(self.widths.of(stub))
                for atom in dict.fromkeys(axis.atoms())
                if atom in self.growing
            ]
            self._atoms[stub.id] = found
        return found

    def state(self, stub: Stub) -> TensorState:
        """The state of a tensor."""
        return self._states.get(stub.id, UNCHANGED)

    def entries(self, stub: Stub, dim: int, atom: Atom) -> NewEntries | None:
        """The new entries of a tensor along a dimension; None if they may be anything."""
        return self.state(stub).new.get((dim, atom))

    def is_zero(self, stub: Stub, atom: Atom) -> bool:
        """Tell whether a tensor has a width, and is zero at its new entries along every dimension."""
        dims = [dim for dim, other in self.along(stub) if other is atom]
        return bool(dims) and all(self.entries(stub, dim, atom) == ZERO for dim in dims)

    def root(self, stub: Stub) -> int:
        """The number of the first tensor with the same elements at the same places."""
        return self._roots.get(stub.id, stub.id)

    def fail(self, atom: Atom, reason: str) -> None:
        """Note that a width cannot grow exactly."""
        if atom in self.decisions.kinds:
            self.failures.setdefault(atom, reason)

    def measures(self, operation: Operation, atom: Atom) -> bool:
        """Tell whether an operator computes a statistic of a width."""
        return any(atom in axis.atoms() for axis, _ in self.measured.get(id(operation), ()))

    # Decisions

    def weigh(self, entries: NewEntries, gain: Along) -> None:
        """Let new entries be means weighted by a layer scale behind them, whose own new entry is one."""
        decided = self.decisions
        for key in entries.writers:
            before = decided.gains.get(key, frozenset())
            if gain[0] not in before:
                decided.gains[key] = before | {gain[0]}
                decided.ones[gain] = None
                self.more = True

    def shift(self, stub: Stub, dim: int, atom: Atom) -> None:
        """Let a parameter, that a tensor shows, start as zero, as it is added to entries that are zero."""
        origin = self.origins.of.get(stub.id)
        if origin is not None and dim in origin.dims:
            key = (origin.number, origin.dims[dim], atom)
            if key not in self.decisions.shifts:
                self.decisions.shifts[key] = None
                self.more = True

    def absorb(self, stub: Stub, factor: float) -> bool:
        """Let a parameter, that a tensor shows or was multiplied by, be divided by a factor.

        Returns:
            Whether it is; not if there is none, or it is decided otherwise already.
        """
        origin = self.origins.of.get(stub.id)
        number = origin.number if origin is not None else self.state(stub).gain
        if number not in self.widths.provenances[0].trained or math.isnan(factor):
            return False
        decided = self.decisions.scales.get(number)
        if decided is not None:  # in this run, perhaps, by another call of the same layer
            return number in self._decided and math.isclose(decided[0] * factor, 1.0, rel_tol=1e-9)
        self.decisions.scales[number] = 1 / factor, self.cause
        self._decided.add(number)
        self.more = True
        return True

    @property
    def place(self) -> str:
        """The vertex that is passed."""
        return self.where.name if self.where is not None else "the network's output"

    # The run

    def run(self) -> None:
        """Pass all operators of all runs."""
        for run in self.widths.graph.runs:
            for vertex in run.vertices:
                self.where = vertex
                for operation in vertex.operations:
                    self._pass(operation)
                if not vertex.operations:
                    self._end(stubs_in([vertex.args, vertex.kwargs]), vertex.name)
            self.where = None
            self._end([*stubs_in(run.output)], "the network's output")

    def _end(self, stubs: Iterable[Stub], what: str) -> None:
        """Check that tensors which leave the graph are as they were."""
        for stub in stubs:
            state = self.state(stub)
            if state.scale != 1:
                for atom in state.cause:
                    self.fail(atom, f"{what} takes values that would be larger or smaller by a factor")

    def _pass(self, operation: Operation) -> None:
        operands = operation.operands
        outputs = [out for out in operation.outputs if out is not None]
        touched = any(self.along(stub) for stub in (*operands, *outputs))
        if not touched and all(self.state(stub).scale == 1 for stub in operands):
            return
        record, named = record_of(operation.func), arguments(operation)
        factor, cause = factor_of(self, operation, record, named)
        for place, out in enumerate(operation.outputs):
            if out is None:
                continue
            state = entries_of_result(self, operation, record, named, place)
            scale = factor if place == 0 or record.movement is not None else math.nan
            if scale != 1 and not (place > 0 and not cause):
                state.scale, state.cause = scale, cause
            self._put(operation, out, state)

    def _put(self, operation: Operation, out: Stub, state: TensorState) -> None:
        """Set the state of a result; what is changed in place is changed for all views of it."""
        if any(stub.id == out.id for stub in operation.operands):
            for number in self._views.of(out.id):
                if number != out.id:
                    self._states[number] = TensorState(
                        why={atom: f"it is changed in place at {self.place}" for _, atom in self.along(out)}
                    )
            if self._views.of(out.id) != {out.id}:
                state.new = {}
        self._states[out.id] = state
        movement = movement_of(operation)
        if movement is not None and len(operation.operands) == 1:
            source = operation.operands[0]
            same = all(
                movement.dims(arguments(operation), source, out, frozenset([d])) == frozenset([d])
                for d in range(len(out.shape))
            )
            if same and source.shape == out.shape and source.id != out.id:
                self._roots[out.id] = self.root(source)
            state.mean_of = self.state(source).mean_of


class _Views:
    """Tensors that show the same memory (union-find over views)."""

    def __init__(self, runs: Iterable[Recording]) -> None:
        self._next: dict[int, int] = {}
        for run in runs:
            for vertex in run.vertices:
                for operation in vertex.operations:
                    movement = record_of(operation.func).movement
                    if movement is not None and not movement.copies and operation.operands:
                        for out in operation.outputs:
                            if out is not None:
                                self._next.setdefault(out.id, out.id)
                                self._next[self._root(out.id)] = self._root(operation.operands[0].id)
        self._groups: dict[int, set[int]] = {}
        for number in [*self._next, *self._next.values()]:
            self._groups.setdefault(self._root(number), set()).add(number)

    def _root(self, number: int) -> int:
        while self._next.get(number, number) != number:
            number = self._next[number]
        return number

    def of(self, number: int) -> set[int]:
        """The numbers of the tensors that share memory with one."""
        return self._groups.get(self._root(number), {number})
