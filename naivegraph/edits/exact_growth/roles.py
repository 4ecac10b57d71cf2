"""Roles of parameters along a growing width: to write its neurons, to shift them behind a norm, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from naivegraph.algebra.axis import Atom
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.movement import Arguments, MoveKind
from naivegraph.operators.relation import arguments, tensors_in
from naivegraph.operators.sources import each_of, of_channel_norm, of_convolution, of_matrices
from naivegraph.widths.widths import Widths

__all__ = ["Along", "Roles", "ShownState", "ShownStates", "matrices", "roles_of"]

# A parameter or buffer by its number, one of its dimensions, and a width there.
Along = tuple[int, int, Atom]
_WHOLE = (MoveKind.RESHAPED, MoveKind.TURNED, MoveKind.REPEATED)


@dataclasses.dataclass(frozen=True)
class ShownState:
    """The parameter or buffer whose elements a tensor shows, all of them.

    Attributes:
        number: Its number.
        dims: Its dimension, for each dimension of the tensor that shows one alone.
    """

    number: int
    dims: dict[int, int]


class ShownStates:
    """The parameters and buffers that tensors show, in another shape or order at most."""

    def __init__(self, widths: Widths) -> None:
        self.of: dict[int, ShownState] = {}
        for stub in widths.graph.state.values():
            self.of.setdefault(stub.id, ShownState(stub.id, {d: d for d in range(len(stub.shape))}))
        for run in widths.graph.runs:
            for vertex in run.vertices:
                for operation in vertex.operations:
                    self._enter(operation)

    def _enter(self, operation: Operation) -> None:
        movement = movement_of(operation)
        if movement is None or movement.kind not in _WHOLE or len(operation.operands) != 1:
            return
        source = operation.operands[0]
        origin = self.of.get(source.id)
        if origin is None:
            return
        named = arguments(operation)
        for out in operation.outputs:
            if out is None or out.id in self.of:
                continue
            dims = {}
            for d in range(len(out.shape)):
                back = movement.dims(named, source, out, frozenset([d]))
                if len(back) == 1 and (only := next(iter(back))) in origin.dims:
                    dims[d] = origin.dims[only]
            self.of[out.id] = ShownState(origin.number, dims)


@dataclasses.dataclass
class Roles:
    """Roles of parameters and buffers along widths.

    Attributes:
        writers: Those whose entries the width's neurons are made of.
        shifts: Those added to what a norm gives.
    """

    writers: dict[Along, None]
    shifts: dict[Along, None]


def matrices(a: Arguments) -> tuple[Stub, Stub]:
    """The two factors of a matrix product."""
    given: dict[str, Stub] = dict(a)
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"))
    one, two = next(names for names in pairs if names[0] in given)
    return given[one], given[two]


def roles_of(widths: Widths, origins: ShownStates, atoms: Collection[Atom]) -> Roles:
    """Find the roles of all parameters and buffers along these widths."""
    roles = Roles({}, {})
    for run in widths.graph.runs:
        for vertex in run.vertices:
            for operation in vertex.operations:
                for stub, dim, atom in _given(widths, origins, operation, atoms):
                    origin = origins.of[stub.id]
                    role = _role(widths, origins, operation, stub, dim, atom)
                    if role is not None and dim in origin.dims:
                        getattr(roles, role)[origin.number, origin.dims[dim], atom] = None
    return roles


def _given(
    widths: Widths, origins: ShownStates, operation: Operation, atoms: Collection[Atom]
) -> Iterator[tuple[Stub, int, Atom]]:
    """The parameters among the operands of an operator, with the dimensions along which widths lie."""
    if all(out is None or out.id in origins.of for out in operation.outputs):
        return
    for stub in dict.fromkeys(operation.operands):
        if stub.id in origins.of:
            for dim, axis in enumerate(widths.of(stub)):
                for atom in dict.fromkeys(axis.atoms()):
                    if atom in atoms:
                        yield stub, dim, atom


def _role(
    widths: Widths, origins: ShownStates, operation: Operation, stub: Stub, dim: int, atom: Atom
) -> str | None:
    """The role of a parameter in one call; None for none."""
    record, named = record_of(operation.func), arguments(operation)
    if record.norm is not None:
        return "shifts" if _is(named.get("bias"), stub) else None
    if record.sources is of_channel_norm:
        return "writers" if _is(named.get("weight"), stub) or _is(named.get("bias"), stub) else None
    if record.sources is of_matrices:
        one, two = matrices(named)
        summed = (one, len(one.shape) - 1), (two, len(two.shape) - 2)
        return None if any(_is(factor, stub) and dim == d for factor, d in summed) else "writers"
    if record.sources is of_convolution:
        inner = (0 if named.get("transposed") else 1) if _is(named["weight"], stub) else None
        return None if dim == inner else "writers"
    if record.sources is each_of:
        others = [other for other in tensors_in(list(operation.args)) if other.id not in origins.of]
        wide = any(atom in axis.atoms() for other in others for axis in widths.of(other))
        return None if wide else "writers"
    return "writers"


def _is(value: object, stub: Stub) -> bool:
    return isinstance(value, Stub) and value.id == stub.id
