"""Correspondence of two networks: vertices that are each other's, and stacks of blocks of different depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import nn

from naivegraph.errors import EditError
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.transfer.from_teacher.unit import Outlines, Token, Unit, tokens, units

__all__ = ["BlockStack", "Pairing", "pair_networks"]


@dataclasses.dataclass(frozen=True, eq=False)
class BlockStack:
    """Blocks one after the other, of which the student may have fewer.

    Attributes:
        student: Those of the smaller network.
        teacher: Those of the bigger one.
        alike: Whether each of the student's has the structure of each of the teacher's.
        kin: Whether they have the same layers, or are calls of modules of one class.
    """

    student: tuple[Unit, ...]
    teacher: tuple[Unit, ...]
    alike: tuple[tuple[bool, ...], ...]
    kin: tuple[tuple[bool, ...], ...]

    @property
    def deeper(self) -> bool:
        """Tell whether the teacher has more."""
        return len(self.teacher) > len(self.student)


@dataclasses.dataclass
class Pairing:
    """Correspondence of a smaller network with a bigger one.

    Attributes:
        vertices: The pairs of vertices outside of stacks, the smaller network's first.
        stacks: The stacks in order; those of equal depth, too.
    """

    vertices: list[tuple[Vertex, Vertex]]
    stacks: list[BlockStack]


def pair_networks(small: Graph, big: Graph) -> Pairing:
    """Find the correspondence of two networks.

    Both are gone through module by module. Where a module's forward has as many parts in both, each is paired
    with the other's; where the bigger network has more, its parts are taken as units, runs of which a unit of
    the smaller one stands for.

    Raises:
        EditError: They do not correspond; the message names the vertices where they part.

    Example:
        >>> import torch, naivegraph as ng
        >>> def chain(count):
        ...     return torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(count)])
        >>> graphs = [ng.capture(chain(count), torch.ones(1, 4)) for count in (2, 3)]
        >>> [(len(s.student), len(s.teacher)) for s in pair_networks(*graphs).stacks]
        [(3, 4)]
    """
    return _Pairs(small, big).found


class _Pairs:
    """The way through both networks."""

    def __init__(self, small: Graph, big: Graph) -> None:
        self.small, self.big = Outlines(small), Outlines(big)
        self.found = Pairing([], [])
        self._modules(small.vertices, big.vertices, "", "")

    def _modules(self, mine: Sequence[Vertex], theirs: Sequence[Vertex], path: str, other: str) -> None:
        """Pair the parts of a module of each network."""
        parts, others = tokens(mine, path), tokens(theirs, other)
        if len(parts) == len(others) and self._stack_of_equals(parts, others):
            return
        if len(parts) == len(others):
            for one, two in zip(parts, others, strict=True):
                self._parts(one, two)
            return
        self._stack(units(self.small, parts), units(self.big, others), path)

    def _stack_of_equals(self, parts: Sequence[Token], others: Sequence[Token]) -> bool:
        """Take children that are all of one class for a stack of equal depth."""
        if len(parts) < 2 or not all(token.path for token in (*parts, *others)):
            return False
        classes = {
            type(outlines.graph.module.get_submodule(token.path))
            for outlines, found in ((self.small, parts), (self.big, others))
            for token in found
        }
        same = all(
            self.small.all(one.vertices) == self.big.all(two.vertices)
            for one, two in zip(parts, others, strict=True)
        )
        if len(classes) > 1 or classes & {nn.Sequential, nn.ModuleList} or not same:
            return False
        self._stack(units(self.small, parts), units(self.big, others), "")
        return True

    def _parts(self, one: Token, two: Token) -> None:
        if bool(one.path) != bool(two.path):
            raise self._parted(one.vertices[0], two.vertices[0])
        if one.path:
            self._modules(one.vertices, two.vertices, one.path, two.path)
            return
        mine, theirs = one.vertices[0], two.vertices[0]
        if self.small.of(mine) != self.big.of(theirs):
            raise self._parted(mine, theirs)
        self.found.vertices.append((mine, theirs))

    def _stack(self, mine: list[Unit], theirs: list[Unit], path: str) -> None:
        """Pair two lists of units of different length."""
        if len(mine) > len(theirs):
            where = f"at {path!r} " if path else ""
            raise EditError(
                f"the networks do not correspond: {where}the network to be written has {len(mine)} blocks "
                f"({mine[0]} to {mine[-1]}), the bigger one {len(theirs)} ({theirs[0]} to {theirs[-1]}), and "
                "a block can stand for several, not the other way round"
            )
        known = [self.big.core(unit) for unit in theirs]
        alike = []
        for unit in mine:
            own = self.small.core(unit)
            row = tuple(own == each for each in known)
            if not any(row):
                raise self._no_unit(unit, theirs)
            alike.append(row)
        kinds = [self.small.kinds(unit) for unit in mine], [self.big.kinds(unit) for unit in theirs]
        kin = tuple(tuple(bool(one & two) for two in kinds[1]) for one in kinds[0])
        self.found.stacks.append(BlockStack(tuple(mine), tuple(theirs), tuple(alike), kin))

    def _no_unit(self, unit: Unit, theirs: Sequence[Unit]) -> EditError:
        """The error that no unit is like this one; it tells where that of the longest common start parts."""
        own = self.small.all(unit.vertices)

        def common(other: Unit) -> int:
            """Return the number of vertices at the start that are alike."""
            pairs = zip(own, self.big.all(other.vertices), strict=False)
            return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(own), len(other.vertices)))

        nearest = max(theirs, key=common)
        place = common(nearest)
        if place < min(len(own), len(nearest.vertices)):
            return self._parted(unit.vertices[place], nearest.vertices[place])
        longer = unit if len(own) > place else nearest
        return EditError(
            f"the networks do not correspond: {unit} of the network to be written is most like {nearest} of "
            f"the bigger one, but {longer.vertices[place].name!r} is in one of them alone"
            if len(longer.vertices) > place
            else f"the networks do not correspond at {unit} and {nearest}"
        )

    def _parted(self, mine: Vertex, theirs: Vertex) -> EditError:
        def told(outlines: Outlines, vertex: Vertex) -> str:
            """Return a vertex in words."""
            what = (
                type(vertex.target).__name__
                if isinstance(vertex.target, nn.Module)
                else getattr(vertex.target, "__name__", vertex.kind)
            )
            shape = f" giving {list(vertex.output.shape)}" if isinstance(vertex.output, Stub) else ""
            return f"{vertex.name!r} ({what}{shape})"

        return EditError(
            f"the networks do not correspond: they part at {told(self.small, mine)} of the network to be "
            f"written and {told(self.big, theirs)} of the bigger one; depth= can only map blocks of equal "
            "structure"
        )
