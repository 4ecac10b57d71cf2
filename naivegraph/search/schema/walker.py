"""Drawing a walk: a depth-first search that turns round where sizes, joins or depth forbid."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from naivegraph.errors import SchemaError
from naivegraph.search.schema.depth import WalkDepths
from naivegraph.search.schema.feature_shape import FeatureShape, KnownShape
from naivegraph.search.schema.indices import Indices
from naivegraph.search.schema.operation import NodeOperation, RefusedStep, SizePlan
from naivegraph.search.schema.schema_node import SchemaNode, Transition, TransitionGroup
from naivegraph.search.schema.size_model import SchemaRule, SizeModel
from naivegraph.search.schema.walk_frame import PartialWalk, WalkFrame
from naivegraph.search.schema.walk_steps import (
    Arrival,
    SubWalk,
    WaitingNode,
    WalkStep,
    bound_sizes,
    pose_step,
)

__all__ = ["Walker"]

_END = TransitionGroup((), 1.0)
_TURNS, _TURNS_PER_NODE = 300, 5  # walks of 40 nodes that come to an end take 60 at most


class Walker:
    """One attempt at a walk.

    Args:
        starts: The nodes that the inputs go to, with the shapes of these.
        depths: Numbers of nodes that walks take.
        nodes: The least and the largest number of nodes.
        indices: The source of indices.
        blind: Whether to take any sizes, also those that conflict.
        relaxed: Whether sizes that are products are left open where they are not known.
        adjustable: Whether numbers that the schema states are variables.
    """

    def __init__(
        self,
        starts: Sequence[tuple[SchemaNode, KnownShape]],
        depths: WalkDepths,
        nodes: tuple[int, int],
        indices: Indices,
        *,
        blind: bool = False,
        relaxed: bool = False,
        adjustable: bool = False,
    ) -> None:
        self.model = SizeModel(adjustable)
        self.steps: list[WalkStep] = []
        self._deepest: PartialWalk | None = None
        self._depth = (False, 0)
        self._exhaustive = False
        self._starts, self._depths, self._nodes, self._indices = starts, depths, nodes, indices
        self._blind, self._relaxed = blind, relaxed
        self._target: float | None = None

    def run(self) -> bool:
        """Walk; `steps` and `model` hold the result.

        Returns:
            False where no walk was found.
        """
        frame = self._open(self._inputs())
        frames: list[WalkFrame] = []
        for _ in range(self.most_turns):
            if frame is None:
                self._exhaustive = True
                return False
            frontier = self._advance(frame)
            if frontier is None:
                self._note(frame)
                frame = frames.pop() if frames else None
            elif not frontier:
                return True
            else:
                after = self._open(frontier)
                if after is None:
                    frame.tried.append((str(self._last), self._stuck(frontier)))
                else:
                    frames.append(frame)
                    frame = after
        return False

    @property
    def most_turns(self) -> int:
        """The number of alternatives after which it gives up."""
        return _TURNS + _TURNS_PER_NODE * self._nodes[1]

    def furthest(self) -> PartialWalk:
        """The furthest that the walk came."""
        if self._deepest is None:
            steps = [(s.name, s.made.text(self.model), tuple(s.all_sources)) for s in self.steps]
            return PartialWalk(tuple(steps), "", ())
        return dataclasses.replace(self._deepest, exhaustive=self._exhaustive)

    def fixed_after(self, step: WalkStep) -> None:
        """Do more once a step's group is taken; for walks that decide sizes at once."""

    def _inputs(self) -> tuple[WaitingNode, ...]:
        """The start nodes with the inputs of the network."""
        frontier = []
        for number, (node, known) in enumerate(self._starts):
            rule = SchemaRule(
                "input", "input", f"shape {known}" if len(self._starts) == 1 else f"{node.name} {known}"
            )
            sizes = []
            for part, size in enumerate((known.channels, *known.spatial), -1):
                if self.model.adjustable and part >= 0:
                    term = self.model.size(f"input {number} size {part}")
                    self.model.row(rule, [(1, term)], size, size, part + 8 * number)
                else:
                    term = self.model.size(f"input {number}")
                    self.model.row(rule, [(1, term)], size, size, -1)
                sizes.append(term)
            self.model.propagate()
            shape = FeatureShape(sizes[0], tuple(sizes[1:]), known.tokens)
            arrival = Arrival(node.ports[0], -1 - number, shape, None)
            frontier.append(WaitingNode(node, None, (-1,), -1, number, (arrival,)))
        return tuple(frontier)

    # A node's turn

    def _open(self, frontier: tuple[WaitingNode, ...]) -> WalkFrame | None:
        """Give the turn to the first node that has its inputs; None where none has."""
        while True:
            ready = [each for each in frontier if not each.missing]
            if not ready:
                return None
            waiting = min(ready, key=lambda each: each.turn)
            rest = tuple(each for each in frontier if each is not waiting)
            inner = waiting.node.operation
            if inner is None or isinstance(inner, NodeOperation):
                return self._frame(waiting, rest)
            frontier = (*rest, self._entered(waiting, inner.first))

    def _entered(self, waiting: WaitingNode, first: SchemaNode) -> WaitingNode:
        """The first node of a schema within a node, with that node's inputs."""
        outer = waiting.node
        scopes = {s.scope.name for s in self.steps if s.scope is not None and s.scope.outer is outer}
        base = _path(waiting.scope, outer.name)
        scope = SubWalk(outer, waiting.scope, base if not scopes else f"{base}_{len(scopes)}")
        arrivals = tuple(dataclasses.replace(a, port=first.ports[0]) for a in waiting.arrivals)
        return WaitingNode(first, scope, (*waiting.priority, 0), waiting.created, waiting.place, arrivals)

    def _frame(self, waiting: WaitingNode, rest: tuple[WaitingNode, ...]) -> WalkFrame:
        number = len(self.steps)
        node = waiting.node
        index = self._indices.at(number, node, waiting.arrivals[0].shape, self.model)
        draw = random.Random(index)
        if self._target is None:
            self._target = draw.uniform(*self._nodes)
        variants = (
            list(node.operation.variants(draw)) if isinstance(node.operation, NodeOperation) else [None]
        )
        owner, scope, ended = node, waiting.scope, []
        while not owner.groups and scope is not None:
            owner, scope = scope.outer, scope.parent
            ended.append(owner)
        groups = self._ordered(owner, rest, number + 1, draw)
        return WalkFrame(
            waiting, rest, number, index, self.model.mark(), variants, groups, owner, scope, ended
        )

    def _ordered(
        self, node: SchemaNode, rest: tuple[WaitingNode, ...], count: int, draw: random.Random
    ) -> list[TransitionGroup]:
        """The alternatives of a node: drawn by weight, then those first that lead to the number of nodes."""
        if not node.groups:
            return [_END]
        drawn = sorted(node.groups, key=lambda group: draw.random() ** (1 / group.weight), reverse=True)
        depths, target = self._depths, self._target or 0.0
        if count + sum(depths.least[each.node] for each in rest) < target:
            return sorted(drawn, key=lambda g: self._most(rest, g) + count < target)
        return sorted(drawn, key=lambda g: depths.of_group(g, depths.least, ("new",)))

    def _most(self, rest: tuple[WaitingNode, ...], group: TransitionGroup) -> float:
        depths = self._depths
        return sum(depths.most[each.node] for each in rest) + depths.of_group(
            group, depths.most, ("new", "auto")
        )

    def _advance(self, frame: WalkFrame) -> tuple[WaitingNode, ...] | None:
        """Take the next alternative that is possible; None where none is left."""
        while True:
            if frame.posed is None:
                if not frame.variants:
                    del self.steps[frame.number :]
                    self.model.undo(frame.mark)
                    return None
                self._pose(frame)
                continue
            del self.steps[frame.number + 1 :]
            if frame.inner is not None:
                self.model.undo(frame.inner)
            if not frame.left:
                frame.posed = None
                continue
            group = frame.left.pop(0)
            self._last = group
            try:
                frontier = self._take(frame, group)
            except RefusedStep as refused:
                frame.refuse(str(group), refused)
                continue
            return frontier

    def _pose(self, frame: WalkFrame) -> None:
        """Add the node in its next variant."""
        del self.steps[frame.number :]
        self.model.undo(frame.mark)
        waiting, variant = frame.waiting, frame.variants.pop(0)
        name = self._name(waiting)
        try:
            step = pose_step(self.model, waiting, name, frame.index, variant, self._relaxed)
            for outer in frame.ended:
                bound_sizes(self.model, outer, step.made, name)
                step.growing = outer if outer.growth is not None else step.growing
                if any(_within(each.scope, waiting.scope) for each in frame.rest):
                    raise RefusedStep(SchemaRule(outer.name, "operation", "its schema ends while nodes wait"))
            self._check()
        except RefusedStep as refused:
            frame.refuse(waiting.node.name, refused)
            return
        self.steps.append(step)
        step.end = not frame.owner.groups
        frame.posed, frame.inner, frame.left = step, self.model.mark(), list(frame.groups)

    def _check(self) -> None:
        """Narrow the sizes; unless blind, raise where they conflict."""
        row = self.model.propagate()
        if row is not None and not self._blind:
            raise RefusedStep(row.rule)

    def _name(self, waiting: WaitingNode) -> str:
        base = _path(waiting.scope, waiting.node.name)
        count = sum(s.node is waiting.node and s.scope is waiting.scope for s in self.steps)
        return base if not count else f"{base}_{count}"

    # Transitions

    def _take(self, frame: WalkFrame, group: TransitionGroup) -> tuple[WaitingNode, ...]:
        """Take a group; the nodes that wait then.

        Raises:
            RefusedStep: It cannot be taken.
        """
        step = frame.posed
        if step is None:
            raise SchemaError(f"step {frame.number} of a walk has no node yet")
        frontier = list(frame.rest)
        for place, transition in enumerate(group.transitions):
            self._lead(frame, step, transition, place, frontier)
        self._check_depth(frame.number + 1, frontier)
        self._check()
        self.fixed_after(step)
        return tuple(frontier)

    def _lead(
        self,
        frame: WalkFrame,
        step: WalkStep,
        transition: Transition,
        place: int,
        frontier: list[WaitingNode],
    ) -> None:
        """Follow one transition."""
        around = frame.waiting.priority[: -1 - len(frame.ended)]
        priority = (*around, transition.priority)
        arrival = Arrival(transition.port or "", frame.number, step.made, frame.owner)
        if transition.kind != "new":
            found = self._joined(frame, transition, frontier)
            if found is not None:
                other = frontier[found]
                self._merge(other, arrival, step.name)
                frontier[found] = dataclasses.replace(
                    other, priority=priority, arrivals=(*other.arrivals, arrival)
                )
                return
            if transition.kind == "join":
                raise RefusedStep(SchemaRule(transition.node.name, "join", "none of it waits for this input"))
        frontier.append(WaitingNode(transition.node, frame.scope, priority, frame.number, place, (arrival,)))

    def _joined(self, frame: WalkFrame, transition: Transition, frontier: list[WaitingNode]) -> int | None:
        """The place of the newest use of a node that waits and has not been joined from here by this port."""
        for place in reversed(range(len(frontier))):
            other = frontier[place]
            if other.node is not transition.node or other.scope is not frame.scope:
                continue
            if other.created == frame.number:
                continue
            if not any(a.by is frame.owner and a.port == transition.port for a in other.arrivals):
                return place
        return None

    def _merge(self, other: WaitingNode, arrival: Arrival, name: str) -> None:
        """Add the rows between an input and the one that the port has already."""
        first = next((a for a in other.arrivals if a.port == arrival.port), None)
        if first is None:
            return
        node = other.node
        merge = node.merge
        if merge is None:
            rule = SchemaRule(node.name, "merge", "it takes one input; several need a merge, as merge='add'")
            raise RefusedStep(rule)
        merge.join(first.shape, arrival.shape, SizePlan(self.model, node.name, name))

    def _check_depth(self, count: int, frontier: Sequence[WaitingNode]) -> None:
        """Raise where the walk would take too few or too many nodes.

        Raises:
            RefusedStep: It would.
        """
        least, most = self._nodes
        low = high = float(count)
        scopes: set[SubWalk] = set()
        for waiting in frontier:
            low += self._depths.least[waiting.node]
            high += self._depths.most[waiting.node]
            scope = waiting.scope
            while scope is not None and scope not in scopes:
                scopes.add(scope)
                scope = scope.parent
        for scope in scopes:
            after = self._depths.after(scope.outer)
            low, high = low + after[0], high + after[1]
        if low > most:
            raise RefusedStep(
                SchemaRule("nodes", "nodes", f"at most {most} are asked for, this takes {low:g}")
            )
        if high < least:
            raise RefusedStep(
                SchemaRule("nodes", "nodes", f"at least {least} are asked for, this has {high:g}")
            )

    # Notes

    def _stuck(self, frontier: Sequence[WaitingNode]) -> str:
        waits = [f"{each.node.name} for {', '.join(map(repr, each.missing))}" for each in frontier]
        return f"all that is left waits for inputs: {'; '.join(waits)}".replace("''", "another input")

    def _note(self, frame: WalkFrame) -> None:
        """Keep the furthest that any walk came; one that sizes ended counts more."""
        depth = (frame.sized, frame.number + 1)
        if depth <= self._depth:
            return
        self._depth = depth
        steps = [
            (step.name, step.made.text(self.model), tuple(step.all_sources))
            for step in self.steps[: frame.number]
        ]
        shape = frame.waiting.arrivals[0].shape.text(self.model)
        sources = tuple(arrival.source for arrival in frame.waiting.arrivals)
        steps.append((self._name(frame.waiting), f"given {shape}", sources))
        self._deepest = PartialWalk(tuple(steps), frame.waiting.node.name, tuple(dict.fromkeys(frame.tried)))


def _path(scope: SubWalk | None, name: str) -> str:
    return name if scope is None else f"{scope.name}.{name}"


def _within(scope: SubWalk | None, other: SubWalk | None) -> bool:
    """Tell whether a walk is another one or within it."""
    while scope is not None:
        if scope is other:
            return True
        scope = scope.parent
    return False
