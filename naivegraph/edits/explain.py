"""Why a vertex has the size it has: what ties it, what fixes it, and which sizes it can take instead."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from naivegraph.edits import given
from naivegraph.edits.nearest import Nearest, nearest_sizes
from naivegraph.edits.wording import tell
from naivegraph.errors import NaivegraphError
from naivegraph.graph import Graph, Vertex
from naivegraph.widths import Demands, Width, Widths, demands_of, relate
from naivegraph.widths.axis import Atom, Axis, reasons
from naivegraph.widths.ties import OUTPUT, Place, Role, Ties, once

__all__ = ["Cause", "Explanation", "Part", "Ripple", "Tie", "explain"]


class Tie(NamedTuple):
    """Another layer that shares a width, and the vertices through which the two are tied.

    `role` says whether the layer's inputs or its outputs are meant, or both at once.
    """

    layer: str
    chain: tuple[str, ...]
    role: Role


class Cause(NamedTuple):
    """Why neurons are fixed, and the vertices from the one explained to what fixes them."""

    reason: str
    chain: tuple[str, ...]


class Ripple(NamedTuple):
    """A size of another layer that changes along."""

    layer: str
    role: Role
    before: int
    after: int


@dataclasses.dataclass(frozen=True)
class Part:
    """One width that a size is made of.

    Attributes:
        name: The width's name: the layer whose output it is.
        size: Its number of neurons.
        tied_with: The other layers that share it, nearest first.
        held: Why the network's own code does not let it change; None if it does.
        coupled: The statistics that its neurons enter.
        output: The vertices from the one explained to the network's output, if its neurons are outputs of the
            network, which `prune` keeps and `resize` may change; else empty.
    """

    name: str
    size: int
    tied_with: tuple[Tie, ...]
    held: str | None
    coupled: tuple[str, ...]
    output: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What `explain` found; print it for the sentences.

    Attributes:
        name: What was asked about.
        size: How many neurons it has.
        made_of: The size as a sum of products, such as `"3 x 12 x 64"`.
        parts: The widths in it.
        fixed: Why (some of) its neurons are fixed, each with what fixes them.
        demands: What the network's own code and declared rules demand of its sizes, in words.
        nearest: The nearest sizes it can take, one entry for each way in which it can change.
        ripples: What else changes when it takes the first of them, one size up (or down).
    """

    name: str
    size: int
    made_of: str
    parts: tuple[Part, ...]
    fixed: tuple[Cause, ...]
    demands: tuple[str, ...]
    nearest: tuple[Nearest, ...]
    ripples: tuple[Ripple, ...]

    def __str__(self) -> str:
        return tell(self)

    @property
    def widths(self) -> dict[str, int]:
        """The sizes of the widths in it, by name."""
        return {part.name: part.size for part in self.parts}

    @property
    def tied_with(self) -> list[tuple[str, tuple[str, ...]]]:
        """All other layers that share a width with it, each with the chain of vertices that ties them."""
        return [(tie.layer, tie.chain) for part in self.parts for tie in part.tied_with]

    @property
    def fixed_reason(self) -> str | None:
        """Why its size cannot change at all; None if it can."""
        if self.nearest:
            return None
        held = [part.held for part in self.parts if part.held is not None]
        return next(iter([*held, *(cause.reason for cause in self.fixed), *self.demands]), None)


