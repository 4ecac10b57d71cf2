"""A network as a graph of layers and torch functions: capturing it, running it, turning it back."""

from naivegraph.graph.capture import capture
from naivegraph.graph.declared import Absorb, Fixed, Rule, Same, Stack, Ties
from naivegraph.graph.graph import Graph
from naivegraph.graph.values import (
    Attribute,
    Compound,
    Expression,
    Held,
    Operation,
    Shape,
    State,
    Stub,
    Training,
)
from naivegraph.graph.vertex import Vertex
from naivegraph.graph.write import Node, call, concat, input_node, layer

__all__ = [
    "Absorb",
    "Attribute",
    "Compound",
    "Expression",
    "Fixed",
    "Graph",
    "Held",
    "Node",
    "Operation",
    "Rule",
    "Same",
    "Shape",
    "Stack",
    "State",
    "Stub",
    "Ties",
    "Training",
    "Vertex",
    "call",
    "capture",
    "concat",
    "input_node",
    "layer",
]
