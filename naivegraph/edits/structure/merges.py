"""Vertices where several tensors meet, sums and concatenations, recognised by their operators."""

from __future__ import annotations

from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.list_argument import parts_of
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.values import Stub
from naivegraph.operators import record_of
from naivegraph.operators.operator_record import Role
from naivegraph.operators.relation import arguments, tensors_in

__all__ = ["concatenation_dim", "is_concatenation", "other_summand", "tensors_of"]


def tensors_of(vertex: Vertex) -> list[Stub]:
    """The tensors a vertex takes, in order, as often as it takes them."""
    return tensors_in([vertex.args, vertex.kwargs])


def is_concatenation(vertex: Vertex) -> bool:
    """Check whether a vertex concatenates a list of tensors."""
    if vertex.kind != "function" or len(vertex.operations) != 1:
        return False
    if record_of(vertex.operations[0].func).role is not Role.CONCATENATION:
        return False
    try:
        return len(parts_of(vertex)) == len(tensors_in(arguments(vertex.operations[0])["tensors"]))
    except EditError:
        return False


def concatenation_dim(vertex: Vertex) -> int:
    """The dimension along which a vertex concatenates, counted from the front."""
    stub = stubs_in(vertex.output)[0]
    return int(arguments(vertex.operations[0])["dim"]) % len(stub.shape)


def other_summand(vertex: Vertex, stub: Stub) -> Stub:
    """The other summand of a sum, which is left of the sum without the given one.

    Raises:
        EditError: That is no tensor of the graph, or it is multiplied or repeated by the sum.
    """
    one, two = vertex.args
    first = isinstance(one, Stub) and one.id == stub.id and not (isinstance(two, Stub) and two.id == stub.id)
    other = two if first else one
    if not isinstance(other, Stub):
        raise EditError(f"without it {vertex.name!r} would give {other!r}, which is no tensor of the graph")
    if first and vertex.kwargs.get("alpha", 1) != 1:
        raise EditError(f"{vertex.name!r} multiplies what would be left by {vertex.kwargs['alpha']}")
    made = stubs_in(vertex.output)[0]
    if other.shape != made.shape:
        raise EditError(
            f"{vertex.name!r} repeats what would be left, which has the shape "
            f"{tuple(other.shape)}: the sum has {tuple(made.shape)}"
        )
    return other
