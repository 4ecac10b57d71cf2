"""The report on the sizes of vertices before and after an edit, with the reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.edits.apply.origins import Axes
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import along, formula_length, formula_of, indices, to_runs
from naivegraph.edits.request.scope import AxisRequest
from naivegraph.graph import Vertex
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.tables import Column, TextTable
from naivegraph.widths import Widths
from naivegraph.widths.row_choices import bare
from naivegraph.widths.ties import DimPlace, TieGraph

__all__ = ["SizeChange", "SizeReport", "sizes_table"]

_SHOWN = 12
_RUNS = 3  # of kept neurons shown in a row of the table
_COLUMNS = (
    Column("vertex", fold=True), Column("before", right=True), Column("after", right=True), Column("kept"),
    Column("new", right=True), Column("why", fold=True),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SizeChange:
    """The change of a vertex's neurons.

    Attributes:
        before: Their number before.
        after: Their number after.
        kept: Those that stayed, as runs of their indices before. With `by_row`, those that stayed in some
            row.
        new: The number of new ones.
        why: The request on the vertex, or the vertex whose size it follows.
        chain: The vertices by which it follows that one.
        by_row: Whether each row (each head, say) kept other neurons, as many in each.
    """

    before: int
    after: int
    kept: tuple[range, ...]
    new: int
    why: str
    chain: tuple[str, ...] = ()
    by_row: bool = False


@dataclasses.dataclass(frozen=True)
class _Root:
    """The origin of a change: its name, its neurons, and their vertex (`given`: among its inputs)."""

    name: str
    axis: Axis
    vertex: str
    given: bool = False


class SizeReport:
    """The sizes of vertices before and after a change, worked out on first use.

    Args:
        widths: The widths of the graph before the change. Nothing of the network itself is kept.
        change: The change.
        axis_requests: The requests.
        otherwise: The reason for changes of sizes that follow no request.
        gone: The names of vertices that leave the graph.

    Attributes:
        related: The graph before the change; None in a copy.
        gone: The names of vertices that leave the graph.
        of_vertices: Whether the requests were about vertices.
        texts: The requests on each vertex, in words.
        roots: The origins of changes.
        otherwise: The reason for all other changes.
        layers: The names of vertices with parameters that change, once the sizes are worked out.
    """

    def __init__(
        self,
        widths: Widths,
        change: Change,
        axis_requests: Sequence[AxisRequest] = (),
        otherwise: str | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self.related: RelatedGraph | None = RelatedGraph.of(widths)
        self.gone = gone
        self._widths = self.related.widths
        self._change = change
        self.of_vertices = bool(axis_requests) or otherwise is not None
        self.otherwise = otherwise or (
            "so that what was asked fits" if axis_requests else "chosen by utility"
        )
        self.texts: dict[str, list[str]] = {}
        self.roots: list[_Root] = []
        for axis_request in axis_requests:
            name, output = axis_request.vertex.name, axis_request.where == "output"
            self.roots.append(
                _Root(
                    name if output else f"{name}, {axis_request.where}", axis_request.axis, name, not output
                )
            )
            if output:
                self.texts.setdefault(name, []).append(str(axis_request.request))
        self.layers: set[str] = set()
        self._found: dict[str, SizeChange] | None = None

    def sizes(self) -> dict[str, SizeChange]:
        """The changes of vertices whose neurons changed, by their names, in the order of the graph."""
        if self._found is None:
            self._found = self._work_out()
        return self._found

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle: the sizes, which are plain data, without the widths they come from."""
        self.sizes()
        kept = {name: value for name, value in vars(self).items() if name not in ("_widths", "roots")}
        return {**kept, "related": None}

    def _work_out(self) -> dict[str, SizeChange]:
        by_name = {width.name: key for key, width in self._change.widths.items()}
        keys = {w.atom: by_name[w.name] for w in self._widths.widths if w.name in by_name}
        axes = {vertex: self._widths.output_axis(vertex) for vertex in self._widths.graph.vertices}
        axes = {vertex: axis for vertex, axis in axes.items() if not keys.keys().isdisjoint(axis.atoms())}
        kept = {key: width.kept for key, width in self._change.widths.items()}
        own = [atom for atom, key in keys.items() if kept[key].ndim == 2]
        known, why = Axes(self._change), _Why(TieGraph(self._widths), keys, self)
        out, tensors = {}, self._change.tensors
        for vertex, axis in axes.items():
            formula = formula_of(axis, keys)
            loose = [keys[atom] for atom in own if bare(axis, atom, self._widths.outer[atom])]
            some = {key: np.unique(kept[key]) for key in loose}
            runs = to_runs(indices(formula, known.before, {**kept, **some}))
            old = along(formula, known.after, known.old)
            if vertex.kind == "layer" and any(name.startswith(f"{vertex.path}.") for name in tensors):
                self.layers.add(vertex.name)
            out[vertex.name] = SizeChange(
                formula_length(formula, known.before),
                len(old),
                tuple(range(first, end) for first, end in runs),
                int((old == 0).sum()),
                *why.of(vertex, axis),
                by_row=bool(loose),
            )
        return out


