"""A network as a graph of layers and torch functions: capturing it, running it, turning it back."""

from naivegraph.graph.capture import capture
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

__all__ = [
    "Attribute",
    "Compound",
    "Expression",
    "Graph",
    "Held",
    "Operation",
    "Shape",
    "State",
    "Stub",
    "Training",
    "Vertex",
    "capture",
]
