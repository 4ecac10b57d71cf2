"""Nodes of a schema and the transitions between them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from naivegraph.errors import SchemaError
from naivegraph.search.schema.feature_shape import SizeBounds
from naivegraph.search.schema.growth import Growth
from naivegraph.search.schema.merging import Merge
from naivegraph.search.schema.node_layers import ActivationWord, NormWord
from naivegraph.search.schema.operation import NodeOperation

if TYPE_CHECKING:
    from naivegraph.search.schema.schema import Schema

__all__ = ["SchemaNode", "Transition", "TransitionGroup", "auto", "join", "new"]

TransitionKind = Literal["new", "join", "auto"]


@dataclasses.dataclass(frozen=True)
class Transition:
    """An edge to a node: to a new use of it, to one that waits for inputs, or to either.

    Attributes:
        kind: "new", "join" or "auto".
        node: The node it leads to.
        port: The port it leads to.
        priority: The node's turn: those of the lowest number come first.
    """

    kind: TransitionKind
    node: SchemaNode
    port: str | None
    priority: int

    def __str__(self) -> str:
        port = f" by {self.port!r}" if self.port else ""
        return f"{self.kind} {self.node.name}{port}"


@dataclasses.dataclass(frozen=True)
class TransitionGroup:
    """Transitions that are taken together, one of the alternatives of a node.

    Attributes:
        transitions: The transitions.
        weight: The weight of the alternative when one is drawn.
    """

    transitions: tuple[Transition, ...]
    weight: float

    def __str__(self) -> str:
        return " + ".join(map(str, self.transitions)) or "end"


@dataclasses.dataclass(eq=False, repr=False)
class SchemaNode:
    """A kind of block: merge, operation, norm, activation, dropout; `Schema.node` makes one.

    Attributes:
        name: Its name.
        operation: The operation, a schema of its own, or None.
        channels: Bounds of the channels it gives.
        multiple: A number that divides these.
        spatial: Bounds of spatial sizes, one for all dimensions or one each; None for free.
        growth: What its channels would rather be.
        norm: The norm.
        activation: The activation.
        dropout: The probability of dropout in training.
        channel_dropout: That of dropout of whole channels.
        merge: What makes one of several inputs.
        ports: The ports by which it takes inputs.
        inputs: The least number of inputs by each port.
        groups: Its alternatives; none for an end.
    """

    name: str
    operation: NodeOperation | Schema | None = None
    channels: SizeBounds | None = None
    multiple: int = 1
    spatial: tuple[SizeBounds | None, ...] = (None,)
    growth: Growth | None = None
    norm: NormWord | None = None
    activation: ActivationWord | None = None
    dropout: float = 0.0
    channel_dropout: float = 0.0
    merge: Merge | None = None
    ports: tuple[str, ...] = ("",)
    inputs: int = 1
    groups: list[TransitionGroup] = dataclasses.field(default_factory=list)

    def __repr__(self) -> str:
        what = getattr(self.operation, "word", None) or ("schema" if self.operation else "nothing")
        return f"SchemaNode({self.name!r}, {what}, {len(self.groups)} groups)"

    @property
    def layered(self) -> bool:
        """Tell whether layers follow its operation."""
        return bool(self.norm or self.activation or self.dropout or self.channel_dropout)

    def then(self, *transitions: Transition | SchemaNode, weight: float = 1.0) -> SchemaNode:
        """Add an alternative: transitions that are taken together. A node stands for `new` of it.

        Args:
            transitions: What follows, as `new`, `join` and `auto` make them.
            weight: The weight of the alternative when one is drawn.

        Returns:
            The node itself, for further alternatives.

        Raises:
            SchemaError: There are none, or one leads to a port that does not exist.
        """
        if not transitions:
            raise SchemaError(f"{self.name}: then takes at least one transition; an end has no call of it")
        if not weight > 0:
            raise SchemaError(f"{self.name}: the weight of an alternative is above 0, not {weight}")
        made = tuple(new(each) if isinstance(each, SchemaNode) else each for each in transitions)
        for each in made:
            if not isinstance(each, Transition):
                raise SchemaError(f"{self.name}: then takes search.new(node), join or auto, not {each!r}")
        self.groups.append(TransitionGroup(made, weight))
        return self


def _transition(kind: TransitionKind, node: SchemaNode, port: str | None, priority: int) -> Transition:
    if not isinstance(node, SchemaNode):
        raise SchemaError(f"{kind} takes a node of a schema, not {node!r}")
    ports = node.ports
    if port is None and ports != ("",) and len(ports) > 1:
        raise SchemaError(
            f"{node.name} takes inputs by the ports {', '.join(ports)}: name one, as port={ports[0]!r}"
        )
    if port is not None and port not in ports:
        known = ", ".join(ports) if ports != ("",) else "one without a name"
        raise SchemaError(f"{node.name} has no port {port!r}, but {known}")
    if type(priority) is not int:
        raise SchemaError(f"priority is a whole number, not {priority!r}")
    return Transition(kind, node, port or ports[0], priority)


def new(node: SchemaNode, *, port: str | None = None, priority: int = 0) -> Transition:
    """A transition to a new use of a node.

    Args:
        node: The node.
        port: The port of it, where it has several.
        priority: Its turn: of what waits, that of the lowest number comes first, of equal ones the newest.
    """
    return _transition("new", node, port, priority)


def join(node: SchemaNode, *, port: str | None = None, priority: int = 0) -> Transition:
    """A transition to a use of a node that waits: the newest that the present node has not joined yet.

    Args:
        node: The node.
        port: The port of it, where it has several.
        priority: Its turn from now on; see `new`.
    """
    return _transition("join", node, port, priority)


def auto(node: SchemaNode, *, port: str | None = None, priority: int = 0) -> Transition:
    """A transition to a use of a node that waits, or to a new one where none does; as `join`."""
    return _transition("auto", node, port, priority)
