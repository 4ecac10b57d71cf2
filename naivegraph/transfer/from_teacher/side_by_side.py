"""Both networks on all batches at once: where each stands, what is read of it, and what is written."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

import torch

from naivegraph.calibration import CalibrationBatch
from naivegraph.graph.run.blocks import Region, Uses, region_of
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.reconstruct.surroundings import Surroundings
from naivegraph.transfer.from_teacher.part_run import PartRun
from naivegraph.transfer.from_teacher.row_fit import is_held
from naivegraph.transfer.from_teacher.unit import Unit
from naivegraph.undo import UndoLog

__all__ = ["SideBySide"]


class SideBySide:
    """A student and its teacher, of equal widths, on the same batches.

    Args:
        student: The student, which is written to.
        teacher: The teacher.
        batches: The batches, by the names of the student's inputs.
        theirs: The same by those of the teacher's.

    Attributes:
        counts: The number of samples in each batch.
        samples: Their sum.
        log: What takes back what was written.
    """

    def __init__(
        self,
        student: Graph,
        teacher: Graph,
        batches: Sequence[CalibrationBatch],
        theirs: Sequence[CalibrationBatch],
    ) -> None:
        self.student, self.teacher = student, teacher
        self.uses, self.teacher_uses = Uses(student), Uses(teacher)
        self.student_runs = [PartRun(student, batch) for batch in batches]
        self.teacher_runs = [PartRun(teacher, batch) for batch in theirs]
        self.counts = [batch.samples for batch in batches]
        self.samples = sum(self.counts)
        self.log = UndoLog()
        self._surroundings = Surroundings(student)
        self._needed: set[int] | None = None  # what the output depends on
        self._regions: dict[Unit, Region] = {}

    # Places

    def student_place(self, vertex: Vertex) -> int:
        """The position of a vertex of the student."""
        return self.uses.place[id(vertex)]

    def teacher_place(self, vertex: Vertex) -> int:
        """The position of a vertex of the teacher."""
        return self.teacher_uses.place[id(vertex)]

    def region(self, unit: Unit, uses: Uses) -> Region:
        """A unit as a part with one tensor in and one out.

        Raises:
            EditError: It is none.
        """
        if unit not in self._regions:
            self._regions[unit] = region_of(uses.graph, unit.vertices, repr(unit.name), uses)
        return self._regions[unit]

    def student_entry(self, unit: Unit) -> Stub:
        """The tensor that comes into a block of the student."""
        return self.region(unit, self.uses).entry

    def teacher_entry(self, unit: Unit) -> Stub:
        """The tensor that comes into a block of the teacher."""
        return self.region(unit, self.teacher_uses).entry

    def shared(self, vertex: Vertex) -> bool:
        """Tell whether a parameter of a vertex of the student is used elsewhere, too."""
        return any(map(self._surroundings.shared, self._surroundings.parameters(vertex)))

    def counts_for(self, vertex: Vertex) -> bool:
        """Tell whether the first output depends on a vertex of the student whose parameters are its alone."""
        if self._needed is None:
            outputs = [maker for maker, stub in self.uses.returned() if stub.dtype.is_floating_point][:1]
            self._needed = self.uses.reach(outputs, self.uses.place, upwards=True)
        return id(vertex) in self._needed and not self.shared(vertex)

    def has_weights(self, unit: Unit) -> bool:
        """Tell whether a block of the student computes with parameters."""
        return any(map(self._surroundings.parameters, unit.vertices))

    # Running

    def advance_student(self, stop: int) -> None:
        """Run the student up to a position."""
        for run in self.student_runs:
            run.advance(stop)

    def advance_teacher(self, stop: int, wanted: Collection[str] = ()) -> None:
        """Run the teacher up to a position, and keep what some vertices give."""
        for run in self.teacher_runs:
            run.advance(stop, wanted)

    def forget(self) -> None:
        """Forget what later vertices do not need."""
        for run in (*self.student_runs, *self.teacher_runs):
            run.forget()

    # Comparing

    def held_rows(self) -> list[torch.Tensor]:
        """The samples of each batch that are held out; all, if there are too few to hold some out."""
        first, found = 0, []
        for count in self.counts:
            found.append(torch.nonzero(is_held(first + torch.arange(count))).reshape(-1))
            first += count
        if not sum(map(len, found)):
            return [torch.arange(count) for count in self.counts]
        return found

    def error(self, mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
        """The share of the variance of the teacher's tensors that the student's miss, on held-out samples."""
        missed = spread = 0.0
        for one, two, rows in zip(mine, theirs, self.held_rows(), strict=True):
            rows = rows.to(two.device)
            target = two[rows].double()
            missed += float((one[rows].double() - target).square().sum())
            spread += float((target - target.mean()).square().sum())
        return missed / spread if spread else missed

    # Writing

    def write(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Give a tensor of the student other values."""
        before = tensor.detach().clone()
        self.log.push(functools.partial(_restore, tensor, before))
        with torch.no_grad():
            tensor.copy_(values.to(tensor))


@torch.no_grad()
def _restore(tensor: torch.Tensor, before: torch.Tensor) -> None:
    tensor.copy_(before)
