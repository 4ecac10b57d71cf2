"""The provenance of a tensor: the entries of parameters that it is linear in, which scale it when scaled.

In databases provenance is the data that a result comes from (Cheney, Chiticariu and Tan, "Provenance in
databases: why, how, and where", Foundations and Trends in Databases 1, 2009). Here the program is the
recorded run, without branches, and the search is a backward slice of it (Weiser, "Program slicing", ICSE
1981) restricted to linear dependence.

Backwards: from the tensor, operators are followed to their operands. One that moves elements (a view, a
permutation, a cut) passes a mask of elements on to its operand. One that is homogeneous of degree one passes
on to operands of which it scales with one (a product: either factor) or with all together (a sum: every
part). Several choices are tried in turn, those made of parameters alone first. The search ends at the weights
and biases of a contraction, or at the scale and shift of a norm; an operator that is not linear ends it in
failure.

Forwards: the entries found may be scaled only if nothing but the tensor depends on them. `check_exclusive`
follows their elements through all users and fails where they reach an operator that is not among the steps of
the way back.

Masks are arrays of booleans over a tensor's elements, of length 1 along dimensions that do not matter, so
that they broadcast; None stands for all elements.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.move_masks import moved_back, moved_on
from naivegraph.operators.movement import Dims, Mask
from naivegraph.operators.relation import arguments
from naivegraph.operators.sources import Choice, LinearPart, first, together
from naivegraph.operators.zeros import ALWAYS

__all__ = ["ParameterEntries", "Provenance", "ProvenanceTrace", "Untraceable"]


# Whether neurons that are sought lie along any of these dimensions of a tensor.
LiesAlong = Callable[[Stub, Dims], bool]


class Untraceable(Exception):
    """Error raised where a tensor cannot be traced to parameters; its message is the reason."""


@dataclasses.dataclass(frozen=True)
class ParameterEntries:
    """Entries of a parameter or buffer.

    Attributes:
        name: Its name.
        dims: Its dimensions that the dimension followed lies along; all where the whole tensor was followed.
        rows: The entries as (dimension, indices along it); None for all.
    """

    name: str
    dims: tuple[int, ...]
    rows: tuple[int, tuple[int, ...]] | None


class ProvenanceTrace:
    """The tensors and operators passed on the way back from one tensor.

    Attributes:
        target: The tensor.
        masks: The elements passed of every tensor, by its number; None for all of them.
        steps: The operators passed, by position in the run, with the operands each was followed to.
        found: The dimensions that the one followed lies along, by number of the parameter.
        along: Tells of dimensions whether the neurons sought lie along them; None for all that do.
        zero: Whether the entries are to be zero, so that functions with f(0) = 0 may be passed, too.
    """

    def __init__(
        self, provenance: Provenance, target: Stub, along: LiesAlong | None = None, *, zero: bool = False
    ) -> None:
        self.provenance = provenance
        self.target = target
        self.along = along
        self.zero = zero
        self.masks: dict[int, Mask | None] = {}
        self.steps: dict[int, set[int]] = {}
        self.found: dict[int, set[int]] = {}

    def copy(self) -> ProvenanceTrace:
        """A copy, with which one of several choices is tried."""
        out = ProvenanceTrace(self.provenance, self.target, self.along, zero=self.zero)
        out.masks, out.found = dict(self.masks), {key: set(dims) for key, dims in self.found.items()}
        out.steps = {key: set(operands) for key, operands in self.steps.items()}
        return out

    def add(self, stub: Stub, mask: Mask | None) -> bool:
        """Add elements of a tensor; tell whether any of them are new."""
        if stub.id not in self.masks:
            self.masks[stub.id] = mask
            return True
        known = self.masks[stub.id]
        if known is None or (mask is not None and not _adds(mask, known)):
            return False
        self.masks[stub.id] = None if mask is None else known | mask
        return True

    def entries(self) -> Iterator[ParameterEntries]:
        """The entries of parameters that were found."""
        for key, dims in self.found.items():
            stub, name = self.provenance.states[key]
            yield ParameterEntries(name, tuple(sorted(dims)), _rows(self.masks[key], stub, name))


def _rows(entries: Mask | None, stub: Stub, name: str) -> tuple[int, tuple[int, ...]] | None:
    """A mask as indices along one dimension; Untraceable if it is not made of whole rows."""
    if entries is None or entries.all():
        return None
    for dim in range(entries.ndim):
        along = entries.any(tuple(d for d in range(entries.ndim) if d != dim), keepdims=True)
        if (entries == along).all():
            return dim, tuple(np.flatnonzero(along).tolist())
    raise Untraceable(f"single entries of {name} are taken, not whole rows")


class Provenance:
    """The operators of one run, by the tensors they make and use, to be followed back and forth.

    Attributes:
        operations: The operators in recorded order.
        places: The vertex of each operator.
        states: Stub and name of each parameter and buffer, by number.
        outputs: Numbers of the network's outputs.
        stateful: Numbers of parameters, buffers, and tensors made of these alone.
        trained: Those among them that some parameter is in; the others are buffers, such as masks.
    """

    def __init__(self, graph: Recording) -> None:
        """Index the operators of a run."""
        self.operations: list[Operation] = [op for vertex in graph.vertices for op in vertex.operations]
        self.places = [vertex.name for vertex in graph.vertices for _ in vertex.operations]
        self.states: dict[int, tuple[Stub, str]] = {}
        for name, stub in graph.state.items():
            self.states.setdefault(stub.id, (stub, name))
        self.outputs = {stub.id for stub in stubs_in(graph.output)}
        self._operands = [op.operands for op in self.operations]
        self._producer: dict[int, int] = {}
        self._users: dict[int, list[int]] = {}
        self._changed: set[int] = set()
        self.stateful: set[int] = set(self.states)
        parameters = parameters_of(graph.module)
        self.trained = {stub.id for name, stub in graph.state.items() if name in parameters}
        for place, operation in enumerate(self.operations):
            self._enter(place, operation)
        self._spread_changes()

    def _enter(self, place: int, operation: Operation) -> None:
        """Index one operator; a tensor made twice, or made of itself, is changed in place."""
        operands = [stub.id for stub in self._operands[place]]
        for key in operands:
            self._users.setdefault(key, []).append(place)
        stateful = bool(operands) and self.stateful.issuperset(operands)
        for out in operation.outputs:
            if out is None:
                continue
            if out.id in self._producer or out.id in operands:
                self._changed.add(out.id)
            self._producer[out.id] = place
            if stateful:
                self.stateful.add(out.id)
                if not self.trained.isdisjoint(operands):
                    self.trained.add(out.id)

    def _spread_changes(self) -> None:
        """Mark all views of the tensors that are changed in place (union-find over views)."""
        if not self._changed:
            return
        groups: dict[int, int] = {}

        def root(key: int) -> int:
            """Return the representative of a tensor's group of views."""
            while groups.get(key, key) != key:
                key = groups[key]
            return key

        for operation, operands in zip(self.operations, self._operands, strict=True):
            movement = record_of(operation.func).movement
            if movement is not None and not movement.copies and operands:
                for out in operation.outputs:
                    if out is not None:
                        groups[root(out.id)] = root(operands[0].id)
        bad = {root(key) for key in self._changed}
        seen = {*groups, *self._producer, *self.states}
        self._changed = {key for key in seen if root(key) in bad} | self._changed

    def made(self, stub: Stub) -> bool:
        """Tell whether an operator of this run made the tensor."""
        return stub.id in self._producer

    def takes(self, stub: Stub) -> bool:
        """Tell whether an operator of this run takes the tensor, be it a parameter."""
        return stub.id in self._users

    def uses(self, names: Iterable[str]) -> bool:
        """Tell whether an operator of this run takes any of these parameters or buffers."""
        wanted = set(names)
        return any(name in wanted and key in self._users for key, (_, name) in self.states.items())

    def trace(
        self,
        target: Stub,
        dim: int | None = None,
        along: LiesAlong | None = None,
        *,
        zero: bool = False,
    ) -> ProvenanceTrace:
        """Trace a tensor back to entries of parameters that it is linear in.

        Args:
            target: A tensor of the run.
            dim: The dimension whose neurons are meant: every part has to have it, so that a subset of its
                neurons can be scaled. None for the whole tensor.
            along: Where the dimension is a product of several, whether those meant lie along a dimension: of
                the outer product of two vectors, only one has them.
            zero: Trace it to entries that make it zero where they are, and leave the rest as it is: functions
                of single elements with f(0) = 0 are passed, too.

        Raises:
            Untraceable: It is not known to be linear in any.
        """
        dims = frozenset(range(len(target.shape))) if dim is None else frozenset([dim % len(target.shape)])
        begun = ProvenanceTrace(self, target, along, zero=zero)
        return self._follow(begun, target, dims, None, whole=dim is None)

    def _follow(
        self, trace: ProvenanceTrace, stub: Stub, dims: frozenset[int], mask: Mask | None, *, whole: bool
    ) -> ProvenanceTrace:
        """Follow elements of a tensor back.

        Args:
            trace: The way so far.
            stub: The tensor.
            dims: Its dimensions that the dimension followed lies along.
            mask: The elements; None for all.
            whole: Whether the whole target is followed, so that parts need not have the dimension.
        """
        if stub.id in self._changed:
            raise Untraceable("it is changed in place")
        if not whole and not dims:
            raise Untraceable("one of its parts is the same for all neurons")
        fresh = trace.add(stub, mask)
        if stub.id in self.states:
            trace.found.setdefault(stub.id, set()).update(dims)
            return trace
        if not fresh:
            return trace
        place = self._producer.get(stub.id)
        if place is None:
            raise Untraceable("it is made of an input or a constant")
        operation = self.operations[place]
        movement = movement_of(operation)
        if movement is not None:
            found = moved_back(movement, operation, stub, dims, mask)
            return self._all(trace, place, [LinearPart(source, d, m) for source, d, m in found], whole)
        choices = _choices(operation, stub, dims, mask)
        if trace.zero:
            choices = _silencing(operation, stub, dims, mask, choices)
        if trace.along is not None and trace.along(stub, dims):
            complete = [each for each in choices if all(trace.along(p.stub, p.dims) for p in each)]
            if choices and not complete:
                raise Untraceable("one of its parts is the same for all neurons")
            choices = complete
        # A mask that is zero could never be trained, so weights come before buffers.
        choices.sort(
            key=lambda choice: (
                not all(part.stub.id in self.stateful for part in choice),
                not all(part.stub.id in self.trained for part in choice),
            )
        )
        return self._any(trace, place, choices, whole)

    def _all(self, trace: ProvenanceTrace, place: int, parts: Choice, whole: bool) -> ProvenanceTrace:
        """Follow all operands of one choice, in which the operator is linear together."""
        for part in parts:
            trace.steps.setdefault(place, set()).add(part.stub.id)
            trace = self._follow(trace, part.stub, part.dims, part.mask, whole=whole)
        return trace

    def _any(self, trace: ProvenanceTrace, place: int, choices: list[Choice], whole: bool) -> ProvenanceTrace:
        """Follow the first choice that leads to parameters (backtracking)."""
        reason = ""
        for choice in choices:
            try:
                return self._all(trace.copy(), place, choice, whole)
            except Untraceable as error:
                reason = str(error)
        packet = self.operations[place].func.overloadpacket
        raise Untraceable(reason or f"{packet} at {self.places[place]} is not linear")

    def check_exclusive(self, trace: ProvenanceTrace, others: Collection[int] = ()) -> None:
        """Check that nothing but the traced tensor depends on the entries found.

        The entries are tainted, and taint spreads from operands to results as in taint analysis.

        Args:
            trace: The trace of the tensor.
            others: Numbers of tensors that may depend on them too.

        Raises:
            Untraceable: Something else depends on them; the message says where.
        """
        self._check_once(trace.target)
        waiting: list[tuple[Stub, Mask | None]] = [
            (self.states[key][0], trace.masks[key]) for key in trace.found
        ]
        done: dict[int, Mask] = {}
        while waiting:
            stub, mask = waiting.pop()
            taint = _full(stub, mask)
            if stub.id == trace.target.id or stub.id in others:
                continue
            if stub.id in done and not _adds(taint, done[stub.id]):
                continue
            done[stub.id] = done[stub.id] | taint if stub.id in done else taint
            if stub.id in self.outputs:
                raise Untraceable("its weights reach the network's output otherwise too")
            for place in self._users.get(stub.id, ()):
                waiting.extend(self._reached(trace, place, stub, taint))

    def _check_once(self, target: Stub) -> None:
        """Check that a tensor is used once."""
        uses = [(place, s) for place in set(self._users.get(target.id, ())) for s in self._operands[place]]
        places = [self.places[place] for place, stub in uses if stub.id == target.id]
        if len(places) > 1:
            raise Untraceable(f"its weights are used at {places[-1]} too")

    def _reached(
        self, trace: ProvenanceTrace, place: int, stub: Stub, taint: Mask
    ) -> Iterator[tuple[Stub, Mask | None]]:
        """The tainted elements of an operator's results.

        An operator that moves elements moves taint. Any other has to be a step of the way back, taking the
        tainted tensor once and no more of it than was followed: then its result is linear in the entries.
        """
        operation = self.operations[place]
        movement = movement_of(operation)
        if movement is not None:
            for out, reached in moved_on(movement, operation, stub, taint):
                if reached.any():
                    yield out, reached
            return
        known = _full(stub, trace.masks[stub.id]) if stub.id in trace.masks else np.zeros_like(taint)
        on_path = stub.id in trace.steps.get(place, ()) and not _adds(taint, known)
        once = sum(operand.id == stub.id for operand in self._operands[place]) == 1
        if not (on_path and once):
            raise Untraceable(f"its weights are used at {self.places[place]} too")
        for result in operation.outputs:
            if result is not None and result.id in trace.masks:
                self._check_rest(trace, place, result, stub, taint)
                yield result, trace.masks[result.id]

    def _check_rest(self, trace: ProvenanceTrace, place: int, result: Stub, stub: Stub, taint: Mask) -> None:
        """Check that elements of a result that were not followed do not depend on tainted ones."""
        rest = ~_full(result, trace.masks[result.id])
        if not rest.any():
            return
        for choice in _choices(self.operations[place], result, frozenset(range(rest.ndim)), rest):
            for part in choice:
                if part.stub.id == stub.id and bool((_full(stub, part.mask) & taint).any()):
                    raise Untraceable(f"its weights make other tensors at {self.places[place]} too")


