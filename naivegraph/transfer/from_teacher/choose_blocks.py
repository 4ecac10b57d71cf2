"""Choice of blocks without labels: those without which the outputs are most alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from naivegraph.calibration import CalibrationBatch
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.ir.pytree import stubs_in
from naivegraph.network import Graph
from naivegraph.transfer.from_teacher.agreement import rows_of, similarity_agreement, thinned
from naivegraph.transfer.from_teacher.depth_plan import possible_choices
from naivegraph.transfer.from_teacher.pairing import BlockStack
from naivegraph.transfer.from_teacher.part_run import PartRun
from naivegraph.transfer.from_teacher.side_by_side import SideBySide
from naivegraph.transfer.from_teacher.unit import Unit

__all__ = ["chosen_depth"]

_SAMPLES = 96
_ALL = 64  # of more choices, blocks are left out one by one


def chosen_depth(
    teacher: Graph,
    stacks: Sequence[BlockStack],
    batches: Sequence[CalibrationBatch],
    say: Callable[[str], object],
) -> list[tuple[int, ...]]:
    """The blocks of each stack that stay, one choice for all stacks together.

    All choices are tried where they are few, by a walk that runs what they have in common once; else blocks
    are left out one by one, each time the one without which the outputs are most alike.

    Args:
        teacher: The bigger network.
        stacks: The stacks; their blocks are vertices of a graph with the same names.
        batches: Batches; the first samples of them are used.
        say: Called with a sentence about progress.
    """
    few: list[CalibrationBatch] = []
    for batch in batches:
        left = _SAMPLES - sum(each.samples for each in few)
        if left > 0:
            few.append(batch.part(0, min(left, batch.samples)))
    search = _Search(teacher, stacks, few, say)
    with torch.no_grad():
        return search.best()


class _Search:
    """Runs of the teacher with some of its blocks left out."""

    def __init__(
        self,
        teacher: Graph,
        stacks: Sequence[BlockStack],
        batches: Sequence[CalibrationBatch],
        say: Callable[[str], object],
    ) -> None:
        self._graph, self._stacks, self._say = teacher, stacks, say
        self._start = [PartRun(teacher, batch) for batch in batches]
        sides = SideBySide(teacher, teacher, [], [])
        self._places = {vertex.name: number for number, vertex in enumerate(teacher.vertices)}
        self._around: dict[str, tuple[int, int, int, int]] = {}  # first position, one after the last, tensors
        for stack in stacks:
            for unit in stack.teacher:
                own = Unit(unit.name, tuple(teacher[vertex.name] for vertex in unit.vertices))
                places = [self._places[vertex.name] for vertex in unit.vertices]
                self._around[unit.name] = places[0], places[-1] + 1, *_ends(sides, own)
        dims = neuron_dimensions(teacher)
        self._output = next(
            (stub.id, dims.get(tensor_key(stub), len(stub.shape) - 1))
            for stub in stubs_in(teacher.output)
            if stub.dtype.is_floating_point and len(stub.shape) > 1
        )
        everything = [tuple(range(len(stack.teacher))) for stack in stacks]
        self._wanted = self._rows(everything)

    def best(self) -> list[tuple[int, ...]]:
        """The best choice."""
        if math.prod(math.comb(len(s.teacher), len(s.student)) for s in self._stacks) <= _ALL:
            return self._of_all()
        return self._one_by_one()

    # Runs

    def _rows(self, chosen: Sequence[Sequence[int]]) -> torch.Tensor:
        """The outputs with the chosen blocks alone."""
        runs = [run.copied() for run in self._start]
        for stack, mine in zip(self._stacks, chosen, strict=True):
            for place, unit in enumerate(stack.teacher):
                self._block(runs, unit, taken=place in mine)
        return self._finished(runs)

    def _block(self, runs: Sequence[PartRun], unit: Unit, *, taken: bool) -> None:
        """Run a block, or go around it."""
        first, stop, entry, leaving = self._around[unit.name]
        for run in runs:
            run.advance(first)
            if taken:
                run.advance(stop)
            else:
                run.go_around(stop, entry, leaving)
            run.forget()

    def _finished(self, runs: Sequence[PartRun]) -> torch.Tensor:
        found = []
        for run in runs:
            run.advance(len(self._graph.vertices))
            found.append(rows_of(run.output(), self._graph, *self._output))
        return thinned(torch.cat(found))

    # Searches

    def _of_all(self) -> list[tuple[int, ...]]:
        """The best of all choices; runs share what they have in common."""
        best: tuple[float, list[tuple[int, ...]]] = (-math.inf, [])
        listed = itertools.product(*[list(possible_choices(stack)) for stack in self._stacks])
        path: list[tuple[tuple[bool, ...], list[PartRun]]] = [((), [run.copied() for run in self._start])]
        blocks = [unit for stack in self._stacks for unit in stack.teacher]
        for number, choice in enumerate(listed, 1):
            self._say(f"choosing blocks: way {number}")
            taken = tuple(
                place in mine
                for stack, mine in zip(self._stacks, choice, strict=True)
                for place in range(len(stack.teacher))
            )
            while path[-1][0] != taken[: len(path[-1][0])]:
                path.pop()
            for place in range(len(path[-1][0]), len(blocks)):
                runs = [run.copied() for run in path[-1][1]]
                self._block(runs, blocks[place], taken=taken[place])
                path.append((taken[: place + 1], runs))
            rows = self._finished([run.copied() for run in path[-1][1]])
            found = similarity_agreement(rows, self._wanted)
            if found > best[0]:
                best = found, list(choice)
        return best[1]

    def _one_by_one(self) -> list[tuple[int, ...]]:
        """Leave out one block at a time."""
        left = [list(range(len(stack.teacher))) for stack in self._stacks]
        while any(len(mine) > len(s.student) for mine, s in zip(left, self._stacks, strict=True)):
            best: tuple[float, int, int] | None = None
            for number, stack in enumerate(self._stacks):
                for place in left[number] if len(left[number]) > len(stack.student) else ():
                    rest = [p for p in left[number] if p != place]
                    if not _possible(stack, rest):
                        continue
                    trial = [rest if n == number else mine for n, mine in enumerate(left)]
                    found = similarity_agreement(self._rows(trial), self._wanted)
                    if best is None or found > best[0]:
                        best = found, number, place
            assert best is not None, "any choice of the structures that the student has can be reached"
            left[best[1]].remove(best[2])
            self._say(f"choosing blocks: {sum(map(len, left))} left")
        return [tuple(mine) for mine in left]


def _ends(sides: SideBySide, unit: Unit) -> tuple[int, int]:
    """The numbers of the tensors that come in and out; of what takes none, as inputs, none that there is."""
    if any(vertex.kind == "input" for vertex in unit.vertices):
        return -1, -1
    region = sides.region(unit, sides.uses)
    return region.entry.id, region.exit.id


def _possible(stack: BlockStack, left: Sequence[int]) -> bool:
    """Tell whether the student's blocks can still be chosen from those that are left."""
    places = iter(left)
    return all(any(stack.alike[number][place] for place in places) for number in range(len(stack.student)))
