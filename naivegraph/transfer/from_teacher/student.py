"""The verb that fills a smaller network from a bigger one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.calibration import Calibration, CalibrationBatch, check_calibration
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import check_model
from naivegraph.errors import CaptureError, EditError
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph, capture
from naivegraph.progress import working
from naivegraph.transfer.from_teacher.agreement import agreement, output_rows
from naivegraph.transfer.from_teacher.choose_blocks import chosen_depth
from naivegraph.transfer.from_teacher.depth_fit import (
    DepthFit,
    SegmentReport,
    copy_vertex,
    true_statistics,
    unit_pairs,
)
from naivegraph.transfer.from_teacher.depth_plan import Run, check_depth, chosen_runs, given_runs, merged_runs
from naivegraph.transfer.from_teacher.held_out import split_batches
from naivegraph.transfer.from_teacher.narrow_teacher import Narrowing, narrow_to
from naivegraph.transfer.from_teacher.pairing import Pairing, pair_networks
from naivegraph.transfer.from_teacher.student_report import AgreementStep, StudentReport
from naivegraph.transfer.from_teacher.student_widths import check_wider, same_sizes
from naivegraph.transfer.from_teacher.unit import Unit, state_names
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = ["student"]

SAMPLES = 512
_SELECT = ("reconstruction", "l2", "uniform")
_RATE = 1e-3


def student(
    small: nn.Module,
    big: nn.Module,
    args: Any = (),
    *,
    kwargs: Mapping[str, Any] | None = None,
    calibration: Any = None,
    depth: str | Mapping[str, Sequence[str]] = "merge",
    select: str = "reconstruction",
    samples: int | None = SAMPLES,
) -> StudentReport:
    """Fill a smaller network from a bigger one of its kind: its weights are written, in place.

    The networks correspond module by module, which is found from their graphs. Widths are those of the
    smaller network: the neurons that it keeps are chosen together, with the sums that tie them, by the
    program that prunes. Where it has fewer blocks, a block stands for a run of the bigger network's: their
    hidden neurons are put side by side, those that least squares can best do without go, and the last layer
    is solved for, so that depth becomes width. With calibration inputs, which need no labels, what is kept is
    refitted to the bigger network; each step stays only where it agrees better on every 8th input, which no
    solution has seen.

    Args:
        small: The network to fill.
        big: The network to fill it from; it is left as it is.
        args: Example inputs, which both networks take: a tensor or a tuple.
        kwargs: Example keyword inputs.
        calibration: Example inputs; see `naivegraph.calibration`. Needed to choose neurons by
            "reconstruction", and for depth "merge" and "choose" where the bigger network is deeper.
        depth: "merge" runs of blocks; "choose" those whose outputs are most like the bigger network's, and
            leave the others out; or a dict of lists of the bigger network's blocks by the smaller one's,
            which are merged if there are several. A block that only one of the bigger network's is like need
            not be given.
        select: The neurons to keep: "reconstruction" (those that the others can least stand in for), "l2" (of
            the largest weights) or "uniform" (evenly spread, which looks at nothing).
        samples: The number of calibration samples to use, the first ones; None for all.

    Returns:
        The report: blocks, neurons, agreement after each step; `report.undo()` restores the weights.

    Raises:
        EditError: The networks do not correspond, an argument does not fit them, or calibration inputs are
            missing. The network is then as it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> _ = torch.manual_seed(0)
        >>> class Block(torch.nn.Module):
        ...     def __init__(self, hidden):
        ...         super().__init__()
        ...         self.up, self.down = torch.nn.Linear(6, hidden), torch.nn.Linear(hidden, 6)
        ...     def forward(self, x):
        ...         return x + self.down(self.up(x).relu())
        >>> def network(depth):
        ...     return torch.nn.Sequential(*[Block(12) for _ in range(depth)], torch.nn.Linear(6, 3))
        >>> big, small, x = network(4), network(2), torch.randn(256, 6)
        >>> report = ng.transfer.student(small, big, x[:2], calibration=x)
        >>> [(block.name, block.upto) for block in report.blocks[:2]]
        [('0', ('0', '1')), ('1', ('2', '3'))]
        >>> report.agreement > 0.95
        True
    """
    check_depth(depth)
    if select not in _SELECT:
        raise EditError(f"select={select!r}: give one of {', '.join(map(repr, _SELECT))}")
    check_calibration(calibration)
    if samples is not None:
        validate.whole(samples, "samples", 1)
    for model in (small, big):
        check_model("transfer.student", model)
    mine, theirs = _captured(small, big, args, kwargs)
    pairing = pair_networks(mine, theirs)
    batches = list(calibration) if isinstance(calibration, Iterator) else calibration
    with working("reading the calibration inputs") as say:
        return _Student(mine, theirs, pairing, depth, select, batches, samples, say).run()


def _captured(small: Any, big: Any, args: Any, kwargs: Any) -> tuple[Graph, Graph]:
    """The graphs of both networks.

    Raises:
        EditError: One does not run on the example, or they share parameters.
    """
    found = []
    for model, name in ((small, "the network to be written"), (big, "the bigger network")):
        if isinstance(model, Graph):
            raise EditError("transfer.student takes networks, not graphs: give graph.module")
        try:
            found.append(capture(unwrapped(model), args, kwargs, verify="recorded"))
        except CaptureError as error:
            raise EditError(f"{name} cannot be captured with args=: {error}") from error
    mine, theirs = found
    shared = {id(tensor) for tensor in _state(theirs.module)}
    if any(id(tensor) in shared for tensor in _state(mine.module)):
        raise EditError("the networks share parameters, so one cannot be written and the other stay as it is")
    return mine, theirs


def _state(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


class _Student:
    """One student."""

    def __init__(
        self,
        small: Graph,
        big: Graph,
        pairing: Pairing,
        depth: str | Mapping[str, Sequence[str]],
        select: str,
        calibration: Any,
        samples: int | None,
        say: Callable[[str], object],
    ) -> None:
        self.small, self.big, self.pairing, self.say = small, big, pairing, say
        self.depth, self.select = depth, select
        given = {} if isinstance(depth, str) else given_runs(pairing, depth)
        self.runs = {
            number: given.get(number) or ([] if depth == "choose" and stack.deeper else merged_runs(stack))
            for number, stack in enumerate(pairing.stacks)
        }
        check_wider(self._pairs(), small, big)
        self.exact = same_sizes(self._pairs(), small, big)
        self._check_calibration(calibration)
        self.batches, self.held = self._read(calibration, samples)
        self.notes: list[str] = []
        self.steps: list[AgreementStep] = []

    # Checks

    def _models(self, number: int) -> list[Unit]:
        """For each block of the student in a stack, one of the teacher's with its structure."""
        stack, runs = self.pairing.stacks[number], self.runs[number]
        return [run.model for run in runs] or [stack.teacher[row.index(True)] for row in stack.alike]

    def _pairs(self) -> list[tuple[Vertex, Vertex]]:
        """Pairs of vertices, the student's blocks each with its model."""
        pairs = list(self.pairing.vertices)
        for number, stack in enumerate(self.pairing.stacks):
            for unit, model in zip(stack.student, self._models(number), strict=True):
                pairs += unit_pairs(unit, model)
        return pairs

    def _all_pairs(self) -> list[tuple[Vertex, Vertex]]:
        """Pairs of vertices, the teacher's blocks each with one of the student's whose model it is like."""
        pairs = self._pairs()
        for number, stack in enumerate(self.pairing.stacks):
            models = self._models(number)
            for place, block in enumerate(stack.teacher):
                near = place * len(stack.student) // len(stack.teacher)
                numbers = [n for n, row in enumerate(stack.alike) if row[place]]
                numbers = [n for n in numbers if same_sizes(unit_pairs(models[n], block), self.big, self.big)]
                if block not in models and numbers:
                    like = min(numbers, key=lambda n, near=near: abs(n - near))  # type: ignore[misc]
                    pairs += unit_pairs(stack.student[like], block)
        return pairs

    def _check_calibration(self, calibration: Any) -> None:
        if calibration is not None:
            return
        if not self.exact and self.select == "reconstruction":
            raise EditError(
                'select="reconstruction" chooses neurons by data: give calibration=, example inputs without '
                'labels, or select="l2"'
            )
        deeper = next((stack for stack in self.pairing.stacks if stack.deeper), None)
        several = any(len(run.blocks) > 1 for runs in self.runs.values() for run in runs)
        if deeper is not None and (several or self.depth == "choose"):
            raise EditError(
                f"the bigger network has {len(deeper.teacher)} blocks where the other one has "
                f"{len(deeper.student)} ({deeper.student[0]} to {deeper.student[-1]}): to merge or choose "
                "them give calibration=, example inputs without labels; or name one for each in depth={...}"
            )

    def _read(
        self, calibration: Any, samples: int | None
    ) -> tuple[list[CalibrationBatch], list[CalibrationBatch]]:
        """The batches, and those of them that are held out."""
        if calibration is None:
            return [], []
        found = list(Calibration(self.small, calibration).first(samples))
        return found, split_batches(found)[1]

    def _theirs(self, batches: Sequence[CalibrationBatch]) -> list[CalibrationBatch]:
        """Batches by the names of the bigger network's inputs."""
        names = {mine.name: other.name for mine, other in self.pairing.vertices if mine.kind == "input"}
        return [
            dataclasses.replace(
                batch, inputs={names.get(name, name): value for name, value in batch.inputs.items()}
            )
            for batch in batches
        ]

    # Steps

    def run(self) -> StudentReport:
        """Write the student; all of it or nothing."""
        own = [*self.small.module.parameters()]
        with (
            all_or_nothing() as log, restored(self.small.module), restored(self.big.module),
            preserved(self.big.module), preserved(self.small.module, buffers=False, spared=own),
        ):  # fmt: skip
            write = functools.partial(_write, log)
            narrowing = self._narrow()
            teacher = narrowing.graph
            self._fill_depth(teacher)
            for mine, other in self.pairing.vertices:
                copy_vertex(mine, self._in(teacher, other), self.small, teacher, write)
            for runs in self.runs.values():
                for run in runs:
                    for mine, other in unit_pairs(run.unit, run.model):
                        copy_vertex(mine, self._in(teacher, other), self.small, teacher, write)
            blocks = self._fit_depth(teacher, log)
            return self._report(narrowing, blocks, log)

    def _in(self, teacher: Graph, vertex: Vertex) -> Vertex:
        """A vertex of the bigger network, in its resized copy."""
        return vertex if teacher is self.big else teacher[vertex.name]

    def _narrow(self) -> Narrowing:
        if self.exact:
            return Narrowing(self.big, (), None, ())
        self.say("choosing neurons")
        found = narrow_to(
            self._all_pairs(), self.small, self.big, select=self.select,
            batches=self._theirs(self.batches), say=self.say,
        )  # fmt: skip
        self.steps += found.steps
        return found

    def _fill_depth(self, teacher: Graph) -> None:
        """Choose blocks where that is asked for."""
        for number, stack in enumerate(self.pairing.stacks):
            if not self.runs[number]:
                self.say(f"choosing {len(stack.student)} of {len(stack.teacher)} blocks")
        missing = [number for number, runs in self.runs.items() if not runs]
        if missing:
            stacks = [self.pairing.stacks[number] for number in missing]
            choices = chosen_depth(teacher, stacks, self._theirs(self.batches), self.say)
            for number, choice in zip(missing, choices, strict=True):
                self.runs[number] = chosen_runs(self.pairing.stacks[number], choice)

    def _fit_depth(self, teacher: Graph, log: UndoLog) -> tuple[SegmentReport, ...]:
        """Merge or refit blocks; all of it is taken back where the plain copy agrees better."""
        whole = all(run.alone and len(run.blocks) == 1 for runs in self.runs.values() for run in runs)
        if not self.batches or whole:
            return self._copied()
        wanted = output_rows(self.big, self._theirs(self.held))
        plain = agreement(output_rows(self.small, self.held), wanted)
        self.steps.append(AgreementStep("blocks copied", plain))
        fit = DepthFit(
            self.small, teacher, self.batches, self._theirs(self.batches),
            merge=self.depth != "choose", say=self.say,
        )  # fmt: skip
        log.push(fit.log.undo)
        fit.run(self._in_order(teacher))
        self.notes += fit.notes
        if not fit.log:
            return tuple(fit.report)
        true_statistics(self.small, self.batches, functools.partial(_write, fit.log))
        after = agreement(output_rows(self.small, self.held), wanted)
        way = "blocks merged" if any(block.chosen for block in fit.report) else "blocks refitted"
        self.steps.append(AgreementStep(way, after, after >= plain))
        if after >= plain:
            return tuple(fit.report)
        fit.log.undo()
        self.notes.append("The blocks are plain copies, as these agree better with the bigger network.")
        return self._copied()

    def _copied(self) -> tuple[SegmentReport, ...]:
        """The report on plain copies of blocks."""
        runs = [run for found in self.runs.values() for run in found]
        return tuple(
            _plain(run) for run in runs if any(state_names(v, self.small) for v in run.unit.vertices)
        )

    def _in_order(self, teacher: Graph) -> list[Run | tuple[Vertex, Vertex]]:
        """Blocks and pairs of vertices in the student's order, with those of the resized teacher."""
        place = {id(vertex): number for number, vertex in enumerate(self.small.vertices)}
        steps: list[tuple[int, Run | tuple[Vertex, Vertex]]] = []
        for mine, other in self.pairing.vertices:
            steps.append((place[id(mine)], (mine, self._in(teacher, other))))
        for runs in self.runs.values():
            for run in runs:
                mapped = run if teacher is self.big else run.within(teacher)
                steps.append((place[id(run.unit.vertices[0])], mapped))
        return [step for _, step in sorted(steps, key=lambda each: each[0])]

    # Report

    def _report(self, narrowing: Narrowing, blocks: tuple[SegmentReport, ...], log: UndoLog) -> StudentReport:
        used = {name for block in blocks for name in block.blocks}
        there = [unit.name for stack in self.pairing.stacks for unit in stack.teacher]
        share = len(used & set(there)) / len(there) if there else 1.0
        reason = (
            "as the start is good: measured on CIFAR-10, it rose from the first epoch at .001 with momentum "
            ".9, and a usual rate of .02 ruined it"
        )
        held = sum(batch.samples for batch in self.held)
        return StudentReport(
            blocks, narrowing.kept, tuple(self.steps), share, _neurons(self.small) / _neurons(self.big),
            narrowing.gap, (sum(batch.samples for batch in self.batches), held), _RATE, reason,
            tuple(self.notes), log,
        )  # fmt: skip


def _neurons(graph: Graph) -> int:
    """The number of outputs of all layers with weights."""
    weights = {
        name: graph.tensor(name)
        for vertex in graph.vertices
        for name in state_names(vertex, graph)
        if graph.tensor(name).dim() > 1
    }
    return sum(len(tensor) for tensor in weights.values()) or 1


def _plain(run: Run) -> SegmentReport:
    upto = tuple(map(str, run.upto))
    return SegmentReport(run.unit.name, (str(run.model),), upto, "copied", None, None)


def _write(log: UndoLog, tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Give a tensor other values, and log what takes that back."""
    before = tensor.detach().clone()

    @torch.no_grad()
    def put_back() -> None:
        """Restore the tensor."""
        tensor.copy_(before)

    log.push(put_back)
    with torch.no_grad():
        tensor.copy_(values.to(tensor))
