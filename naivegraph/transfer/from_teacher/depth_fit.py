"""Depth: a student's blocks are filled from runs of its teacher's, and refitted where that helps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from naivegraph.calibration import CalibrationBatch
from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.transfer.from_teacher.branch_layers import LayerBranch, branches, is_layer_of_matrix
from naivegraph.transfer.from_teacher.depth_plan import Run
from naivegraph.transfer.from_teacher.layer_weights import folded
from naivegraph.transfer.from_teacher.merge_blocks import BranchMerge, MergedNeurons
from naivegraph.transfer.from_teacher.row_fit import RowFit
from naivegraph.transfer.from_teacher.side_by_side import SideBySide
from naivegraph.transfer.from_teacher.unit import Unit, state_names
from naivegraph.undo import UndoLog

__all__ = ["DepthFit", "SegmentReport", "copy_vertex", "true_statistics", "unit_pairs"]


@dataclasses.dataclass(frozen=True)
class SegmentReport:
    """A block of the student after the depth was decided.

    Attributes:
        name: The block.
        blocks: The teacher's blocks that it is made of.
        upto: Those it stands for.
        way: "copied", "refitted" or "merged".
        before: The share of the variance at its end that the plain copy misses, on held-out inputs; None if
            nothing was compared.
        after: The share that is missed now.
        chosen: The hidden neurons, by branch, where blocks were merged.
    """

    name: str
    blocks: tuple[str, ...]
    upto: tuple[str, ...]
    way: str
    before: float | None
    after: float | None
    chosen: tuple[MergedNeurons, ...] = ()


class DepthFit:
    """The fit of a student's blocks, one after the other, in the order of the graph.

    Args:
        student: The student, which holds plain copies of the blocks' models.
        teacher: The teacher, of the student's widths.
        batches: The batches, held-out samples among them.
        theirs: The same by the names of the teacher's inputs.
        merge: Whether runs are merged, or their models alone refitted.
        say: Called with a sentence per block.

    Attributes:
        log: What takes back what was written.
        notes: Sentences for the reader.
        report: The blocks so far.
    """

    def __init__(
        self,
        student: Graph,
        teacher: Graph,
        batches: Sequence[CalibrationBatch],
        theirs: Sequence[CalibrationBatch],
        *,
        merge: bool,
        say: Callable[[str], object],
    ) -> None:
        self._sides = SideBySide(student, teacher, batches, theirs)
        self._merge, self._say = merge, say
        self._changed = False
        self.report: list[SegmentReport] = []
        self.notes: list[str] = []

    @property
    def log(self) -> UndoLog:
        """The log of what was written."""
        return self._sides.log

    @torch.no_grad()
    def run(self, steps: Sequence[Run | tuple[Vertex, Vertex]]) -> None:
        """Go through blocks and pairs of vertices in the student's order."""
        for step in steps:
            if isinstance(step, Run):
                self._segment(step)
            elif self._changed and is_layer_of_matrix(step[0]) and self._sides.counts_for(step[0]):
                self._layer(*step)

    def _layer(self, mine: Vertex, theirs: Vertex) -> None:
        """Refit a layer outside of stacks to what it gives in the teacher."""
        sides = self._sides
        place = sides.student_place(mine)
        sides.advance_student(place)
        sides.advance_teacher(sides.teacher_place(theirs) + 1, {theirs.name})
        calls = [run.linear_call(place) for run in sides.student_runs]
        layer: Any = mine.target
        if all(call is not None for call in calls) and getattr(layer, "groups", 1) == 1:
            made = [call for call in calls if call is not None]
            layout = made[0].layout
            kept = folded(mine, (), layout)
            fit = RowFit(len(kept) - 1, kept.shape[1], sides.samples, kept.device)
            first = 0
            for call, run, count in zip(made, sides.teacher_runs, sides.counts, strict=True):
                fit.add(layout, call.x, run.kept[theirs.name], first, count)
                first += count
            solved = fit.solve(kept, bias=layer.bias is not None)
            before = fit.error(kept.to(fit.fit.gram))
            if solved.error < before:
                sides.write(layer.weight, layout.weight(solved.weights[:-1][None], layer.weight.shape))
                if layer.bias is not None:
                    sides.write(layer.bias, solved.weights[-1])
            way = "refitted" if solved.error < before else "copied"
            self.report.append(
                SegmentReport(mine.name, (theirs.name,), (theirs.name,), way, before, solved.error)
            )
        sides.forget()

    def _segment(self, run: Run) -> None:
        """Fill one block."""
        names = tuple(map(str, run.blocks)), tuple(map(str, run.upto))
        if not self._sides.has_weights(run.unit):
            return
        if run.alone and not self._changed and len(run.blocks) == 1:
            self.report.append(SegmentReport(run.unit.name, *names, "copied", None, None))
            return
        self._changed = True
        self._say(f"fitting {run.unit} to {', '.join(names[1])}")
        sides = self._sides
        sides.advance_student(sides.student_place(run.unit.vertices[0]))
        mine = branches(sides.uses, run.unit)
        merged = [branches(sides.teacher_uses, block) for block in run.blocks]
        ending = branches(sides.teacher_uses, run.end)
        sides.advance_teacher(
            sides.teacher_place(run.end.vertices[-1]) + 1, self._wanted(run, [*merged, ending])
        )
        exits = self._exits(run)
        run, before = self._copied_best(run, exits)
        mark = sides.log.mark()
        try:
            way, chosen = self._improve(run, mine, merged, ending)
            after = self._error(run, exits)
        except EditError:
            way, chosen, after = "copied", [], before
        if way == "copied" or after >= before:
            sides.log.rollback_to(mark)
            way, chosen, after = "copied", [], before
        stop = sides.student_place(run.unit.vertices[-1]) + 1
        sides.advance_student(stop)
        sides.forget()
        blocks = names[0] if way == "merged" else (str(run.model),)
        self.report.append(SegmentReport(run.unit.name, blocks, names[1], way, before, after, tuple(chosen)))

    def _copied_best(self, run: Run, exits: tuple[list[torch.Tensor], str]) -> tuple[Run, float]:
        """Copy the block of a run that alone comes closest to its end; others may do next to nothing."""
        best, least = run.model, self._error(run, exits)
        for block in run.alike:
            if block is run.model:
                continue
            mark = self._sides.log.mark()
            error = least
            with contextlib.suppress(EditError):  # one of other sizes
                for mine, theirs in unit_pairs(run.unit, block):
                    copy_vertex(mine, theirs, self._sides.student, self._sides.teacher, self._sides.write)
                error = self._error(run, exits)
            if error < least:
                best, least = block, error
            else:
                self._sides.log.rollback_to(mark)
        return dataclasses.replace(run, model=best), least

    def _wanted(self, run: Run, found: Sequence[list[LayerBranch]]) -> set[str]:
        """The names of the vertices of the teacher whose results are needed."""
        wanted = {self._sides.region(run.end, self._sides.teacher_uses).end.name}
        for each in found:
            for branch in each:
                wanted |= {branch.end.name, *(v.name for level in branch.levels for v in level)}
        return wanted

    def _exits(self, run: Run) -> tuple[list[torch.Tensor], str]:
        """The teacher's tensors at the end, and the name of the student's vertex that is to give them."""
        name = self._sides.region(run.end, self._sides.teacher_uses).end.name
        end = self._sides.region(run.unit, self._sides.uses).end
        return [each.kept[name] for each in self._sides.teacher_runs], end.name

    def _error(self, run: Run, exits: tuple[list[torch.Tensor], str]) -> float:
        """The share of the variance at the block's end that the student misses on held-out samples."""
        places = [self._sides.student_place(vertex) for vertex in run.unit.vertices]
        theirs, name = exits
        mine = [each.part(places, {}, {name}).kept[name] for each in self._sides.student_runs]
        return self._sides.error(mine, theirs)

    def _improve(
        self, run: Run, mine: list[LayerBranch], merged: list[list[LayerBranch]], ending: list[LayerBranch]
    ) -> tuple[str, list[MergedNeurons]]:
        """Merge and refit the branches of a block, in order."""
        sides = self._sides
        chosen: list[MergedNeurons] = []
        refitted = False
        if not mine or len(ending) != len(mine):
            self.notes.append(
                f"{run.unit} is a plain copy: it has no layer (`nn.Linear`, a convolution) that alone ends "
                "a branch and could be solved for."
            )
            return "copied", chosen
        several = self._merge and len(run.blocks) > 1 and all(len(each) == len(mine) for each in merged)
        if run.end is not run.model:
            self._copy_rest(run, mine)
        for number in range(len(mine)):
            both: tuple[list[LayerBranch], list[list[LayerBranch]]] = mine, [*merged]
            found = None
            if several and run.blocks[-1] is run.end:
                found = BranchMerge(sides, run.unit, run.blocks, number, both).merge()
            if found is not None:
                chosen.append(found)
                continue
            both = mine, [ending]
            refitted |= BranchMerge(sides, run.unit, [run.end], number, both).refit()
        return "merged" if chosen else "refitted" if refitted else "copied", chosen

    def _copy_rest(self, run: Run, mine: list[LayerBranch]) -> None:
        """Copy what stands behind the first branch's end, as norms do, from the last block of the run."""
        if len(run.end.vertices) != len(run.unit.vertices):
            return
        inside: set[int] = set()
        for branch in mine:
            layers = [branch.last, *branch.norms, *(v for level in branch.levels for v in level)]
            inside |= {id(v) for v in (*layers, *(v for run in branch.between for v in run))}
        first = self._sides.student_place(mine[0].end)
        for vertex, other in zip(run.unit.vertices, run.end.vertices, strict=True):
            if self._sides.student_place(vertex) > first and id(vertex) not in inside:
                copy_vertex(vertex, other, self._sides.student, self._sides.teacher, self._sides.write)


