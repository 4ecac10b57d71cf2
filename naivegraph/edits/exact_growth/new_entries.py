"""New entries of an operator's results, from those of its operands."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from naivegraph.algebra.axis import Atom
from naivegraph.edits.exact_growth.roles import matrices
from naivegraph.edits.exact_growth.statistics import reduced
from naivegraph.edits.exact_growth.tensor_state import MEAN, ZERO, Kind, NewEntries, TensorState
from naivegraph.edits.exact_growth.zero_entries import stays_zero
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of
from naivegraph.operators.movement import Movement
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.sources import each_of, of_convolution, of_embedding, of_matrices

if TYPE_CHECKING:
    from naivegraph.edits.exact_growth.flow import Flow

__all__ = ["entries_of_result"]


def entries_of_result(
    flow: Flow, operation: Operation, record: Operator, named: dict[str, Any], place: int
) -> TensorState:
    """The state of a result, without its factor.

    Args:
        flow: The run.
        operation: The call.
        record: The operator's record.
        named: The call's arguments by name.
        place: The number of the result.
    """
    out = operation.outputs[place]
    state = TensorState()
    if out is None:
        return state
    call = _Call(flow, operation, record, named, out, place)
    for dim, atom in flow.along(out):
        found = call.entries(dim, atom)
        if found is not None:
            state.new[dim, atom] = found
        else:
            state.why[atom] = call.why(atom)
    state.mean_of, state.gain = call.mean_of(), call.gain()
    return state


class _Call:
    """One call, and one of its results."""

    def __init__(
        self, flow: Flow, operation: Operation, record: Operator, named: dict[str, Any], out: Stub, place: int
    ) -> None:
        self._flow, self._operation, self._record = flow, operation, record
        self._named, self._out, self._place = named, out, place

    def entries(self, dim: int, atom: Atom) -> NewEntries | None:
        """The new entries along a dimension of the result, as far as they are known."""
        movement = movement_of(self._operation)
        found = self._moved(movement, dim, atom) if movement else self._computed(dim, atom)
        if found is None and stays_zero(
            self._flow.widths.relation,
            atom,
            lambda stub: self._flow.is_zero(stub, atom),
            self._record,
            self._operation,
            self._named,
            self._place,
        ):
            return ZERO
        return found

    def why(self, atom: Atom) -> str:
        """The reason why the new entries may be anything."""
        known = [s for s in self._operation.operands if any(a is atom for _, a in self._flow.along(s))]
        for stub in known:
            if atom in self._flow.state(stub).why:
                return self._flow.state(stub).why[atom]
        name = self._operation.func.overloadpacket.__name__
        return f"{name} at {self._flow.place} does not leave them so"

    def mean_of(self) -> int | None:
        """The number of the tensor whose mean along a growing width this is."""
        if self._record.reduction is None or not self._record.additive or self._place:
            return None
        flow, stub = self._flow, self._operation.operands[0]
        axes = reduced(flow, self._operation, self._named)
        of_means = any(entries == MEAN for entries in flow.state(stub).new.values())
        alone = len(axes) == 1 and any(axes[0].terms == ((atom,),) for _, atom in flow.along(stub))
        return flow.root(stub) if of_means and alone else None

    def gain(self) -> int | None:
        """The number of a parameter that the result is a product with."""
        if self._record.sources is not each_of:
            return None
        found = (self._flow.origins.of.get(stub.id) for stub in self._operation.operands)
        return next((origin.number for origin in found if origin is not None), None)

    def _moved(self, movement: Movement, dim: int, atom: Atom) -> NewEntries | None:
        """Entries that are those of operands, at other places."""
        found: list[NewEntries | None] = []
        for source in dict.fromkeys(self._operation.operands):
            dims = movement.dims(self._named, source, self._out, frozenset([dim]))
            here = [d for d, a in self._flow.along(source) if a is atom and d in dims]
            if here or movement.dims(self._named, source, self._out, frozenset([dim])):
                found.append(self._flow.entries(source, here[0], atom) if len(here) == 1 else None)
        return _same(found)

    def _computed(self, dim: int, atom: Atom) -> NewEntries | None:
        sources = self._record.sources
        if self._record.norm is not None and self._place == 0:
            return self._normalised(dim, atom)
        if sources is of_matrices:
            return self._of_product(dim, atom)
        if sources is of_convolution:
            return self._of_convolution(dim, atom)
        if sources is of_embedding:
            last = dim == len(self._out.shape) - 1
            return self._flow.entries(self._named["weight"], 1, atom) if last else None
        if sources is each_of:
            return self._multiplied(dim, atom)
        degrees = self._record.degrees(self._named) if self._record.degrees is not None else {}
        if degrees.get("other") == -1:
            return self._divided(dim, atom)
        return self._added(dim, atom) if self._record.additive and self._place == 0 else None

    def _normalised(self, dim: int, atom: Atom) -> NewEntries | None:
        """Entries that a norm makes of the mean, or of zero: its shift."""
        source, bias = self._named["input"], self._named.get("bias")
        if not any(d == dim and a is atom for d, a in self._flow.along(source)):
            return None
        if self._flow.entries(source, dim, atom) is None or not self._flow.measures(self._operation, atom):
            return None
        return ZERO if not isinstance(bias, Stub) or self._flow.is_zero(bias, atom) else None

    # Element by element

    def _aligned(self, stub: Stub, dim: int, atom: Atom) -> int | None:
        """The dimension of an operand that meets one of the result and has a width; None if repeated."""
        d = dim - (len(self._out.shape) - len(stub.shape))
        return d if d >= 0 and any(x == d and a is atom for x, a in self._flow.along(stub)) else None

    def _added(self, dim: int, atom: Atom) -> NewEntries | None:
        """Sums of tensors, and whatever adds up over other dimensions."""
        operands, flow = self._operation.operands, self._flow
        if len(operands) == 1 and operands[0].shape != self._out.shape:
            here = [d for d, a in flow.along(operands[0]) if a is atom]
            return flow.entries(operands[0], here[0], atom) if len(here) == 1 else None
        wide = [(s, d) for s in operands if (d := self._aligned(s, dim, atom)) is not None]
        if not wide:
            return None
        first = _same([flow.entries(stub, d, atom) for stub, d in wide])
        if first is None:
            if any(flow.entries(stub, d, atom) == ZERO for stub, d in wide):
                for stub, d in wide:
                    flow.shift(stub, d, atom)
            return None
        others = [s for s in operands if all(s.id != w.id for w, _ in wide)]
        numbers = any(isinstance(v, (int, float)) and v != 0 for v in self._operation.args[:2])
        if not others and not numbers:
            return first
        if first.kind is Kind.ZERO or first.gains:
            return None
        return ZERO if self._is_centred(wide, others) else first

    def _is_centred(self, wide: list[tuple[Stub, int]], others: list[Stub]) -> bool:
        """Tell whether a tensor's own mean is taken from it."""
        a = self._named
        difference = self._operation.func.overloadpacket.__name__.rstrip("_") == "sub"
        if len(wide) != 1 or len(others) != 1 or not difference or a.get("alpha", 1) != 1:
            return False
        return self._flow.state(others[0]).mean_of == self._flow.root(wide[0][0])

    def _multiplied(self, dim: int, atom: Atom) -> NewEntries | None:
        """Products: the same factor for all neurons, or one for each that a layer scale has."""
        operands, flow = self._operation.operands, self._flow
        wide = [(s, d) for s in operands if (d := self._aligned(s, dim, atom)) is not None]
        if len(wide) == 1:
            return flow.entries(*wide[0], atom)
        if len(wide) != 2:
            return None
        for (stub, d), (gain, g) in (wide, wide[::-1]):
            entries, origin = flow.entries(stub, d, atom), flow.origins.of.get(gain.id)
            if entries is None or entries.kind is not Kind.MEAN or origin is None or g not in origin.dims:
                continue
            key = (origin.number, origin.dims[g], atom)
            if origin.number in entries.gains and key in flow.decisions.ones:
                return dataclasses.replace(entries, gains=entries.gains - {origin.number})
            flow.weigh(entries, key)
        return None

    def _divided(self, dim: int, atom: Atom) -> NewEntries | None:
        numerator = self._operation.args[0]
        wide = [(s, d) for s in self._operation.operands if (d := self._aligned(s, dim, atom)) is not None]
        if len(wide) != 1 or not isinstance(numerator, Stub) or wide[0][0].id != numerator.id:
            return None
        return self._flow.entries(*wide[0], atom)

    # Products that sum

    def _with(self, found: NewEntries | None, bias: Any, dim: int | None, atom: Atom) -> NewEntries | None:
        """Entries to which those of a bias are added, that has the width along `dim`, or not at all."""
        if found is None or not isinstance(bias, Stub):
            return found
        if dim is None or all(d != dim or a is not atom for d, a in self._flow.along(bias)):
            return found if found.kind is Kind.MEAN and not found.gains else None
        return _same([found, self._flow.entries(bias, dim, atom)])

    def _of_product(self, dim: int, atom: Atom) -> NewEntries | None:
        flow, a = self._flow, self._named
        one, two = matrices(a)
        rank = len(self._out.shape)
        if dim < rank - 2:
            return None
        factor, d = (one, len(one.shape) - 2) if dim == rank - 2 else (two, len(two.shape) - 1)
        added = None if a["self"] in (one, two) or a.get("beta", 1) == 0 else a["self"]
        at = None if added is None else dim - (rank - len(added.shape))
        return self._with(flow.entries(factor, d, atom), added, at, atom)

    def _of_convolution(self, dim: int, atom: Atom) -> NewEntries | None:
        flow, a = self._flow, self._named
        weight, bias = a["weight"], a.get("bias")
        source = a["input"] if "input" in a else a["self"]
        channels = len(self._out.shape) - len(weight.shape) + 1
        if dim != channels:
            return self._with(flow.entries(source, dim, atom), bias, None, atom)
        if a["groups"] != 1 and any(x is atom for _, x in flow.along(source)):
            return None
        return self._with(flow.entries(weight, 1 if a.get("transposed") else 0, atom), bias, 0, atom)


def _same(found: list[NewEntries | None]) -> NewEntries | None:
    """Entries that are the same in all parts of a sum."""
    first = found[0] if found else None
    if first is None or any(each != first for each in found):
        return None
    return dataclasses.replace(first, writers=frozenset().union(*(each.writers for each in found if each)))
