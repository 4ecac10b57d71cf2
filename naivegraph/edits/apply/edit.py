"""An applied change of a network: the request, the change, its certificate, and the way back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from naivegraph.costs import Costs
from naivegraph.edits.apply.edit_picture import edit_picture
from naivegraph.edits.apply.edited_graph import EditedGraph, picture_before, picture_of_edit
from naivegraph.edits.apply.latency_report import LatencyReport
from naivegraph.edits.apply.refit_report import RefitReport
from naivegraph.edits.apply.size_report import SizeChange, SizeReport, sizes_table
from naivegraph.edits.apply.way_back import WayBack, way_back
from naivegraph.edits.plan.change import Change
from naivegraph.errors import EditError
from naivegraph.network import Graph
from naivegraph.picture import NetworkPicture, Pictured
from naivegraph.picture.graph_picture import totals_of
from naivegraph.solvers.budget import Certificate
from naivegraph.svg import Drawing
from naivegraph.tables import Block, Column, TextTable, as_html, as_text

__all__ = ["Edit"]

_SHOWN = 12
_TOLD = {
    "insert": "inserted {name} after {behind}",
    "duplicate": "doubled {behind} as {name}",
    "fold": "folded {what}",
    "remove": "removed {vertex}",
    "connect": "connected {source} to {target}",
    "leave out": "left out {branches}",
    "disconnect": "took away the edge from {source} to {target}",
}


@dataclasses.dataclass(frozen=True, repr=False)
class Edit(Pictured):
    """One applied change of a network; truthy if anything changed.

    It is data: immutable, equal to another with the same data, and picklable. Its copies come without the
    network, the graph and the way back: they can undo only in the process of the network, and while the edit
    that was returned still exists.

    Attributes:
        asked: The requests of a resize by the vertex's name, else the arguments by their names.
        change: The change, as plain data.
        certificate: `value` (the utility kept), `bound` (the most that any answer can keep) and `gap`; None
            where nothing was chosen. With `ratio=` the value is what sizes miss of their ratios, below zero.
        before: Costs before the edit.
        after: Costs after it.
        notes: Sentences on sizes that could not change and why, and others for the reader.
        earlier: For several edits as one: those before the last one, whose `change` this has.
        refit: The report on the layers whose weights were refitted to calibration data; None if none were.
        latency: The report on a budget of latency: asked, predicted and measured; None if there was none.
        dropped: The branches that were left out, by name.
        function_kept: Whether the network computes the same in eval mode, but for rounding, as follows from
            its operators: True or False where it only grew, None where neurons went or other things changed.
        difference: The largest difference of its outputs on the example, relative to the largest value in
            each; None if it was not measured.

    Example:
        >>> import pickle, torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> edit = ng.prune(net, torch.ones(1, 4), macs=0.5)
        >>> edit
        Edit(macs 48 -> 24, params 58 -> 30, 1 width changed, gap 0.000%)
        >>> pickle.loads(pickle.dumps(edit)) == edit
        True
    """

    asked: Mapping[str, Any]
    change: Change
    certificate: Certificate | None
    before: Costs
    after: Costs
    notes: tuple[str, ...] = ()
    earlier: tuple[Edit, ...] = ()
    refit: RefitReport | None = None
    latency: LatencyReport | None = None
    dropped: tuple[str, ...] = ()
    function_kept: bool | None = None
    difference: float | None = None
    _size_report: SizeReport | None = dataclasses.field(default=None, compare=False)
    _graph: Graph | None = dataclasses.field(default=None, compare=False)
    _way_back: WayBack | None = dataclasses.field(default=None, compare=False)
    _graphs: EditedGraph | None = dataclasses.field(default=None, compare=False)
    _token: str = dataclasses.field(default="", init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", MappingProxyType(dict(self.asked)))
        if self._way_back is not None:
            object.__setattr__(self, "_token", self._way_back.token)

    def __bool__(self) -> bool:
        return bool(self.change)

    def __hash__(self) -> int:
        return hash(self.change)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "asked": dict(self.asked), "_graph": None, "_way_back": None, "_graphs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, asked=MappingProxyType(state["asked"]))

    @property
    def graph(self) -> Graph | None:
        """The graph the edit was made on, which it updated; None if there was none, and of a copy."""
        return self._graph

    @property
    def sizes(self) -> dict[str, SizeChange]:
        """The changed sizes by name of the vertex: the neurons that stayed, the number of new ones, why.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> edit = ng.resize(ng.capture(net, torch.ones(1, 4)), {"0": +2})
            >>> size = edit.sizes["1"]
            >>> size.before, size.after, size.kept, size.new, size.why
            (8, 10, (range(0, 8),), 2, 'follows 0')
        """
        return self._size_report.sizes() if self._size_report is not None and self else {}

    def undo(self, *, keep_training: bool = False) -> None:
        """Restore the network as it was before this edit, bit for bit, whatever happened since.

        That is its parameters, buffers, gradients and submodules, and of the optimizers, averaged models and
        schedulers that the edit was given (`optimizer=`) all state, hyperparameters included. Train mode,
        `requires_grad`, hooks and random numbers stay as they are now. Later edits of the network, of a part
        of it, or of a network it is a part of, must be undone first. An edit that changed nothing (it is
        false) kept nothing, and takes nothing back.

        For this an edit keeps as many bytes as the network's parameters, buffers and gradients and the state
        of these optimizers took before it, until it is undone or no longer referenced (`del edit`).

        Args:
            keep_training: Whether neurons that the edit kept, and tensors it did not change, stay as trained
                since, with their state in optimizers. Neurons that the edit removed come back with the values
                they had, and those it added are removed. Weights that the edit refitted to calibration data
                count as trained.

        Raises:
            EditError: The edit was undone already, a later one has not been, or this is a copy that cannot
                tell its network. With `keep_training`: a layer that the edit resized was
                replaced since, or it folded norms into weights. Nothing is changed then.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> before = net[2].bias.tolist()
            >>> edit = ng.prune(net, torch.ones(1, 4), macs=0.5)
            >>> _ = torch.nn.init.ones_(net[2].bias)  # training
            >>> edit.undo(keep_training=True)
            >>> net[0].out_features, net[2].bias.tolist()
            (8, [1.0, 1.0])
            >>> edit = ng.prune(net, torch.ones(1, 4), macs=0.5)
            >>> _ = torch.nn.init.zeros_(net[2].bias)
            >>> edit.undo()
            >>> net[0].out_features, net[2].bias.tolist()
            (8, [1.0, 1.0])
        """
        if not self:
            return
        way = way_back(self._token) if self._way_back is None else self._way_back
        way.check(copied=self._way_back is None)
        if keep_training and any(
            step["do"] == "fold" for step in (self.change.structure or {}).get("steps", ())
        ):
            raise EditError(
                "the edit folded norms into weights, which cannot be taken out of trained ones again: undo "
                "without keep_training="
            )
        way.undo(keep_training=keep_training)
        for edit in reversed(self.earlier):
            edit.undo(keep_training=keep_training)

    def plot(self) -> Drawing:
        """A picture: the sizes of layers before and after, and the error of each layer that was refitted.

        Notebooks show it; `str(picture)` is SVG and `picture.save("edit.svg")` writes it. Sizes are those of
        widths, by the names in `edit.change.widths`; errors as in `edit.refit`.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> edit = ng.prune(net, torch.ones(1, 4), macs=0.5)
            >>> str(edit.plot())[:4]
            '<svg'
        """
        return edit_picture(self.change, self.refit)

    def picture(self) -> NetworkPicture:
        """The network before and after the edit as one picture, coloured by what shrank, grew, came and went.

        `edit.page("edit.html")` writes it as a page, `edit.svg("edit.svg")` as SVG.

        Raises:
            EditError: Nothing of the network is kept, as this is a copy, or an edit that was replayed or
                loaded.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> picture = ng.prune(net, torch.ones(1, 4), macs=0.5).picture()
            >>> [(vertex.name, vertex.group) for vertex in picture.vertices if vertex.kind == "layer"]
            [('0', 'shrank'), ('1', 'shrank'), ('2', 'shrank')]
        """
        sizes = self.sizes
        why = {name: (f"{s.before} -> {s.after} neurons: {s.why}.",) for name, s in sizes.items()}
        begin = self.earlier[0] if self.earlier else self
        first = picture_before(begin._graphs, begin._size_report)
        known = self._graphs, self._size_report, self.change
        found = None if first is None else picture_of_edit(first, *known, why)
        if found is None:
            raise EditError(
                "this edit does not know what the network was (it is a copy, or was replayed or loaded): "
                "make before = graph.picture() first, then graph.picture(before=before) after the edits"
            )
        told = [block for block in self._blocks() if isinstance(block, str)]
        return dataclasses.replace(
            found,
            title=f"{found.title}: before and after",
            about=(*found.about, *(f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in told)),
            totals=totals_of(self.after, self.before),
        )

    def to_json(self) -> str:
        """The change as JSON, for `ng.replay`: not the request, but its result.

        It has the neurons that stay, the number of new ones and their start, the tensors they are in, and the
        steps by which the structure changed. For several edits (a replay of several) it is a list.
        """
        texts = [*(edit.to_json() for edit in self.earlier), self.change.to_json()]
        return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"

    # In words

    def __repr__(self) -> str:
        if not self:
            return "Edit(nothing changed)"
        parts = [f"{name} {old} -> {new}" for name, _, old, new in self._costs() if old != new]
        if self.latency is not None:
            parts.append(f"latency {self.latency.share:.1%} of before")
        if self.dropped:
            parts.append(f"{len(self.dropped)} branch{'es' * (len(self.dropped) != 1)} left out")
        elif self.change.structure is not None:
            parts.insert(0, _told(self.change.structure))
        if self.change.widths:
            parts.append(self._counted())
        if self.refit is not None:
            parts.append(f"{self.refit.count} layers refitted")
        if self.certificate is not None:
            parts.append(f"gap {self.certificate.gap:.3%}")
        if self.earlier:
            parts.append(f"the last of {len(self.earlier) + 1} edits")
        return f"Edit({', '.join(parts)})"

    def __str__(self) -> str:
        return as_text(self._blocks())

    def _repr_html_(self) -> str:
        return as_html(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        yield self._cost_table()
        found = self.certificate
        if self.latency is not None:
            yield from self.latency.blocks()
        if found is not None and self.asked.get("ratio") is not None:
            miss, least = abs(found.value), abs(found.bound)
            told = "as they can come" if found.gap == 0 else f"as {miss:.3g}, at best {least:.3g}, added up"
            yield f"sizes are as near to their ratios {told}"
        elif found is not None:
            gap = f"(gap {found.gap:.3%})"
            yield f"utility kept {found.value:.6g}, at most {found.bound:.6g} possible {gap}"
        if self.dropped:
            count = len(self.dropped)
            yield f"left out {count} branch{'es' * (count != 1)}: {', '.join(self.dropped)}"
        elif self.change.structure is not None:
            yield _told(self.change.structure)
        if self._size_report is not None and self._size_report.of_vertices and self.sizes:
            yield sizes_table(self._size_report)
        elif self.change.widths:
            yield self._width_table()
        if self.refit is not None:
            yield from self.refit.blocks()
        if self.function_kept:
            told = "" if self.difference is None else f" (largest difference {self.difference:.1e})"
            yield f"what the network computes is kept{told}"
        yield from self.notes

    def _costs(self) -> Iterator[tuple[str, str, str, str]]:
        """Name, title and values of each cost before and after; those not counted twice are left out."""
        before, after = self.before.shown(), self.after.shown()
        return ((name, *before[name], after[name][1]) for name in before if name in after)

    def _cost_table(self) -> TextTable:
        columns = [Column(heading, right=bool(heading)) for heading in ("", "before", "after", "left")]
        rows = [
            (title, old, new, f"{self.after[name] / self.before[name]:.1%}" if self.before[name] else "-")
            for name, title, old, new in self._costs()
        ]
        return TextTable(columns, rows, None if self else "Nothing changed")

    def _counted(self) -> str:
        count = len(self.change.widths)
        return f"{count} width{'s' * (count != 1)} changed"

    def _width_table(self) -> TextTable:
        columns = (Column("width"), Column("before", right=True), Column("after", right=True))
        changed = list(self.change.widths.values())
        rows = [(width.name, str(width.before), str(width.after)) for width in changed[:_SHOWN]]
        if len(changed) > _SHOWN:
            rows.append((f"... and {len(changed) - _SHOWN} more (edit.change.widths)", "", ""))
        return TextTable(columns, rows, self._counted(), title_left=True)


def _told(structure: Mapping[str, Any]) -> str:
    """The change of a graph's structure, in words."""
    return _TOLD.get(structure["verb"], "{verb}").format_map(structure)
