"""The sizes decided for a change of structure, carried out with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.plan.change import Change
from naivegraph.edits.structure.rewiring import Rewiring
from naivegraph.edits.structure.transaction import rewire
from naivegraph.network import Graph
from naivegraph.solvers.budget import Certificate

__all__ = ["PlannedSizes", "Step"]

Step = Callable[[Rewiring], None]


@dataclasses.dataclass(frozen=True)
class PlannedSizes:
    """The change of sizes that goes with a change of structure.

    Attributes:
        graph: The graph.
        change: The change.
        certificate: How good the sizes are.
        report: The report on the sizes of vertices.
        notes: What the growth of widths changes.
    """

    graph: Graph
    change: Change
    certificate: Certificate | None
    report: SizeReport
    notes: tuple[str, ...]

    def rewire(self, steps: Sequence[Step], *, asked: dict[str, Any], optimizer: Any) -> Edit:
        """Change the graph step by step, and its sizes as planned.

        Args:
            steps: Functions that change the structure by a `Rewiring`, which records them.
            asked: The request, by the names of arguments.
            optimizer: Optimizers and averaged models, which are changed too.

        Raises:
            EditError: The network would not run; everything is as it was.
        """
        return rewire(
            self.graph, self.change, steps, asked=asked, certificate=self.certificate, optimizer=optimizer,
            sizes=self.report, notes=self.notes,
        )  # fmt: skip
