"""Change of a graph's structure and sizes in one edit: all of it or nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from naivegraph.costs import Costs
from naivegraph.edits.apply.apply import apply, checkpoint_of
from naivegraph.edits.apply.checkpoint import Checkpoint
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.apply.latency_report import LatencyReport
from naivegraph.edits.apply.optimizer_state import as_optimizers
from naivegraph.edits.apply.refit_report import RefitReport
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.plan.change import Change
from naivegraph.edits.structure.merges import tensors_of
from naivegraph.edits.structure.optimizer_params import Following
from naivegraph.edits.structure.outdated_forward import children_of, refuse_forward
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.export.history import note_parts
from naivegraph.graph.run.blocks import is_sum
from naivegraph.graph.run.liveness import idle
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.ir.step_module import BuiltModule
from naivegraph.network import Graph
from naivegraph.picture.related_graph import RelatedGraph
from naivegraph.solvers.budget import Certificate
from naivegraph.undo import UndoLog, all_or_nothing
from naivegraph.widths import relate

__all__ = ["rewire"]


def rewire(
    graph: Graph,
    change: Change,
    steps: Sequence[Callable[[Rewiring], None]],
    *,
    asked: dict[str, Any],
    certificate: Certificate | None = None,
    optimizer: Any = None,
    counted: bool = True,
    sizes: SizeReport | None = None,
    notes: tuple[str, ...] = (),
    undo: UndoLog | None = None,
    refit: Callable[[], RefitReport] | None = None,
    dropped: tuple[str, ...] = (),
    latency: LatencyReport | None = None,
    costs: tuple[Costs, Costs] | None = None,
) -> Edit:
    """Change the structure step by step, then the sizes, then check that the network runs.

    What nothing needs any more after the steps leaves the graph.

    Args:
        graph: Changed in place.
        change: What sizes become, and what is done to the structure, as data.
        steps: Each changes the structure by means of what writes its steps down.
        asked: What was asked.
        certificate: How good the sizes are; None if none were chosen.
        optimizer: Optimizers and averaged models which follow.
        counted: Whether to count all that the network costs, which takes as long as the rest.
        sizes: The report on the sizes of vertices.
        notes: More that the edit tells.
        undo: Takes what undoes the edit.
        refit: Gives kept weights other values in the end.
        dropped: The branches that the steps leave out.
        latency: The report on a budget of latency.
        costs: The costs before and afterwards, if they are known already.

    Raises:
        EditError: The network would not run; everything is as it was.
    """
    count = graph.costs if counted else functools.partial(Costs.of_module, graph.module)
    followers = as_optimizers(optimizer)
    before, follow = count() if costs is None else costs[0], Following(graph.module, followers)
    old = RelatedGraph.of(relate(graph)) if counted else None
    # A network that is loaded is not put back by its edits.
    checkpoint = checkpoint_of(graph.module, change, followers) if counted else Checkpoint(())
    repeating, idle_before = [vertex for vertex in graph if _repeats(vertex)], idle(graph)
    children = children_of(graph.module)
    with all_or_nothing(undo) as log:
        log.push(snapshot(graph))
        note_parts(graph.module, log)
        rewiring = Rewiring(graph, log)
        for step in steps:
            step(rewiring)
        rewiring.remove_idle(idle_before)
        follow.go(log)
        refuse_forward(graph, str((change.structure or {}).get("verb", "structure")), log, children)
        return apply(
            _written(change, rewiring), graph, asked=asked, certificate=certificate, before=before,
            after=count if costs is None else costs[1], notes=(*notes, *_notes(graph)), sizes=sizes, undo=log,
            optimizer=optimizer, checkpoint=checkpoint,
            check=functools.partial(_check_sums, graph, repeating),
            failed="the network would not run after this", refit=refit, dropped=dropped, latency=latency,
            old=old,
        )  # fmt: skip


def _notes(graph: Graph) -> tuple[str, ...]:
    if isinstance(graph.module, BuiltModule):
        what = "the module that the graph was made with"
    else:
        what = f"the forward of {type(graph.module).__name__}"
    return (
        f"{what} does not know of this edit and refuses to run: edit.graph(...) or edit.graph.to_module()",
    )


def _written(change: Change, rewiring: Rewiring) -> Change:
    """The change with the steps that were carried out, unless it has them already."""
    if change.structure is None:
        return change
    return dataclasses.replace(change, structure={"steps": rewiring.steps, **change.structure})


def _repeats(vertex: Vertex) -> bool:
    """Check whether a vertex is a sum that broadcasts: its tensors have different shapes."""
    return is_sum(vertex) and len({stub.shape for stub in tensors_of(vertex)}) > 1


def _check_sums(graph: Graph, repeating: list[Vertex]) -> None:
    for vertex in graph:
        if _repeats(vertex) and not any(vertex is other for other in repeating):
            shapes = " and ".join(str(tuple(stub.shape)) for stub in tensors_of(vertex))
            raise EditError(f"{vertex.name!r} would add tensors of the shapes {shapes}")
