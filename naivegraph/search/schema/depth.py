"""Least and largest numbers of nodes that a walk still takes from each node of a schema."""

from __future__ import annotations

import math
from collections.abc import Iterable

from naivegraph.errors import SchemaError
from naivegraph.search.schema.operation import NodeOperation
from naivegraph.search.schema.schema_node import SchemaNode, TransitionGroup

__all__ = ["NodesWish", "WalkDepths", "nodes_of"]

NodesWish = tuple[int, int] | int | None

_MOST_NODES = 200


class WalkDepths:
    """Least and largest numbers of nodes, `math.inf` where there is no end or no limit.

    Args:
        nodes: All nodes, those of schemas within schemas too.
    """

    def __init__(self, nodes: Iterable[SchemaNode]) -> None:
        self._nodes = list(nodes)
        self.least: dict[SchemaNode, float] = dict.fromkeys(self._nodes, math.inf)
        self.most: dict[SchemaNode, float] = dict.fromkeys(self._nodes, 0.0)
        for _ in range(len(self._nodes) + 1):
            self.least = {node: self._own(node, self.least) + self.after(node)[0] for node in self._nodes}
        for _ in range(len(self._nodes) + 1):
            self.most = {node: self._own(node, self.most) + self.after(node)[1] for node in self._nodes}
        self._unbounded()

    def _unbounded(self) -> None:
        """Set what still grows to infinity: it lies on a loop or leads to one."""
        for _ in range(len(self._nodes) + 1):
            grown = {node: self._own(node, self.most) + self.after(node)[1] for node in self._nodes}
            self.most = {
                node: math.inf if grown[node] > self.most[node] else grown[node] for node in self._nodes
            }

    def _own(self, node: SchemaNode, known: dict[SchemaNode, float]) -> float:
        """The nodes that one use of a node is."""
        inner = node.operation
        return 1.0 if inner is None or isinstance(inner, NodeOperation) else known[inner.first]

    def after(self, node: SchemaNode) -> tuple[float, float]:
        """The least and the largest number of nodes that follow one use of a node."""
        if not node.groups:
            return 0.0, 0.0
        least = min(self.of_group(group, self.least, ("new",)) for group in node.groups)
        most = max(self.of_group(group, self.most, ("new", "auto")) for group in node.groups)
        return least, most

    def of_group(
        self, group: TransitionGroup, known: dict[SchemaNode, float], kinds: tuple[str, ...]
    ) -> float:
        """The sum over the transitions of a group that are of these kinds."""
        return sum(known[each.node] for each in group.transitions if each.kind in kinds)


def nodes_of(nodes: NodesWish) -> tuple[int, int]:
    """The least and the largest number of nodes.

    Raises:
        SchemaError: They are none.
    """
    if nodes is None:
        return 1, _MOST_NODES
    span = tuple(nodes) if isinstance(nodes, (tuple, list)) else (nodes, nodes)
    if len(span) != 2 or any(type(each) is not int for each in span) or not 1 <= span[0] <= span[1]:
        raise SchemaError(f"nodes is a number from 1 up or (least, most), not {nodes!r}")
    return span[0], span[1]