def copy_vertex(
    mine: Vertex,
    theirs: Vertex,
    student: Graph,
    teacher: Graph,
    write: Callable[[torch.Tensor, torch.Tensor], None],
) -> None:
    """Copy the parameters and buffers of one vertex to another.

    Raises:
        EditError: They have other shapes.
    """
    for name, other in zip(state_names(mine, student), state_names(theirs, teacher), strict=True):
        source, target = teacher.tensor(other), student.tensor(name)
        if source.shape != target.shape:
            raise EditError(
                f"{other!r} of the bigger network has shape {tuple(source.shape)}, {name!r} of the other one "
                f"{tuple(target.shape)}: its blocks are of several sizes; give depth={{...}}"
            )
        write(target, source.detach())


def unit_pairs(unit: Unit, other: Unit) -> list[tuple[Vertex, Vertex]]:
    """The pairs of vertices of two units of one structure; the ends of them may differ."""
    return list(zip(unit.vertices, other.vertices, strict=False))


@torch.no_grad()
def true_statistics(
    graph: Graph,
    batches: Sequence[CalibrationBatch],
    write: Callable[[torch.Tensor, torch.Tensor], None],
) -> int:
    """Give batch norms the statistics that they would measure, and scales with which the network is the same.

    So it does in train mode about what it does in eval mode. Returns the number of batch norms.
    """
    counts: dict[int, int] = {}
    for vertex in graph.vertices:
        counts[id(vertex.target)] = counts.get(id(vertex.target), 0) + 1
    places = [
        place
        for place, vertex in enumerate(graph.vertices)
        if isinstance(vertex.target, _BatchNorm) and counts[id(vertex.target)] == 1
        if vertex.target.running_mean is not None and vertex.target.weight is not None
    ]
    sums: dict[int, list[torch.Tensor]] = {}
    for batch in batches if places else ():
        run = Interpreter(graph)
        for place, vertex in enumerate(graph.vertices):
            if place in places:
                x = run.resolve(vertex.args[0]).double()
                dims = [d for d in range(x.dim()) if d != 1]
                found = [x.new_tensor(x.numel() // x.shape[1]), x.sum(dims), x.square().sum(dims)]
                before = sums.get(place)
                sums[place] = found if before is None else [a + b for a, b in zip(before, found, strict=True)]
            run.step(place, batch.inputs)
    for place, (count, total, squares) in sums.items():
        _measured(graph.vertices[place].target, total / count, squares / count, write)
    return len(sums)


def _measured(
    norm: Any,
    mean: torch.Tensor,
    squares: torch.Tensor,
    write: Callable[[torch.Tensor, torch.Tensor], None],
) -> None:
    """Give one batch norm its true statistics, where a channel varies at all."""
    variance = (squares - mean.square()).clamp(min=0)
    before = norm.running_var.double()
    mean, variance = (
        torch.where(variance > 1e-3 * before, new, old)
        for new, old in ((mean, norm.running_mean.double()), (variance, before))
    )
    old = (before + norm.eps).sqrt()
    scale = norm.weight.double() / old
    shift = norm.bias.double() + scale * (mean - norm.running_mean.double())
    write(norm.running_mean, mean)
    write(norm.running_var, variance)
    write(norm.weight, scale * (variance + norm.eps).sqrt())
    write(norm.bias, shift)
