"""Merged blocks: one block of a student stands for a run of blocks of its teacher.

Residual branches nearly add up. So the hidden channels of the branches are put side by side, those that the
last layer can best do without are taken out until the student's width is left, and the last layer is solved
for by least squares: its target is the teacher's sum at the end of the run, less the student's shortcut. The
layers before are fitted to what the same layers give in the teacher, from what the student has at its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from naivegraph.errors import EditError
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.reconstruct.linear_call import LinearCall
from naivegraph.reconstruct.linear_layout import Layout
from naivegraph.transfer.from_teacher.branch_layers import LayerBranch
from naivegraph.transfer.from_teacher.candidates import choose, places_of, side_by_side
from naivegraph.transfer.from_teacher.head_blocks import HeadBlocks
from naivegraph.transfer.from_teacher.layer_weights import bias_of, folded, run_with, weight_shape
from naivegraph.transfer.from_teacher.part_run import PartRun
from naivegraph.transfer.from_teacher.row_fit import RowFit, drop_neurons
from naivegraph.transfer.from_teacher.side_by_side import SideBySide
from naivegraph.transfer.from_teacher.unit import Unit, state_names

__all__ = ["BranchMerge", "MergedNeurons"]


@dataclasses.dataclass(frozen=True)
class MergedNeurons:
    """The hidden neurons of a merged branch.

    Attributes:
        branch: The last layer of the branch.
        blocks: For each neuron, the number of the block in the run it comes from.
        neurons: Its number there.
    """

    branch: str
    blocks: tuple[int, ...]
    neurons: tuple[int, ...]


class BranchMerge:
    """The merge of one branch.

    Args:
        sides: Both networks on all batches; the teacher's has run through all of the run of blocks.
        unit: The student's block.
        run: The teacher's blocks.
        number: The number of the branch in each of them.
        found: The branches of the student's block, and of each of the teacher's.
    """

    def __init__(
        self,
        sides: SideBySide,
        unit: Unit,
        run: Sequence[Unit],
        number: int,
        found: tuple[list[LayerBranch], list[list[LayerBranch]]],
    ) -> None:
        self.sides, self.unit, self.run, self.number = sides, unit, run, number
        self.branch = found[0][number]
        self.others = [each[number] for each in found[1]]
        self._shifts: dict[int, torch.Tensor] = {}  # of the layers before batch norms
        self._ends = [each[number - 1].end if number else None for each in (found[0], *found[1])]

    # Parts

    def student_trials(self) -> list[PartRun]:
        """The student's block on every batch, up to the branch's end."""
        sides = self.sides
        first, last = sides.student_place(self.unit.vertices[0]), sides.student_place(self.branch.end)
        positions = [p for p in range(first, last) if p != last]
        return [run.part(positions, {}) for run in sides.student_runs]

    def targets(self, trials: list[PartRun]) -> list[torch.Tensor]:
        """The targets of the last layer: the teacher's sum less the student's shortcut, on every batch."""
        name, other = self.others[-1].end.name, self.branch.other
        found = []
        for teacher, trial in zip(self.sides.teacher_runs, trials, strict=True):
            whole = teacher.kept[name]
            found.append(whole if other is None else whole - trial.value(other.id))
        return found

    # Ways

    def refit(self) -> bool:
        """Solve for the last layer alone; False if that cannot be."""
        trials = self.student_trials()
        place = self.sides.student_place(self.branch.last)
        calls = [trial.linear_call(place) for trial in trials]
        if any(call is None for call in calls) or not self._writable():
            return False
        made = [call for call in calls if call is not None]
        kept = folded(self.branch.last, self.branch.norms, made[0].layout, self.branch.scales)
        fit = self._fit(made[0].layout, [call.x for call in made], self.targets(trials))
        self._solve(fit, kept, made[0].layout)
        return True

    def merge(self) -> MergedNeurons | None:
        """Put the hidden neurons side by side and choose; None if that cannot be."""
        if not self._writable() or not self.branch.levels:
            return None
        if self._in_levels():
            return self._merge_levels()
        return self._merge_heads()

    def _writable(self) -> bool:
        """Tell whether the last layer is one that can be solved for."""
        layer = self.branch.last.target
        grouped = not isinstance(layer, nn.Linear) and getattr(layer, "groups", 1) > 1
        hidden = any(not bool(scale.all()) for scale in self.branch.scales)
        single = len(self.branch.norms) <= 1
        return single and not hidden and not grouped and not self.sides.shared(self.branch.last)

    def _in_levels(self) -> bool:
        """Tell whether all branches are layers in a line, neuron by neuron between them, of equal sizes."""
        mine = [[weight_shape(v)[:1] for v in level] for level in self.branch.levels]
        for branch in (self.branch, *self.others):
            if not branch.elementwise or [len(level) for level in branch.levels[1:]] != [1] * (len(mine) - 1):
                return False
            if [[weight_shape(v)[:1] for v in level] for level in branch.levels] != mine:
                return False
            if [len(run) for run in branch.between] != [len(run) for run in self.branch.between]:
                return False
        levels = [level for branch in (self.branch, *self.others) for level in branch.levels]
        return all(getattr(vertex.target, "groups", 1) == 1 for level in levels for vertex in level)

    # Layers in a line

    def _merge_levels(self) -> MergedNeurons | None:
        trials = self.student_trials()
        first, inputs = self._first_level(trials)
        stages = [inputs]
        for level in range(1, len(self.branch.levels)):
            stages.append(self._next_level(level, stages[-1]))
        width = weight_shape(self.branch.levels[-1][0])[0]
        top = side_by_side(stages[-1], [branch.last for branch in self.others], self.others)
        fit = self._fit(top.layout, top.inputs, self.targets(trials))
        keep = choose(fit, top, width)
        if len(self.branch.levels) == 1:
            places = places_of(keep, top, len(self.others) * width)
            self._write_first(first, keep)
            self._solve(fit.only(places), top.kept[[*places.tolist(), -1]], top.layout)
        else:
            self._lower_levels(stages, first, keep)
            self.refit()
        blocks, neurons = keep // width, keep % width
        return MergedNeurons(self.branch.last.name, tuple(blocks.tolist()), tuple(neurons.tolist()))

    def _first_level(self, trials: list[PartRun]) -> tuple[list[list[torch.Tensor]], list[list[LinearCall]]]:
        """Fit the first layers of all blocks to what they give in the teacher.

        Returns:
            The weights for each layer of the level and block, and each block's calls of what comes next.
        """
        weights: list[list[torch.Tensor]] = []
        outputs: list[list[list[torch.Tensor]]] = [[] for _ in self.others]
        for index, vertex in enumerate(self.branch.levels[0]):
            place = self.sides.student_place(vertex)
            calls = [trial.linear_call(place) for trial in trials]
            if any(call is None for call in calls):
                raise EditError(f"{vertex.name!r} makes no call that is linear in its weight")
            made = [call for call in calls if call is not None]
            self._first_layout = made[0].layout
            weights.append([])
            for number, branch in enumerate(self.others):
                other = branch.levels[0][index]
                solved = self._fit_first(vertex, other, made)
                weights[-1].append(solved)
                outputs[number].append(run_with(vertex, solved, made))
        calls_by_block = []
        for number, branch in enumerate(self.others):
            given = [
                {v.output.id: outs[b] for v, outs in zip(branch.levels[0], outputs[number], strict=True)}
                for b in range(len(trials))
            ]
            calls_by_block.append(self._after(branch, 0, given))
        return weights, calls_by_block

    def _fit_first(self, vertex: Vertex, other: Vertex, calls: list[LinearCall]) -> torch.Tensor:
        """The weights of a first layer with which it gives, at the student's place, what another gives."""
        wanted = [run.kept[other.name] for run in self.sides.teacher_runs]
        kept = folded(vertex, (), calls[0].layout) * 0
        if weight_shape(other) == weight_shape(vertex) and isinstance(other.target, type(vertex.target)):
            kept = folded(other, (), calls[0].layout)
        fit = self._fit(calls[0].layout, [call.x for call in calls], wanted)
        shift = bias_of(vertex) is not None or self._norm_behind(vertex, 0) is not None
        return fit.solve(kept, bias=shift).weights

    def _after(
        self, branch: LayerBranch, level: int, given: list[dict[int, torch.Tensor]]
    ) -> list[LinearCall]:
        """The next layer's calls of one of the teacher's blocks, from other outputs of a level."""
        nexts = branch.levels[level + 1][0] if level + 1 < len(branch.levels) else branch.last
        positions = [self.sides.teacher_place(vertex) for vertex in branch.between[level]]
        found = []
        for run, tensors in zip(self.sides.teacher_runs, given, strict=True):
            call = run.part(positions, tensors).linear_call(self.sides.teacher_place(nexts))
            if call is None:
                raise EditError(f"{nexts.name!r} makes no call that is linear in its weight")
            found.append(call)
        return found

    def _next_level(self, level: int, calls: list[list[LinearCall]]) -> list[list[LinearCall]]:
        """Each block's calls of what comes after a level, which keeps the teacher's weights."""
        found = []
        for branch, mine in zip(self.others, calls, strict=True):
            vertex = branch.levels[level][0]
            weights = folded(vertex, (), mine[0].layout)
            outputs = run_with(vertex, weights, mine)
            found.append(self._after(branch, level, [{vertex.output.id: out} for out in outputs]))
        return found

    def _lower_levels(
        self, stages: list[list[list[LinearCall]]], first: list[list[torch.Tensor]], keep: torch.Tensor
    ) -> None:
        """Choose the neurons of the levels below the last one, and solve for the layers between them."""
        for level in range(len(self.branch.levels) - 1, 0, -1):
            vertex = self.branch.levels[level][0]
            layers = [branch.levels[level][0] for branch in self.others]
            found = side_by_side(stages[level - 1], layers, [None] * len(layers))
            outputs, width = weight_shape(vertex)[0], weight_shape(self.branch.levels[level - 1][0])[0]
            whole = found.kept.new_zeros(len(found.kept), len(layers) * outputs)
            for number in range(len(layers)):  # a block's channels are made of its own alone
                rows = torch.arange(len(found.kept) - 1) // width % len(layers) == number
                part = slice(number * outputs, (number + 1) * outputs)
                whole[:-1, part][rows] = found.kept[:-1][rows]
            found.kept = whole[:, keep]
            dim = found.layout.channel_dim(self.sides.teacher_runs[0].kept[layers[0].name].shape)
            wanted = [
                torch.cat([run.kept[layer.name] for layer in layers], dim).index_select(dim, keep)
                for run in self.sides.teacher_runs
            ]
            fit = self._fit(found.layout, found.inputs, wanted)
            below = choose(fit, found, width)
            places = places_of(below, found, len(layers) * width)
            norm = self._norm_behind(vertex, level)
            solved = fit.only(places).solve(
                found.kept[[*places.tolist(), -1]], bias=bias_of(vertex) is not None or norm is not None
            )
            self._write_layer(vertex, solved.weights, found.layout, norm)
            self._gather(level, keep)
            keep = below
        self._write_first(first, keep)

    # Heads

    def _merge_heads(self) -> MergedNeurons | None:
        """Choose among the heads of all blocks, which compute as they do in the teacher."""
        sides = self.sides
        heads = HeadBlocks(sides, self.unit, self.run, self.branch, self.others)
        if not heads.fits:
            return None
        before = self._ends[0]
        trials = self.student_trials()
        given = [
            self._entering(run, trial, before) for run, trial in zip(sides.student_runs, trials, strict=True)
        ]
        calls: list[list[LinearCall]] = []
        for number, branch in enumerate(self.others):
            end = self._ends[number + 1]
            start = sides.teacher_place(self.run[number].vertices[0] if end is None else end)
            start += end is not None
            entry = sides.teacher_entry(self.run[number]) if end is None else end.output
            positions = range(start, sides.teacher_place(branch.last))
            made = [
                run.part(positions, {entry.id: tensor}).linear_call(sides.teacher_place(branch.last))
                for run, tensor in zip(sides.teacher_runs, given, strict=True)
            ]
            if any(call is None for call in made):
                return None
            calls.append([call for call in made if call is not None])
        found = side_by_side(calls, [branch.last for branch in self.others], self.others)
        fit = self._fit(found.layout, found.inputs, self.targets(trials))
        blocks_of_heads = heads.blocks(len(found.kept) - 1)
        keep = drop_neurons(*fit.compensated(), blocks_of_heads, heads.count)
        heads.write(keep)
        self.refit()
        blocks, neurons = keep // heads.each, keep % heads.each
        return MergedNeurons(self.branch.last.name, tuple(blocks.tolist()), tuple(neurons.tolist()))

    def _entering(self, run: PartRun, trial: PartRun, before: Vertex | None) -> torch.Tensor:
        """The tensor that enters the branch in the student: the block's input, or the sum before."""
        if before is None:
            return run.value(self.sides.student_entry(self.unit).id)
        assert isinstance(before.output, Stub)
        return trial.value(before.output.id)

    # Solving and writing

    def _fit(self, layout: Layout, inputs: list[torch.Tensor], wanted: list[torch.Tensor]) -> RowFit:
        """The moments of all batches."""
        sides = self.sides
        rows = torch.zeros(1, dtype=torch.long, device=inputs[0].device)
        unknowns = layout.inputs(inputs[0], wanted[0].shape, rows).shape[2]
        outputs = wanted[0].shape[layout.channel_dim(wanted[0].shape)]
        fit = RowFit(unknowns, outputs, sides.samples, inputs[0].device)
        first = 0
        for x, y, count in zip(inputs, wanted, sides.counts, strict=True):
            fit.add(layout, x, y, first, count)
            first += count
        return fit

    def _solve(self, fit: RowFit, kept: torch.Tensor, layout: Layout) -> None:
        """Solve for the last layer and write it; a batch norm behind gets true statistics."""
        last, norms = self.branch.last, self.branch.norms
        bias = bias_of(last)
        solved = fit.solve(kept, bias=bias is not None or bool(norms))
        layer: Any = last.target
        weights, shift = solved.weights[:-1], solved.weights[-1]
        for scale in self.branch.scales:
            weights, shift = weights / scale.double(), shift / scale.double()
        self.sides.write(layer.weight, layout.weight(weights[None], layer.weight.shape))
        if not norms:
            if bias is not None:
                self.sides.write(bias, shift)
            return
        norm: Any = norms[0].target
        mean, variance = fit.statistics(solved.weights)
        if bias is not None:
            self.sides.write(bias, torch.zeros_like(shift))
        self.sides.write(norm.running_mean, mean)
        self.sides.write(norm.running_var, variance)
        self.sides.write(norm.weight, (variance + norm.eps).sqrt())
        self.sides.write(norm.bias, shift + mean)

    def _write_first(self, weights: list[list[torch.Tensor]], keep: torch.Tensor) -> None:
        """Write the first layers' rows that stay."""
        for vertex, blocks in zip(self.branch.levels[0], weights, strict=True):
            chosen = torch.cat(blocks, 1)[:, keep]
            self._write_layer(vertex, chosen, self._first_layout, self._norm_behind(vertex, 0))
        self._gather(0, keep)

    def _write_layer(
        self, vertex: Vertex, weights: torch.Tensor, layout: Layout, norm: Vertex | None
    ) -> None:
        """Write a layer; its shift goes into its bias, or into the batch norm behind it (see `_gather`)."""
        layer: Any = vertex.target
        self.sides.write(layer.weight, layout.weight(weights[:-1][None], layer.weight.shape))
        bias = bias_of(vertex)
        if bias is not None:
            self.sides.write(bias, weights[-1])
        elif norm is not None:
            self._shifts[id(norm)] = weights[-1]

    def _gather(self, level: int, keep: torch.Tensor) -> None:
        """Write what stands behind a level: of each neuron that stays, what its block has for it."""
        for index, vertex in enumerate(self.branch.between[level]):
            others = [branch.between[level][index] for branch in self.others]
            width = weight_shape(self.branch.levels[level][0])[0]
            names = state_names(vertex, self.sides.student)
            theirs = [state_names(other, self.sides.teacher) for other in others]
            for place, name in enumerate(names):
                mine = self.sides.student.tensor(name)
                if mine.dim() and len(mine) == width and mine.is_floating_point():
                    whole = torch.cat([self.sides.teacher.tensor(found[place]) for found in theirs])
                    self.sides.write(mine, whole[keep])
        for vertex in self.branch.between[level]:
            shift = self._shifts.get(id(vertex))
            if shift is not None:
                norm: Any = vertex.target
                self.sides.write(norm.running_mean, norm.running_mean.double() - shift)

    def _norm_behind(self, vertex: Vertex, level: int) -> Vertex | None:
        """The batch norm that takes what a layer gives."""
        for norm in self.branch.between[level]:
            target = norm.target
            taken = norm.args[0] if norm.args else None
            if isinstance(target, _BatchNorm) and isinstance(taken, Stub) and taken.id == vertex.output.id:
                return norm if target.running_mean is not None else None
        return None