def _choices(operation: Operation, out: Stub, dims: Dims, mask: Mask | None) -> list[Choice]:
    """The choices of operands in which a result of an operator is linear; empty if there is none."""
    sources = record_of(operation.func).sources
    return [] if sources is None else sources(arguments(operation), operation, out, dims, mask)


def _silencing(
    operation: Operation, out: Stub, dims: Dims, mask: Mask | None, linear: list[Choice]
) -> list[Choice]:
    """The choices of operands whose zeros are zeros of the result; those in which it is linear, if any."""
    zeros, named = record_of(operation.func).zeros, arguments(operation)
    if zeros is not None and zeros.silences is not None and mask is None:
        silenced = zeros.silences(named, dims)
        return linear if silenced is None else [[LinearPart(silenced, dims, None)]]
    if linear or zeros is None:
        return linear
    if zeros is ALWAYS:
        return [[]]
    if zeros.single is None or not zeros.single(named):
        return []
    return (first() if zeros.first_alone else together)(named, operation, out, dims, mask)


def _adds(mask: Mask, known: Mask) -> bool:
    """Tell whether a mask has elements that `known` lacks."""
    return bool(np.greater(mask, known).any())


def _full(stub: Stub, mask: Mask | None) -> Mask:
    """A mask as an array that broadcasts to the tensor's shape."""
    return np.ones((1,) * len(stub.shape), np.bool_) if mask is None else mask
