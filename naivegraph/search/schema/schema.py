"""A schema: a search space as a graph of blocks that is walked into networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from naivegraph.errors import SchemaError
from naivegraph.network import Graph
from naivegraph.search.schema.depth import NodesWish, WalkDepths, nodes_of
from naivegraph.search.schema.drawn_step import drawn_steps
from naivegraph.search.schema.drawn_walk import Walk
from naivegraph.search.schema.explain_schema import Asked, SchemaExplanation, explain_conflict
from naivegraph.search.schema.feature_shape import KnownShape, ShapeWish, SizeBounds, as_known, bounds_of
from naivegraph.search.schema.growth import Growth
from naivegraph.search.schema.indices import GenomeIndices, Indices, SeedIndices
from naivegraph.search.schema.merging import Merge, merge_of
from naivegraph.search.schema.node_layers import ActivationWord, NormWord, activation_of, norm_of
from naivegraph.search.schema.operation import NodeOperation
from naivegraph.search.schema.schema_node import SchemaNode
from naivegraph.search.schema.size_program import decide_sizes
from naivegraph.search.schema.walk_frame import PartialWalk
from naivegraph.search.schema.walker import Walker

__all__ = ["Schema"]

_ATTEMPTS = 12


class Schema:
    """A search space: nodes, each a kind of block, and transitions between them.

    A walk starts at the first node that was made (or at those that inputs are named after), takes one of its
    alternatives, goes on with what has its turn, and ends where nothing waits any more.

    Example:
        >>> from naivegraph import search
        >>> s = search.Schema()
        >>> stem = s.node("stem", search.conv(3), channels=(8, 64), multiple=8, activation="relu")
        >>> block = s.node("block", search.conv(3), norm="batch", activation="relu")
        >>> total = s.node("sum", merge="add")
        >>> head = s.node("head", search.global_pool())
        >>> split = [search.new(block), search.new(total, priority=1)]
        >>> _ = stem.then(*split)
        >>> _ = block.then(search.join(total))
        >>> _ = total.then(*split).then(search.new(head))
        >>> graph = s.compile((1, 28, 28), seed=3, nodes=(8, 12))
        >>> len(s.walk((1, 28, 28), seed=3, nodes=(8, 12)))
        12
    """

    def __init__(self) -> None:
        self._nodes: dict[str, SchemaNode] = {}

    def __repr__(self) -> str:
        return f"Schema({', '.join(self._nodes)})"

    def text(self) -> str:
        """All that the schema states, a line per node; functions of the user's by their names."""
        lines = []
        for node in self._nodes.values():
            own = node.operation
            words = [node.name, own.text() if isinstance(own, Schema) else repr(own), str(node.channels)]
            words += [str(node.multiple), str(node.spatial), getattr(node.growth, "__qualname__", "")]
            layers = (node.norm, node.activation, node.merge)
            words += [layer.word if layer is not None else "" for layer in layers]
            words += [str((node.dropout, node.channel_dropout)), str(node.ports), str(node.inputs)]
            words += [
                f"{group} {group.weight} {[t.priority for t in group.transitions]}" for group in node.groups
            ]
            lines.append(" | ".join(words))
        return "\n".join(lines)

    @property
    def nodes(self) -> tuple[SchemaNode, ...]:
        """The nodes, in the order they were made."""
        return tuple(self._nodes.values())

    @property
    def first(self) -> SchemaNode:
        """The node that was made first, with which walks begin."""
        if not self._nodes:
            raise SchemaError("a schema needs at least one node: schema.node(name, operation)")
        return next(iter(self._nodes.values()))

    def node(
        self,
        name: str,
        operation: NodeOperation | Schema | None = None,
        *,
        channels: int | tuple[int | None, int | None] | None = None,
        multiple: int = 1,
        spatial: int | tuple[int | None, int | None] | list[Any] | None = None,
        growth: Growth | None = None,
        norm: str | NormWord | Any | None = None,
        activation: str | ActivationWord | Any | None = None,
        dropout: float = 0.0,
        channel_dropout: float = 0.0,
        merge: str | Merge | None = None,
        ports: Sequence[str] | None = None,
        inputs: int = 1,
    ) -> SchemaNode:
        """Make a node: merge, then operation, norm, activation, dropout.

        Args:
            name: Its name, an identifier; uses of it in a network are named after it.
            operation: What it does, as `search.conv(3)`; a schema to walk in its place; None for nothing.
            channels: The channels it gives: a number, (least, most) with None for open, or None for free.
            multiple: A number that divides them.
            spatial: Height and width it gives: a number, (least, most), or a list of one per dimension.
            growth: What its channels would rather be, as `search.scale(0.5, 2)`; by default as many as come.
            norm: "batch", "layer", "instance", "rms", `search.group_norm(8)`, or a function that makes a
                module of a number of channels.
            activation: "relu", "gelu"..., "glu", "swiglu" and "geglu" (which halve the channels), or a
                function that makes a module.
            dropout: The probability of dropout in training.
            channel_dropout: That of dropout of whole channels, of maps.
            merge: "add", "concat", "mul", "sub", "max" or "min", for a node that takes several inputs.
            ports: Names of the ports, where its operation takes several tensors.
            inputs: The number of inputs that it waits for, by each port; more may come before its turn.

        Raises:
            SchemaError: Something in it is wrong or contradicts itself.
        """
        if not isinstance(name, str) or not name.isidentifier() or hasattr(nn.Module, name):
            raise SchemaError(
                f"{name!r} cannot be the name of a node: it has to be an identifier that is no attribute of "
                "torch.nn.Module"
            )
        if name in self._nodes:
            raise SchemaError(f"there is a node {name!r} already")
        if operation is not None and not isinstance(operation, (NodeOperation, Schema)):
            raise SchemaError(
                f"{name}: an operation is made by search.conv and its like; for a module of your own: "
                f"search.module(lambda given: ...), not {operation!r}"
            )
        for what, number in (("multiple", multiple), ("inputs", inputs)):
            if not isinstance(number, int) or number < 1:
                raise SchemaError(f"{name}: {what} is a whole number from 1 up, not {number!r}")
        for chance in (dropout, channel_dropout):
            if not 0 <= chance < 1:
                raise SchemaError(f"{name}: dropout is a probability from 0 to below 1, not {chance!r}")
        if growth is not None and not callable(growth):
            raise SchemaError(
                f"{name}: growth is a function, as search.scale(0.5, 2) makes one, not {growth!r}"
            )
        found = SchemaNode(
            name=name,
            operation=operation,
            channels=bounds_of(channels, f"{name}: channels"),
            multiple=multiple,
            spatial=_spatial(spatial, name),
            growth=growth,
            norm=norm_of(norm, name),
            activation=activation_of(activation, name),
            dropout=dropout,
            channel_dropout=channel_dropout,
            merge=merge_of(merge, name),
            ports=_ports(name, operation, ports),
            inputs=inputs,
        )
        self._check_node(found)
        self._nodes[name] = found
        return found

    def _check_node(self, node: SchemaNode) -> None:
        """Refuse what contradicts itself."""
        if isinstance(node.operation, Schema):
            if node.operation is self or self in node.operation.within():
                raise SchemaError(f"{node.name}: a schema cannot be a part of itself")
            inner = node.operation.first
            if len(inner.ports) > 1:
                raise SchemaError(f"{node.name}: the first node of a schema within takes inputs by one port")
            if node.layered or node.merge:
                raise SchemaError(
                    f"{node.name}: a node that is a schema has no norm, activation, dropout or merge of "
                    "its own"
                )
            node.merge, node.inputs = inner.merge, inner.inputs
        if node.inputs > 1 and node.merge is None:
            raise SchemaError(f"{node.name}: several inputs need a merge, as merge='add'")
        if node.channels is not None and node.multiple > 1:
            low, high = node.channels.lower or 1, node.channels.upper
            if high is not None and high // node.multiple * node.multiple < low:
                raise SchemaError(f"{node.name}: no multiple of {node.multiple} is {node.channels}")

    def within(self) -> Iterator[Schema]:
        """The schemas within this one, at any depth."""
        for node in self._nodes.values():
            if isinstance(node.operation, Schema):
                yield node.operation
                yield from node.operation.within()

    # Walks

    def walk(
        self,
        shape: ShapeWish,
        *,
        seed: int = 0,
        nodes: NodesWish = None,
        genome: Sequence[int] | None = None,
    ) -> Walk:
        """Draw a network: topology and sizes, without layers and weights yet.

        Args:
            shape: The shape of the input without its batch: (channels, height, width) or
                `search.tokens(length, features)`; several by the names of the nodes they go to.
            seed: The seed of what is drawn.
            nodes: The number of nodes: a number or (least, most).
            genome: Indices of an earlier walk, which this one repeats; the seed does not matter then.

        Raises:
            SchemaError: No network was found; the message says which rules conflict.
        """
        inputs, starts = self.starts(shape)
        span = nodes_of(nodes)
        depths = self.depths(starts, span)
        if genome is not None:
            _check_genome(genome)
            walk = self.attempt(inputs, starts, depths, span, GenomeIndices(genome))
            if isinstance(walk, PartialWalk):
                raise SchemaError(
                    "this genome is of another schema, shape or number of nodes: it leads nowhere"
                )
            return walk
        found = self._attempts(inputs, starts, depths, span, seed)
        if isinstance(found, Walk):
            return found
        raise SchemaError(str(explain_conflict(Asked(self, shape, seed, starts, depths, span), found)))

    def _attempts(
        self,
        inputs: Mapping[str, KnownShape],
        starts: Sequence[tuple[SchemaNode, KnownShape]],
        depths: WalkDepths,
        nodes: tuple[int, int],
        seed: int,
    ) -> Walk | PartialWalk:
        """Walk until one is found, some attempts were made, or all alternatives were tried."""
        deepest: PartialWalk | None = None
        for number in range(_ATTEMPTS):
            walk = self.attempt(inputs, starts, depths, nodes, SeedIndices(f"{seed} {number}"))
            if isinstance(walk, Walk):
                return walk
            if deepest is None or len(walk.steps) > len(deepest.steps):
                deepest = walk
            if walk.exhaustive:
                break
        if deepest is None:
            raise SchemaError("a walk was given no attempt")
        return deepest

    def attempt(
        self,
        inputs: Mapping[str, KnownShape],
        starts: Sequence[tuple[SchemaNode, KnownShape]],
        depths: WalkDepths,
        nodes: tuple[int, int],
        indices: Indices,
    ) -> Walk | PartialWalk:
        """One attempt at a walk; the furthest it came where it leads nowhere."""
        walker = Walker(starts, depths, nodes, indices)
        if not walker.run():
            return walker.furthest()
        values = decide_sizes(walker.model, walker.steps, list(inputs.values()))
        if values is None:
            return walker.furthest()
        return Walk(self, inputs, starts, drawn_steps(walker.steps, values), nodes)

    def compile(
        self,
        shape: ShapeWish,
        *,
        seed: int = 0,
        nodes: NodesWish = None,
        genome: Sequence[int] | None = None,
    ) -> Graph:
        """Draw a network and write it as a graph with fresh weights, arguments as for `walk`.

        The graph is one as any: it can be resized, pruned, saved; `graph.to_module()` is the network, and
        `graph.to_module().code` its source.

        Raises:
            SchemaError: No network was found; the message says which rules conflict.
        """
        return self.walk(shape, seed=seed, nodes=nodes, genome=genome).graph(seed)

    def explain(self, shape: ShapeWish, *, seed: int = 0, nodes: NodesWish = None) -> SchemaExplanation:
        """Say whether there is a network for this shape, and if not which rules conflict.

        Args:
            shape: As for `walk`.
            seed: The seed of the walks that are tried.
            nodes: As for `walk`.

        Returns:
            The explanation: `print` it, or look at its picture (`explanation.svg()`).
        """
        span = nodes_of(nodes)
        try:
            inputs, starts = self.starts(shape)
            depths = self.depths(starts, span)
        except SchemaError as error:
            return SchemaExplanation(self, shape, span, message=str(error))
        found = self._attempts(inputs, starts, depths, span, seed)
        if isinstance(found, Walk):
            return SchemaExplanation(self, shape, span, walk=found)
        return explain_conflict(Asked(self, shape, seed, starts, depths, span), found)

    def starts(self, shape: ShapeWish) -> tuple[dict[str, KnownShape], list[tuple[SchemaNode, KnownShape]]]:
        """The inputs by name, and the nodes they go to.

        Raises:
            SchemaError: A shape is none, or there is no such node.
        """
        first = self.first
        if not isinstance(shape, Mapping):
            known = as_known(shape, "the input")
            return {"input": known}, [(first, known)]
        if not shape:
            raise SchemaError("there has to be at least one input")
        inputs, starts = {}, []
        for name, wish in shape.items():
            if name not in self._nodes:
                raise SchemaError(f"there is no node {name!r} that an input could go to; there are {self!r}")
            node, known = self._nodes[name], as_known(wish, name)
            bare = node.operation is None and not node.layered
            inputs[name if bare else f"{name}_input"] = known
            starts.append((node, known))
        return inputs, starts

    def depths(self, starts: Sequence[tuple[SchemaNode, KnownShape]], nodes: tuple[int, int]) -> WalkDepths:
        """Numbers of nodes that walks take.

        Raises:
            SchemaError: No walk comes to an end, or none has so many or few nodes.
        """
        schemas = [self, *dict.fromkeys(self.within())]
        for schema in schemas:
            schema._check_transitions()
        depths = WalkDepths(itertools.chain.from_iterable(schema.nodes for schema in schemas))
        least = sum(depths.least[node] for node, _ in starts)
        most = sum(depths.most[node] for node, _ in starts)
        if least == float("inf"):
            endless = [node.name for node, value in depths.least.items() if value == float("inf")]
            raise SchemaError(
                f"no walk comes to an end: each alternative of {', '.join(endless)} leads to one of these "
                "again; add one that does not, or a node without alternatives"
            )
        if least > nodes[1] or most < nodes[0]:
            span = f"{least:g} to {most:g}" if most < float("inf") else f"at least {least:g}"
            raise SchemaError(
                f"{nodes[0]} to {nodes[1]} nodes are asked for, but walks of this schema have {span}"
            )
        return depths

    def _check_transitions(self) -> None:
        for node in self._nodes.values():
            for group in node.groups:
                for each in group.transitions:
                    if self._nodes.get(each.node.name) is not each.node:
                        raise SchemaError(
                            f"{node.name} leads to {each.node.name}, which is of another schema"
                        )


def _check_genome(genome: Sequence[int]) -> None:
    if not genome or not all(isinstance(index, int) for index in genome):
        raise SchemaError("a genome is a list of whole numbers, as walk.genome gives it")


def _spatial(wish: Any, name: str) -> tuple[SizeBounds | None, ...]:
    values = wish if isinstance(wish, list) else [wish]
    if not values:
        raise SchemaError(f"{name}: spatial is one bound for all dimensions, or a list of one for each")
    return tuple(bounds_of(value, f"{name}: spatial") for value in values)


def _ports(
    name: str, operation: NodeOperation | Schema | None, ports: Sequence[str] | None
) -> tuple[str, ...]:
    """The ports of a node: those of its operation, under other names if wanted."""
    own = operation.ports if isinstance(operation, NodeOperation) else ("",)
    if ports is None:
        return own
    wished = tuple(ports)
    if (
        len(wished) != len(own)
        or len(set(wished)) != len(wished)
        or not all(isinstance(p, str) for p in wished)
    ):
        raise SchemaError(
            f"{name}: its operation takes {len(own)} inputs, so it has as many ports, not {wished}"
        )
    return wished
