"""Explanation of the size of a vertex: its ties, the reasons why it is fixed, other sizes it can take."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from naivegraph.algebra.axis import Atom, Axis, made_of, reasons
from naivegraph.edits.explain.explanation import Cause, Explanation, Ripple, SizePart, Tie
from naivegraph.edits.explain.nearest_sizes import nearest_sizes
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.errors import EditError, nearest
from naivegraph.graph import Vertex
from naivegraph.network import Graph
from naivegraph.operators.relation import InputTensor, tensors_in
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.solvers import Backend
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate
from naivegraph.widths.ties import OUTPUT, DimPlace, Role, TieGraph, without_repeats

__all__ = ["explain"]


@graph_verb
def explain(model: Graph, what: str | Vertex, *, backend: str | Backend = "highs") -> Explanation:
    """Explain the size of a vertex: its ties, the reasons why it is fixed, other sizes it can take.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        what: A vertex, its name, or the name of a parameter.
        backend: The solver; `naivegraph.solvers.backends()` lists those there are.

    Returns:
        The facts as data; printed, they are sentences.

    Raises:
        EditError: There is no such vertex or parameter.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from naivegraph.network import capture
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> explanation = explain(capture(net, torch.zeros(1, 4)), "0")
        >>> explanation.tied_with
        [('1', ('0', '1')), ('2', ('0', '1', '2'))]
        >>> explanation.nearest[0].smaller, explanation.nearest[0].larger
        (7, 9)
    """
    validate.backend(backend)
    widths = relate(model, free_outputs=True, free_inputs=_free_inputs(model, what))
    return Explainer(widths, constraints_of(widths)).explain(what, backend)


def _free_inputs(graph: Graph, what: str | Vertex) -> set[InputTensor]:
    """The input that is to be explained, which may change where it is asked for."""
    name = what.name if isinstance(what, Vertex) else what
    for vertex in graph.inputs:
        stub = next(iter(tensors_in(vertex.output)), None)
        if vertex.name == name and stub is not None and stub.dtype.is_floating_point:
            return {(name, 0)}
    return set()


@dataclasses.dataclass(frozen=True)
class Subject:
    """Subject of an explanation: its name, its axis, and the dimensions of tensors with that axis."""

    name: str
    axis: Axis
    places: tuple[DimPlace, ...]


class Explainer:
    """Explanations of the sizes of one network, whose ties are worked out once."""

    def __init__(self, widths: Widths, constraints: SizeConstraints) -> None:
        self.widths, self.constraints = widths, constraints
        self.ties = TieGraph(widths)

    def explain(self, what: str | Vertex, backend: str | Backend = "highs") -> Explanation:
        """Explain the size of a vertex; see the function of this name."""
        subject = self.subject(what)
        atoms = list(dict.fromkeys(subject.axis.atoms()))
        nearest = nearest_sizes(subject.axis, self.constraints, backend)
        return Explanation(
            subject.name,
            subject.axis.length,
            made_of(subject.axis),
            tuple(self._part(subject, self.widths.by_atom[a]) for a in atoms if a in self.widths.by_atom),
            tuple(self.causes(subject)),
            tuple(dict.fromkeys(self.constraints_on(atoms))),
            tuple(nearest),
            tuple(self._ripples(subject, nearest[0].changed)) if nearest else (),
            RelatedGraph.of(self.widths),
        )

    def subject(self, what: str | Vertex) -> Subject:
        """Find a vertex or parameter.

        Raises:
            EditError: There is none; the message lists the names most like it.
        """
        graph, ties = self.widths.graph, self.ties
        if isinstance(what, Vertex):
            if not any(vertex is what for vertex in graph.vertices):
                raise EditError(f"the vertex {what.name!r} is not one of this graph's: give its name")
            return self._of_vertex(what)
        if not isinstance(what, str):
            raise EditError(f"explain takes a vertex, its name or a parameter's, not {what!r}")
        if what in graph:
            return self._of_vertex(graph[what])
        if what in graph.state:
            owner = ties.owner(what)
            if owner in graph:
                return self._of_vertex(graph[owner])
            axes = self.widths.axes[what]
            free = [axis for axis in axes if not axis.fixed]
            axis = self.widths.relation.algebra.join(free or axes[-1:])
            return Subject(what, axis, tuple(ties.state(what, dim) for dim in range(len(axes))))
        names = [vertex.name for vertex in graph.vertices] + list(graph.state)
        hint = nearest(what, names, otherwise="see graph.summary() for names")
        raise EditError(f"the graph has no vertex or parameter {what!r}{hint}")

    def _of_vertex(self, vertex: Vertex) -> Subject:
        return Subject(vertex.name, self.widths.output_axis(vertex), tuple(self.ties.outputs_of(vertex)))

    # Ties and causes

    def _part(self, subject: Subject, width: Width) -> SizePart:
        ways = self.ties.paths(subject.places, width.atom)
        found: dict[tuple[str, Role], tuple[str, ...]] = {}
        for name, dim in width.lives:
            layer, role = self.ties.owner(name), self.ties.role(name, dim)
            way = ways.get(self.ties.state(name, dim), ())
            chain = without_repeats((subject.name, *way, layer))
            if layer != subject.name and len(chain) < len(found.get((layer, role), chain * 2)):
                found[layer, role] = chain
        ties = [Tie(layer, chain, role) for (layer, role), chain in found.items()]
        ties.sort(key=lambda tie: len(tie.chain))
        held = self.constraints.fixed.get(width.atom)
        ends = [ways[place] for place in self.ties.network_outputs() if place in ways]
        output = without_repeats((subject.name, *min(ends, key=len), OUTPUT)) if ends else ()
        return SizePart(width.name, width.size, tuple(ties), held, width.coupled, output)

    def causes(self, subject: Subject) -> Iterable[Cause]:
        """The reasons why parts of an axis are fixed, each with the path to what fixes them."""
        for reason in reasons(subject.axis):
            yield Cause(reason, without_repeats((subject.name, *self.ties.cause(subject.places, reason))))

    def constraints_on(self, atoms: list[Atom]) -> Iterable[str]:
        """The constraints of the network's own code and of custom rules on some widths, in words."""
        for atom in atoms:
            if atom in self.constraints.fixed:
                yield self.constraints.fixed[atom]
        for row in self.constraints.width_constraints:
            if any(atom in atoms for atom in row.polynomial.atoms()):
                yield row.reason

    def _ripples(self, subject: Subject, changed: Mapping[Atom, int]) -> Iterable[Ripple]:
        """The sizes of other layers that change with these widths."""

        def count(atom: Atom) -> int:
            """Return the size of a width after the change."""
            return changed.get(atom, atom.length)

        found: dict[Ripple, None] = {}
        for name, axes in self.widths.axes.items():
            layer = self.ties.owner(name)
            for dim, axis in enumerate(axes):
                after = axis.size(count)
                if after == axis.length:
                    continue
                role = self.ties.role(name, dim)
                if layer != subject.name or role == "input":
                    found[Ripple(layer, role, axis.length, after)] = None
        return found
