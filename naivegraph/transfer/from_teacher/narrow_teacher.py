"""The step from a teacher to one of the student's widths, refitted where that agrees better."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

from naivegraph.calibration import CalibrationBatch
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.reconstruct import reconstruct
from naivegraph.transfer.from_teacher.agreement import agreement, output_rows
from naivegraph.transfer.from_teacher.held_out import split_batches
from naivegraph.transfer.from_teacher.student_report import AgreementStep, KeptNeurons
from naivegraph.transfer.from_teacher.student_widths import narrowed

__all__ = ["Narrowing", "narrow_to"]


@dataclasses.dataclass(frozen=True)
class Narrowing:
    """A teacher of the student's widths.

    Attributes:
        graph: Its graph.
        kept: The neurons kept.
        gap: The program's gap.
        steps: The agreement with the teacher before and after the refit.
    """

    graph: Graph
    kept: tuple[KeptNeurons, ...]
    gap: float | None
    steps: tuple[AgreementStep, ...]


def narrow_to(
    pairs: Sequence[tuple[Vertex, Vertex]],
    small: Graph,
    big: Graph,
    *,
    select: str,
    batches: Sequence[CalibrationBatch],
    say: Callable[[str], object],
) -> Narrowing:
    """Resize a copy of the bigger network to the smaller one's widths, and refit it on the batches.

    Args:
        pairs: The vertices that correspond.
        small: The smaller network.
        big: The bigger one.
        select: The way to choose neurons.
        batches: The calibration batches, by the bigger network's names; none without calibration.
        say: Called with a sentence per layer.
    """
    seen, held = split_batches(batches)
    inputs = [batch.inputs for batch in seen]
    found = narrowed(pairs, small, big, select=select, calibration=inputs or None)
    if not batches:
        return Narrowing(found.graph, found.kept, found.gap, ())
    wanted = output_rows(big, held)
    plain = agreement(output_rows(found.graph, held), wanted)
    refitted = copy.deepcopy(found.graph)
    reconstruct(refitted, big, inputs, samples=None, progress=say)
    after = agreement(output_rows(refitted, held), wanted)
    steps = (
        AgreementStep("neurons chosen", plain),
        AgreementStep("layers refitted", after, after >= plain),
    )
    return Narrowing(refitted if after >= plain else found.graph, found.kept, found.gap, steps)
