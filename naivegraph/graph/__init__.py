"""A network as a graph of layers and torch functions: capturing it, running it, turning it back."""

from naivegraph.graph.build.nodes import Node, call, concat, input_node, layer
from naivegraph.graph.capture import capture
from naivegraph.graph.graph import Graph
from naivegraph.ir.custom_rule import Absorb, Fixed, Rule, Same, Stack, Ties
from naivegraph.ir.values import (
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
from naivegraph.ir.vertex import Vertex

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
