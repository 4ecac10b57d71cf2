"""Runs of a teacher's blocks: which of them each block of the student stands for."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from naivegraph.errors import EditError, nearest
from naivegraph.ir.recording import Recording
from naivegraph.transfer.from_teacher.pairing import BlockStack, Pairing
from naivegraph.transfer.from_teacher.unit import Unit

__all__ = ["Run", "check_depth", "chosen_runs", "given_runs", "merged_runs", "possible_choices"]

_WAYS = ("merge", "choose")
_STRANGE = 1e6  # the cost of a block in a run of another kind


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A block of the student, and what it stands for.

    Attributes:
        unit: The block.
        blocks: The teacher's blocks that are merged in it.
        model: The one among them with its structure, whose tensors it begins with.
        end: The last of the teacher's blocks before those of the student's next block.
        upto: The teacher's blocks from the one after the last run's end to `end`.
        alike: Those of `blocks` that have the structure of the student's.
    """

    unit: Unit
    blocks: tuple[Unit, ...]
    model: Unit
    end: Unit
    upto: tuple[Unit, ...]
    alike: tuple[Unit, ...]

    def within(self, graph: Recording) -> Run:
        """The run, with the blocks of a copy of the teacher."""

        def other(unit: Unit) -> Unit:
            """Return a block of the copy."""
            return Unit(unit.name, tuple(graph[vertex.name] for vertex in unit.vertices))

        copies = {id(unit): other(unit) for unit in (*self.upto, *self.blocks)}
        blocks = tuple(copies[id(unit)] for unit in self.blocks)
        upto = tuple(copies[id(unit)] for unit in self.upto)
        alike = tuple(copies[id(unit)] for unit in self.alike)
        return Run(self.unit, blocks, copies[id(self.model)], copies[id(self.end)], upto, alike)

    @property
    def alone(self) -> bool:
        """Tell whether it stands for one block that keeps its place."""
        return len(self.upto) == 1


def check_depth(depth: Any) -> None:
    """Check all of `depth=` that can be checked without networks.

    Raises:
        EditError: It is no way, and no mapping of names.
    """
    if isinstance(depth, str) and depth in _WAYS:
        return
    if not isinstance(depth, Mapping):
        raise EditError(
            f'depth={depth!r}: give "merge", "choose" or a dict of the bigger network\'s blocks by those '
            'of the network to be written, {"layer1.0": ["layer1.0", "layer1.1"]}'
        )
    for name, blocks in depth.items():
        listed = isinstance(blocks, (list, tuple)) and blocks and all(isinstance(b, str) for b in blocks)
        if not isinstance(name, str) or not listed:
            raise EditError(
                f"depth= maps {name!r} to {blocks!r}: give the names of one or more blocks in a list"
            )


def merged_runs(stack: BlockStack) -> list[Run]:
    """Runs of about equal length, each with a block of the student's structure in it.

    Raises:
        EditError: There are none.
    """
    count, total = len(stack.student), len(stack.teacher)
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [0])}  # by the number of blocks used: cost, ends
    for number in range(count):
        known: dict[int, tuple[float, list[int]]] = {}
        for start, (cost, ends) in best.items():
            last = number == count - 1
            for stop in [total] if last else range(start + 1, total - (count - number - 1) + 1):
                if not any(stack.alike[number][start:stop]):
                    continue
                strange = sum(not kin for kin in stack.kin[number][start:stop]) - (stop - start == 1)
                whole = cost + (stop - total * (number + 1) / count) ** 2 + _STRANGE * max(strange, 0)
                if stop not in known or whole < known[stop][0]:
                    known[stop] = whole, [*ends, stop]
        best = known
    if total not in best:
        raise EditError(
            f"the networks do not correspond: the blocks {stack.teacher[0]} to {stack.teacher[-1]} of the "
            f"bigger network cannot be parted into {count} runs, each with a block of the structure that "
            f"those from {stack.student[0]} to {stack.student[-1]} have; give depth={{...}}"
        )
    ends = best[total][1]
    found = []
    for number, (start, stop) in enumerate(itertools.pairwise(ends)):
        blocks = stack.teacher[start:stop]
        own = stack.alike[number][start:stop]
        alike = tuple(block for block, like in zip(blocks, own, strict=True) if like)
        found.append(Run(stack.student[number], blocks, alike[0], blocks[-1], blocks, alike))
    return found


def possible_choices(stack: BlockStack) -> Iterator[tuple[int, ...]]:
    """The choices of one block of the teacher's for each of the student's, in order."""
    for choice in itertools.combinations(range(len(stack.teacher)), len(stack.student)):
        if all(stack.alike[number][place] for number, place in enumerate(choice)):
            yield choice


def chosen_runs(stack: BlockStack, choice: Sequence[int]) -> list[Run]:
    """Runs in which one block of the teacher stands for itself and those up to the next one chosen."""
    return _runs(stack, [(place,) for place in choice])


def _runs(stack: BlockStack, places: Sequence[tuple[int, ...]]) -> list[Run]:
    found, start = [], 0
    for number, mine in enumerate(places):
        last = number == len(places) - 1
        stop = len(stack.teacher) if last else places[number + 1][0]
        blocks = tuple(stack.teacher[place] for place in mine)
        alike = tuple(stack.teacher[place] for place in mine if stack.alike[number][place])
        if not alike:
            raise EditError(
                f"depth=: {stack.student[number]} has another structure than "
                f"{', '.join(map(str, blocks))} of the bigger network"
            )
        upto = stack.teacher[start:stop]
        found.append(Run(stack.student[number], blocks, alike[0], upto[-1], upto, alike))
        start = stop
    return found


def given_runs(pairing: Pairing, depth: Mapping[str, Sequence[str]]) -> dict[int, list[Run]]:
    """The runs that the user gave, by the number of the stack.

    A block that only one of the bigger network's is like, as the input is, need not be given.

    Raises:
        EditError: A name is unknown, a block is missing, or they are not in order.
    """
    left = dict(depth)
    found: dict[int, list[Run]] = {}
    for number, stack in enumerate(pairing.stacks):
        names = [unit.name for unit in stack.student]
        if not any(name in left for name in names):
            continue
        theirs = [unit.name for unit in stack.teacher]
        places = []
        for name, alike in zip(names, stack.alike, strict=True):
            if name not in left and sum(alike) != 1:
                raise EditError(f"depth= gives no blocks for {name!r} of the network to be written")
            given = left.pop(name) if name in left else [theirs[alike.index(True)]]
            places.append(tuple(_place(theirs, other, name) for other in given))
        whole = [place for mine in places for place in mine]
        if whole != sorted(set(whole)):
            raise EditError(
                f"depth=: the bigger network's blocks for {names[0]} to {names[-1]} are not in their order, "
                f"or one comes twice: {', '.join(theirs[place] for place in whole)}"
            )
        found[number] = _runs(stack, places)
    if left:
        known = [unit.name for stack in pairing.stacks for unit in stack.student]
        name = next(iter(left))
        hint = nearest(name, known, otherwise=f"there are {', '.join(known) or 'none'}")
        raise EditError(f"depth=: the network to be written has no block {name!r}{hint}")
    return found


def _place(names: Sequence[str], name: str, mine: str) -> int:
    if name not in names:
        hint = nearest(name, names, otherwise=f"there are {', '.join(names)}")
        raise EditError(f"depth=: the bigger network has no block {name!r} for {mine!r}{hint}")
    return names.index(name)