class _Why:
    """Search for the vertex whose size another follows."""

    def __init__(self, ties: TieGraph, keys: Mapping[Atom, str], report: SizeReport) -> None:
        self._ties, self._keys = ties, keys
        self._texts, self._roots, self._otherwise = report.texts, list(report.roots), report.otherwise
        self._ways: dict[tuple[_Root, Atom], dict[DimPlace, tuple[str, ...]]] = {}

    def of(self, vertex: Vertex, axis: Axis) -> tuple[str, tuple[str, ...]]:
        """The reason for a change in words, and the vertices by which it follows another."""
        if vertex.name in self._texts:
            return f"asked: {'; '.join(self._texts[vertex.name])}", ()
        moved = [atom for atom in axis.atoms() if atom in self._keys]
        places = self._ties.outputs_of(vertex)
        found: list[tuple[tuple[str, ...], _Root]] = []
        for root in self._roots:
            for atom in dict.fromkeys(a for a in root.axis.atoms() if a in moved):
                ways = self._ways_from(root, atom)
                found += [(ways[place], root) for place in places if place in ways]
        if not found:
            self._roots.append(_Root(vertex.name, axis, vertex.name))
            return self._otherwise, ()
        chain, root = min(found, key=lambda item: len(item[0]))
        between = tuple(name for name in chain if name not in (vertex.name, root.vertex))
        through = f" through {between[-1]}" if between else ""
        return f"follows {root.name}{through}", between

    def _ways_from(self, root: _Root, atom: Atom) -> dict[DimPlace, tuple[str, ...]]:
        if (root, atom) not in self._ways:
            vertex = self._ties.widths.graph[root.vertex]
            start = self._ties.inputs_of(vertex) if root.given else self._ties.outputs_of(vertex)
            self._ways[root, atom] = self._ties.paths(start, atom)
        return self._ways[root, atom]


def sizes_table(report: SizeReport) -> TextTable:
    """A table of the vertices whose size changed: those with requests first, other layers, then the rest."""
    sizes = report.sizes()
    names = sorted(sizes, key=lambda name: (name not in report.texts, name not in report.layers))
    rows = [_row(name, sizes[name]) for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        rows.append((f"... and {len(names) - _SHOWN} more (edit.sizes)",))
    return TextTable(_COLUMNS, rows, f"{len(sizes)} vert{'ices' if len(sizes) != 1 else 'ex'} changed")


def _row(name: str, size: SizeChange) -> tuple[str, ...]:
    return name, str(size.before), str(size.after), _kept(size), str(size.new or ""), size.why


def _kept(size: SizeChange) -> str:
    if size.by_row:
        return "in each row its own"
    if sum(map(len, size.kept)) == size.before:
        return "all"
    runs = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in size.kept]
    return ", ".join(runs[:_RUNS]) + (", ..." if len(runs) > _RUNS else "")