def explain(graph: Graph, what: str | Vertex) -> Explanation:
    """Explain the size of a vertex: what it is tied to, why it is fixed, which sizes it can take.

    Args:
        graph: A captured or written graph.
        what: A vertex, its name, or the name of a parameter.

    Returns:
        The facts as data; printed, they are sentences.

    Raises:
        NaivegraphError: There is no such vertex or parameter.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from naivegraph.graph import capture
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> explanation = explain(capture(net, torch.zeros(1, 4)), "0")
        >>> explanation.tied_with
        [('1', ('0', '1')), ('2', ('0', '1', '2'))]
        >>> explanation.nearest[0].smaller, explanation.nearest[0].larger
        (7, 9)
    """
    widths = relate(given.graph(graph), free_outputs=True)
    return Explainer(widths, demands_of(widths)).explain(what)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What an explanation is about: its name, its axis and where in the network that axis is found."""

    name: str
    axis: Axis
    places: tuple[Place, ...]


class Explainer:
    """Explains sizes of one network; keeps what it worked out for the next question."""

    def __init__(self, widths: Widths, demands: Demands) -> None:
        self.widths, self.demands = widths, demands
        self.ties = Ties(widths)

    def explain(self, what: str | Vertex) -> Explanation:
        """Everything about the size of a vertex; see the function of this name."""
        subject = self.subject(what)
        atoms = list(dict.fromkeys(subject.axis.atoms()))
        nearest = nearest_sizes(subject.axis, self.demands)
        return Explanation(
            subject.name,
            subject.axis.length,
            made_of(subject.axis),
            tuple(self._part(subject, self.widths.by_atom[a]) for a in atoms if a in self.widths.by_atom),
            tuple(self.causes(subject)),
            tuple(dict.fromkeys(self.demanded(atoms))),
            tuple(nearest),
            tuple(self._ripples(subject, nearest[0].changed)) if nearest else (),
        )

    def subject(self, what: str | Vertex) -> Subject:
        """Find a vertex or parameter.

        Raises:
            NaivegraphError: There is none; the message lists the names most like it.
        """
        graph, ties = self.widths.graph, self.ties
        if isinstance(what, Vertex):
            if not any(vertex is what for vertex in graph.vertices):
                raise NaivegraphError(f"the vertex {what.name!r} is not one of this graph's")
            return self._of_vertex(what)
        if not isinstance(what, str):
            raise NaivegraphError(f"explain takes a vertex, its name or a parameter's, not {what!r}")
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
        near = difflib.get_close_matches(what, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see graph.summary() for names"
        raise NaivegraphError(f"the graph has no vertex or parameter {what!r}; {hint}")

    def _of_vertex(self, vertex: Vertex) -> Subject:
        return Subject(vertex.name, self.widths.output_axis(vertex), tuple(self.ties.output(vertex)))

    # Ties and causes

    def _part(self, subject: Subject, width: Width) -> Part:
        ways = self.ties.ways(subject.places, width.atom)
        found: dict[tuple[str, Role], tuple[str, ...]] = {}
        for name, dim in width.lives:
            layer, role = self.ties.owner(name), self.ties.role(name, dim)
            way = ways.get(self.ties.state(name, dim), ())
            chain = once((subject.name, *way, layer))
            if layer != subject.name and len(chain) < len(found.get((layer, role), chain * 2)):
                found[layer, role] = chain
        ties = [Tie(layer, chain, role) for (layer, role), chain in found.items()]
        ties.sort(key=lambda tie: len(tie.chain))
        held = self.demands.holds.get(width.atom)
        ends = [ways[place] for place in self.ties.outputs() if place in ways]
        output = once((subject.name, *min(ends, key=len), OUTPUT)) if ends else ()
        return Part(width.name, width.size, tuple(ties), held, width.coupled, output)

    def causes(self, subject: Subject) -> Iterable[Cause]:
        """Why parts of an axis are fixed, each with the way to what fixes them."""
        for reason in reasons(subject.axis):
            yield Cause(reason, once((subject.name, *self.ties.cause(subject.places, reason))))

    def demanded(self, atoms: list[Atom]) -> Iterable[str]:
        """What the network's own code and declared rules demand of some widths, in words."""
        for atom in atoms:
            if atom in self.demands.holds:
                yield self.demands.holds[atom]
        for row in self.demands.rows:
            if any(atom in atoms for atom in row.polynomial.atoms()):
                yield row.reason

    def _ripples(self, subject: Subject, changed: Mapping[Atom, int]) -> Iterable[Ripple]:
        """Every size of another layer that changes with these widths."""

        def count(atom: Atom) -> int:
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


def made_of(axis: Axis) -> str:
    """The size of an axis as a sum of products of numbers.

    Example:
        >>> from naivegraph.widths.axis import Atom, join, single
        >>> made_of(join([single(3), single(Atom(12)), single(Atom(64))]))
        '3 x 12 x 64'
    """
    terms = []
    for term in axis.terms:
        factors = [f"({made_of(f)})" if isinstance(f, Axis) else str(_number(f)) for f in term]
        terms.append(" x ".join(factors) or "1")
    return " + ".join(terms) or "0"


def _number(factor: Atom | int) -> int:
    return factor.length if isinstance(factor, Atom) else int(factor)
