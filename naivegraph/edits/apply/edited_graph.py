"""The graph of an edit before and after it, as far as that is kept, and the picture of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from naivegraph.algebra.axis import Atom
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.plan.change import Change
from naivegraph.picture import NetworkPicture
from naivegraph.picture.compare import compared
from naivegraph.picture.graph_picture import graph_picture
from naivegraph.picture.related_graph import RelatedGraph

__all__ = ["EditedGraph", "picture_before", "picture_of_edit"]


@dataclasses.dataclass(frozen=True, eq=False)
class EditedGraph:
    """The graph of an edit.

    Attributes:
        before: The graph before it.
        after: The graph after it; None if it has the same vertices, with other sizes.
    """

    before: RelatedGraph
    after: RelatedGraph | None = None


def picture_of_edit(
    first: NetworkPicture,
    graphs: EditedGraph | None,
    report: SizeReport | None,
    change: Change,
    notes: Mapping[str, tuple[str, ...]],
) -> NetworkPicture | None:
    """Make the picture of an edit; None if nothing of its graph is kept.

    Args:
        first: The network before it, or before earlier edits that are shown with it.
        graphs: The graph, where its structure was changed.
        report: The report on the sizes, where they were.
        change: The change.
        notes: Sentences by name of the vertex.
    """
    if graphs is not None and graphs.after is not None:
        return compared(first, graph_picture(graphs.after), notes)
    related = graphs.before if graphs is not None else None if report is None else report.related
    if related is None:
        return None
    changed = {width.name: width.after for width in change.widths.values()}
    sizes = {w.atom: changed[w.name] for w in related.widths.widths if w.name in changed}

    def count(atom: Atom) -> int:
        """The number of neurons of a width after the edit."""
        return sizes.get(atom, atom.length)

    gone = frozenset() if report is None else report.gone
    return compared(first, graph_picture(related, count, gone), notes)


def picture_before(graphs: EditedGraph | None, report: SizeReport | None) -> NetworkPicture | None:
    """Make the picture of the graph before an edit; None if nothing of it is kept."""
    related = graphs.before if graphs is not None else None if report is None else report.related
    return None if related is None else graph_picture(related)
