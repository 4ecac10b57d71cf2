"""Readers of neurons: the layers that sum over a width, and the tensors they take it from.

What a neuron does to a network it does through its readers: zero in all of them, it is gone. So its part in
a loss, and what is lost with it, are worked out there. A width on a residual stream has a reader in every
block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.graph import Vertex
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators.relation import Summed, tensors_in
from naivegraph.widths import Widths

__all__ = ["Reader", "ReadingRun", "neuron_numbers", "readers"]

Numbers = npt.NDArray[np.int64]
OnRead = Callable[["Reader", torch.Tensor], torch.Tensor]
OnOutput = Callable[["Reader", torch.Tensor], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """A sum over neurons inside one vertex.

    Attributes:
        vertex: The vertex.
        stub: The tensor that it takes the neurons from, among its arguments.
        dim: The dimension of that tensor which the neurons are on.
        axis: The resolved axis of that dimension.
        atoms: The free widths that are summed over.
        operation: The operator inside the vertex that sums.
        factor: What this operator multiplies the neurons in; the argument itself, or a view of it.
        weight: The tensor made of parameters alone that they are multiplied with, and its dimension that is
            summed over; None where they meet other activations.
    """

    vertex: Vertex
    stub: Stub
    dim: int
    axis: Axis
    atoms: frozenset[Atom]
    operation: Operation
    factor: Stub
    weight: tuple[Stub, int] | None


def readers(widths: Widths) -> list[Reader]:
    """All readers of free widths in eval mode, in recorded order.

    Sums inside a layer over neurons that never leave it, as of the heads of `nn.MultiheadAttention`, have
    none.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> [(reader.vertex.name, reader.dim) for reader in readers(ng.capture(net, torch.ones(1, 4)).widths)]
        [('2', 1)]
    """
    graph, resolve = widths.graph, widths.relation.algebra.resolve
    provenance = widths.provenances[0]
    vertices = {vertex.name: vertex for vertex in graph.vertices}
    found: dict[tuple[str, int, int], Reader] = {}
    for summed in widths.relation.summed:
        atoms = frozenset(atom for atom in resolve(summed.axis).atoms() if atom in widths.by_atom)
        vertex = vertices.get(summed.where)
        operation = None if vertex is None else _operation(vertex, summed)
        active = [factor for factor in summed.factors if factor[0].id not in provenance.stateful]
        if not atoms or vertex is None or operation is None or not active:
            continue
        place = _argument(widths, vertex, active, atoms)
        if place is None:
            continue
        stub, dim, factor = place
        weight = next((f for f in summed.factors if f[0].id in provenance.stateful), None)
        reader = Reader(vertex, stub, dim, widths.of(stub)[dim], atoms, operation, factor, weight)
        found.setdefault((vertex.name, stub.id, dim), reader)
    return list(found.values())


def _operation(vertex: Vertex, summed: Summed) -> Operation | None:
    """The operator of a vertex that makes a sum."""
    factors = {stub.id for stub, _ in summed.factors}
    for operation in vertex.operations:
        if factors <= {stub.id for stub in tensors_in([operation.args, operation.kwargs])}:
            return operation
    return None


def _argument(
    widths: Widths, vertex: Vertex, factors: list[tuple[Stub, int]], atoms: frozenset[Atom]
) -> tuple[Stub, int, Stub] | None:
    """The argument of a vertex from which it takes neurons, their dimension, and the factor it becomes."""
    given = [stub for stub in stubs_in((vertex.args, vertex.kwargs)) if stub.shape]
    for factor, dim in factors:
        for stub in given:
            if stub.id == factor.id and stub.shape == factor.shape:
                return stub, dim, factor
    for stub in given:
        for dim, axis in enumerate(widths.of(stub)):
            if atoms <= set(axis.atoms()):
                return stub, dim, factors[0][0]
    return None


def neuron_numbers(axis: Axis, rows: Mapping[Atom, Atom]) -> dict[Atom, Numbers]:
    """The number of the neuron at each place of an axis, by atom; -1 where there is none of it.

    Args:
        axis: A resolved axis, a sum of products.
        rows: The atoms whose neurons are different ones in each row, with those of the rows: there a neuron's
            number is that of its row, times the size, plus its own.

    Example:
        >>> heads, size = Atom(2), Atom(3)
        >>> axis = Axis(((heads, size),), 6)
        >>> [found.tolist() for found in neuron_numbers(axis, {}).values()]
        [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
        >>> neuron_numbers(axis, {size: heads})[size].tolist()
        [0, 1, 2, 3, 4, 5]
    """
    out: dict[Atom, Numbers] = {}
    offset = 0
    for term in axis.terms:
        shape = [f.length if isinstance(f, (Atom, Axis)) else int(f) for f in term]
        length = int(np.prod(shape))
        for position, factor in enumerate(term):
            if isinstance(factor, int):
                continue
            inner = {factor: np.arange(factor.length)} if isinstance(factor, Atom) else None
            for atom, numbers in (inner or neuron_numbers(factor, rows)).items():  # type: ignore[arg-type]
                along = [len(numbers) if place == position else 1 for place in range(len(shape))]
                block = np.broadcast_to(numbers.reshape(along), shape).reshape(-1)
                row = rows.get(atom)
                if row is not None and inner is not None:
                    if position == 0 or term[position - 1] is not row:
                        continue  # outside of its rows it is no neuron of theirs
                    before = [n if place == position - 1 else 1 for place, n in enumerate(shape)]
                    row_numbers = np.broadcast_to(np.arange(row.length).reshape(before), shape).reshape(-1)
                    block = row_numbers * atom.length + block
                whole = out.setdefault(atom, np.full(axis.length, -1, np.int64))
                whole[offset : offset + length] = block
        offset += length
    return out


class ReadingRun(Interpreter):
    """A run of a graph in which readers can be watched, and given other tensors.

    Args:
        graph: The graph.
        watched: The readers.
        on_read: Called with a reader and the tensor it takes; the reader is given what is returned.
        on_output: Called with a reader and the first tensor its vertex gives.
    """

    def __init__(
        self, graph: Recording, watched: list[Reader], on_read: OnRead, on_output: OnOutput | None = None
    ) -> None:
        super().__init__(graph)
        self._readers: dict[str, list[Reader]] = {}
        for reader in watched:
            self._readers.setdefault(reader.vertex.name, []).append(reader)
        self._on_read, self._on_output = on_read, on_output

    def _call(self, vertex: Vertex) -> Any:
        """Call a vertex with what its readers are given."""
        mine = self._readers.get(vertex.name)
        if not mine:
            return super()._call(vertex)
        before = {reader.stub.id: self._tensors[reader.stub.id] for reader in mine}
        for reader in mine:
            self._tensors[reader.stub.id] = self._on_read(reader, self._tensors[reader.stub.id])
        try:
            result = super()._call(vertex)
        finally:
            self._tensors.update(before)
        tensors = _tensors(result) if self._on_output is not None else []
        if self._on_output is not None and tensors:
            for reader in mine:
                self._on_output(reader, tensors[0])
        return result


def _tensors(value: Any) -> list[torch.Tensor]:
    """The tensors a call gave, of nested tuples and lists."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for item in value for t in _tensors(item)] if isinstance(value, (tuple, list)) else []
