"""Alternatives of a walk: what is still to be tried at each node, and how far it came."""

from __future__ import annotations

import dataclasses
from typing import Any

from naivegraph.search.schema.operation import RefusedStep
from naivegraph.search.schema.schema_node import SchemaNode, TransitionGroup
from naivegraph.search.schema.size_model import Mark
from naivegraph.search.schema.walk_steps import SubWalk, WaitingNode, WalkStep

__all__ = ["PartialWalk", "WalkFrame"]


@dataclasses.dataclass(frozen=True)
class PartialWalk:
    """The furthest that a walk came.

    Attributes:
        steps: Name, shapes given and sources of each step.
        node: The node that nothing could follow, or that could not be added.
        tried: What was tried after it, each with the reason against it.
        exhaustive: Whether every alternative was tried.
    """

    steps: tuple[tuple[str, str, tuple[int, ...]], ...]
    node: str
    tried: tuple[tuple[str, str], ...]
    exhaustive: bool = False


@dataclasses.dataclass(eq=False)
class WalkFrame:
    """A node whose turn it was, and what is still to be tried.

    Attributes:
        waiting: The node.
        rest: The others that waited.
        number: The number of the step.
        index: The number that decides what is drawn.
        mark: The sizes before it.
        variants: Variants of its operation to be tried.
        groups: All alternatives, in the order to try them.
        owner: The node whose alternatives they are: itself, or one around it whose schema it ends.
        scope: The walk that these lead on.
        ended: The nodes around it whose schemas it ends.
        posed: The step, once its sizes are added.
        inner: The sizes with it.
        left: Alternatives to be tried.
        tried: What could not be taken, with the reason.
        sized: Whether sizes or layouts were a reason.
    """

    waiting: WaitingNode
    rest: tuple[WaitingNode, ...]
    number: int
    index: int
    mark: Mark
    variants: list[Any]
    groups: list[TransitionGroup]
    owner: SchemaNode
    scope: SubWalk | None
    ended: list[SchemaNode]
    posed: WalkStep | None = None
    inner: Mark | None = None
    left: list[TransitionGroup] = dataclasses.field(default_factory=list)
    tried: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    sized: bool = False

    def refuse(self, what: str, refused: RefusedStep) -> None:
        """Note what could not be tried, and whether sizes or layouts were the reason."""
        self.tried.append((what, str(refused)))
        self.sized |= refused.rule.kind not in ("join", "nodes")
