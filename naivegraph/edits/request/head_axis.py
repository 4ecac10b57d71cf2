"""The number of heads among the neurons of a vertex."""

from __future__ import annotations

from collections.abc import Iterator

from naivegraph.algebra.axis import Atom, Axis, Factor, join, made_of, single
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.widths.widths import Widths

__all__ = ["head_axis"]


def head_axis(widths: Widths, vertex: Vertex) -> Axis:
    """The axis of the heads whose neurons a vertex makes or takes.

    Heads are what products of two results have one by one while they sum over the neurons of a head, as
    queries and keys do: dimensions that neither factor sums over, and that are not its rows or columns.

    Args:
        widths: The widths of a graph.
        vertex: The vertex, such as the layer that makes the queries.

    Raises:
        EditError: It has no heads, or their number cannot change.
    """
    axis, products = widths.output_axis(vertex), list(_products(widths))
    found = {each for term in axis.terms if (each := _of_term(term, products)) is not None}
    if len(found) == 1:
        return found.pop()
    what = (
        f"its size {axis.length} is {made_of(axis)}" if axis.atoms() else f"its size {axis.length} is fixed"
    )
    if found:
        raise EditError(f"{vertex.name} has several numbers of heads, {what}: ask the layers in front of it")
    raise EditError(
        f"{vertex.name} has no heads whose number may change: {what}. Ask a layer that makes queries, keys "
        "or values by their heads; other sizes are asked for as ng.size(48)"
    )


def _products(widths: Widths) -> Iterator[tuple[set[Atom], Axis]]:
    """Of sums of products of two results: the widths that are neither summed over nor rows, and that axis."""
    resolve = widths.relation.algebra.resolve
    stateful = [provenance.stateful for provenance in widths.provenances]
    for summed in widths.relation.summed:
        if len(summed.factors) != 2 or any(s.id in own for s, _ in summed.factors for own in stateful):
            continue
        for stub, dim in summed.factors:
            rank = len(stub.shape)
            if dim >= rank - 2:
                axes = [resolve(axis) for axis in widths.relation.of(stub)[: rank - 2]]
                yield {atom for axis in axes for atom in axis.atoms()}, resolve(summed.axis)


def _of_term(term: tuple[Factor, ...], products: list[tuple[set[Atom], Axis]]) -> Axis | None:
    """The factors of a term that count heads: such widths, and queries that share one."""
    for heads, inside in products:
        places = [i for i, factor in enumerate(term) if factor in heads]
        if not places:
            continue
        first, last = places[0], places[-1] + 1
        factors: list[Factor] = list(term[first:last])
        if last < len(term) and isinstance(after := term[last], int):
            # Queries that share a key, and a fixed part of a head's size, are one number.
            own = _leading(inside)
            factors += [int(after) // own] if after % own == 0 and after > own else []
        return join([single(factor) for factor in factors])
    return None


def _leading(axis: Axis) -> int:
    """The fixed number of indices that an axis begins with."""
    first = axis.terms[0][0] if axis.terms else 1
    return int(first) if isinstance(first, int) else 1
