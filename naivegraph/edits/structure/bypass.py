"""Letting the users of a vertex take a tensor that it took."""

from __future__ import annotations

from naivegraph.edits.structure.merges import other_summand, tensors_of
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.vertices import new_name, output_of
from naivegraph.graph import Vertex
from naivegraph.graph.run.blocks import has_parameters
from naivegraph.ir.pytree import contains_stub
from naivegraph.ir.values import Stub
from naivegraph.network import Graph

__all__ = ["bypass", "summand_gone"]


def summand_gone(rewiring: Rewiring, user: Vertex, stub: Stub) -> None:
    """Let the users of a sum take its other summand."""
    # Only now is it known what is left: the other summand may be a sum that did without the tensor before.
    bypass(rewiring, user, other_summand(user, stub))


def bypass(rewiring: Rewiring, gone: Vertex, other: Stub) -> None:
    """Let the users of a vertex take a tensor it took; a copy, if they would change it for others."""
    graph, out = rewiring.graph, output_of(gone)
    if other.id == out.id:
        rewiring.remove(gone)
        return
    if _changed_for_others(graph, gone, out, other):
        name, at = new_name(graph, f"{gone.name}_clone"), graph.vertices.index(gone)
        other = output_of(rewiring.add_function(name, "clone", (other,), at, gone.path))
    rewiring.remove(gone, out, other)


def _changed_for_others(graph: Graph, gone: Vertex, out: Stub, other: Stub) -> bool:
    """Check whether later vertices change its output in place while its input has other users.

    An activation does itself: its gradient is worked out from what it gave.
    """
    later = graph.vertices[graph.vertices.index(gone) + 1 :]
    if not any(contains_stub(v.output, out) for v in later):
        return False
    makers = [vertex for vertex in graph if contains_stub(vertex.output, other)]
    if makers and not has_parameters(makers[-1]):
        return True
    used = [v for v in graph if v is not gone and other.id in {stub.id for stub in tensors_of(v)}]
    return bool(used) or contains_stub([graph.output, *(v.output for v in graph.inputs)], other)
