"""The tables of a network that whole numbers are looked up in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from naivegraph.errors import EditError, nearest
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.operators import movement_of
from naivegraph.operators.relation import InputTensor, arguments, tensors_in

__all__ = ["Table", "looked_up", "lookups", "token_table"]


@dataclasses.dataclass(frozen=True)
class Table:
    """A parameter whose rows are looked up.

    Attributes:
        name: Its name.
        rows: The number of rows.
        dim: The dimension of the rows.
        inputs: The inputs of the network that are looked up in it as they are.
    """

    name: str
    rows: int
    dim: int
    inputs: tuple[InputTensor, ...]


def looked_up(graph: Graph) -> Iterator[Table]:
    """The tables that embeddings of a network look something up in, each once."""
    inputs: dict[int, InputTensor] = {
        stub.id: (vertex.name, index)
        for vertex in graph.inputs
        for index, stub in enumerate(tensors_in(vertex.output))
    }
    names: dict[int, str] = {}
    for name, stub in graph.state.items():
        names.setdefault(stub.id, name)
    found: dict[str, dict[InputTensor, None]] = {}
    for operation in (each for vertex in graph.vertices for each in vertex.operations):
        moved = [stub.id for stub in operation.operands if stub.id in inputs]
        if len(moved) == 1 and movement_of(operation) is not None:  # the same numbers in another shape
            inputs.update({out.id: inputs[moved[0]] for out in operation.outputs if out is not None})
        given = _of_embedding(operation)
        if given is not None and given[0].id in names:
            places = found.setdefault(names[given[0].id], {})
            places.update(dict.fromkeys([inputs[given[1].id]] if given[1].id in inputs else []))
    for name, places in found.items():
        yield Table(name, graph.state[name].shape[0], 0, tuple(places))


def lookups(graph: Graph) -> Iterator[tuple[str, Vertex, Stub]]:
    """Every time that something is looked up: the table, the vertex, and the numbers."""
    names: dict[int, str] = {}
    for name, stub in graph.state.items():
        names.setdefault(stub.id, name)
    for vertex in graph.vertices:
        for operation in vertex.operations:
            given = _of_embedding(operation)
            if given is not None and given[0].id in names:
                yield names[given[0].id], vertex, given[1]


def _of_embedding(operation: Operation) -> tuple[Stub, Stub] | None:
    """The table and the indices of an operator that looks rows up."""
    if operation.func.overloadpacket.__name__ not in ("embedding", "_embedding_bag"):
        return None
    given = arguments(operation)
    table, indices = given["weight"], given["indices"]
    return (table, indices) if isinstance(table, Stub) and isinstance(indices, Stub) else None


def token_table(graph: Graph, name: str | None) -> Table:
    """The table that an input of whole numbers is looked up in, or the one of a name.

    Raises:
        EditError: There is no such table, or there are several.
    """
    every = list(looked_up(graph))
    if name is not None:
        found = [table for table in every if graph.state[table.name] is graph.state.get(name)]
        if not found:
            names = [table.name for table in every]
            raise EditError(
                f"{name!r} is no table that something is looked up in{nearest(name, names)}; "
                f"there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}"
            )
        return found[0]
    direct = [table for table in every if table.inputs]
    if len(direct) != 1:
        names = [table.name for table in direct or every]
        raise EditError(
            f"{len(direct)} tables are looked up by an input of the network: say which with table= "
            f"({', '.join(names) or 'it has none'})"
        )
    return direct[0]
