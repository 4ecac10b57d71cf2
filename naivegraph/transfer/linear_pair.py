"""Two linear layers in a row, with nothing between them that is no linear map."""

from __future__ import annotations

import dataclasses

from naivegraph.algebra.axis import Atom
from naivegraph.edits.exact_growth.roles import ShownStates, matrices
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of, record_of
from naivegraph.operators.relation import Summed, arguments
from naivegraph.operators.sources import each_of, of_convolution, of_embedding, of_matrices
from naivegraph.transfer.rearrange import width_along
from naivegraph.widths import Width, Widths

__all__ = ["LinearPair", "linear_pair"]


@dataclasses.dataclass(frozen=True)
class LinearPair:
    """Two linear layers in a row.

    Attributes:
        vertex: The vertex asked for.
        width: The neurons between them.
        writers: The weight and bias of the first one, each with the dimension of these neurons.
        readers: The weight of the second one, likewise.
    """

    vertex: Vertex
    width: Width
    writers: tuple[tuple[str, int], ...]
    readers: tuple[tuple[str, int], ...]


def linear_pair(widths: Widths, vertex: Vertex) -> LinearPair:
    """The pair of layers of which a vertex is the first.

    Raises:
        EditError: It is none; the message says why.
    """
    width = width_along(widths, widths.output_axis(vertex), f"the neurons of {vertex.name!r}")
    resolve = widths.relation.algebra.resolve
    sums = [each for each in widths.relation.summed if width.atom in resolve(each.axis).atoms()]
    what = f"{vertex.name} is not the first of two linear layers with nothing between them"
    if width.coupled and any(width.atom in resolve(a).atoms() for a, *_ in widths.relation.measured):
        raise EditError(f"{what}: its neurons enter {width.coupled[0]}")
    if len(sums) != 1:
        where = ", ".join(each.where for each in sums) or "nowhere"
        raise EditError(f"{what}: its neurons are summed over at {where}")
    origins = ShownStates(widths)
    readers = _readers(widths, origins, sums[0], what)
    taken = next((stub, dim) for stub, dim in sums[0].factors if stub.id not in origins.of)
    writers = _Writers(widths, origins, width.atom, what).of(*taken)
    lives = {(widths.graph.state[name].id, dim) for name, dim in width.lives}
    if lives != {(widths.graph.state[name].id, dim) for name, dim in (*writers, *readers)}:
        raise EditError(f"{what}: {', '.join(sorted({name for name, _ in width.lives}))} have its neurons")
    return LinearPair(vertex, width, writers, readers)


def _readers(widths: Widths, origins: ShownStates, summed: Summed, what: str) -> tuple[tuple[str, int], ...]:
    names = {stub.id: name for name, stub in reversed(widths.graph.state.items())}
    found = [
        (names[origin.number], origin.dims[dim])
        for stub, dim in summed.factors
        if (origin := origins.of.get(stub.id)) is not None and dim in origin.dims
    ]
    if len(found) != 1 or len(summed.factors) != 2:
        raise EditError(f"{what}: what sums over its neurons at {summed.where} is no layer with weights")
    return tuple(found)


class _Writers:
    """The way back from what the second layer takes to the weights of the first one."""

    def __init__(self, widths: Widths, origins: ShownStates, atom: Atom, what: str) -> None:
        self._widths, self._origins, self._atom, self._what = widths, origins, atom, what
        self._names = {stub.id: name for name, stub in reversed(widths.graph.state.items())}
        self._makers: dict[int, tuple[Operation, str]] = {}
        for run in widths.graph.runs:
            for vertex in run.vertices:
                for operation in vertex.operations:
                    for out in operation.outputs:
                        if out is not None:
                            self._makers.setdefault(out.id, (operation, vertex.name))

    def of(self, stub: Stub, dim: int) -> tuple[tuple[str, int], ...]:
        """The entries that write a tensor's neurons along a dimension."""
        operation, place = self._makers.get(stub.id, (None, ""))
        if operation is None:
            raise EditError(f"{self._what}: its neurons are an input")
        record, named = record_of(operation.func), arguments(operation)
        movement = movement_of(operation)
        if movement is not None and len(operation.operands) == 1:
            source = operation.operands[0]
            (back,) = movement.dims(named, source, stub, frozenset([dim]))
            return self.of(source, back)
        if record.sources is of_matrices:
            one, two = matrices(named)
            bias = [] if named["self"] in (one, two) else [(named["self"], -1)]
            return self._shown([(two, len(two.shape) - 1), *bias], place)
        if record.sources is of_convolution and named["groups"] == 1 and not named.get("transposed"):
            bias = [(named["bias"], 0)] if isinstance(named.get("bias"), Stub) else []
            return self._shown([(named["weight"], 0), *bias], place)
        if record.sources is of_embedding:  # each neuron has a column of the table
            return self._shown([(named["weight"], 1)], place)
        wide = [s for s in operation.operands if self._lies(s)]
        linear = record.sources is each_of or (record.additive and not self._adds(named))
        if linear and len(wide) == len(operation.operands) == 1 and wide[0].shape == stub.shape:
            return self.of(wide[0], dim)
        raise EditError(f"{self._what}: {operation.func.overloadpacket.__name__} at {place} is between them")

    def _adds(self, named: dict[str, object]) -> bool:
        """Tell whether a number is added."""
        return isinstance(named.get("other"), (int, float)) and named["other"] != 0

    def _lies(self, stub: Stub) -> bool:
        return any(self._atom in axis.atoms() for axis in self._widths.of(stub))

    def _shown(self, entries: list[tuple[Stub, int]], place: str) -> tuple[tuple[str, int], ...]:
        """Parameters that tensors show."""
        found = []
        for stub, dim in entries:
            origin = self._origins.of.get(stub.id)
            if origin is None or dim % len(stub.shape) not in origin.dims:
                raise EditError(f"{self._what}: the weights at {place} are worked out")
            found.append((self._names[origin.number], origin.dims[dim % len(stub.shape)]))
        return tuple(found)
