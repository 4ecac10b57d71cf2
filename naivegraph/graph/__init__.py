"""Recorded networks: recording a run, repeating and comparing it, changing its vertices, exporting it."""

from naivegraph.graph.build.nodes import Node, call, concat, input_node, layer
from naivegraph.ir.custom_rule import Absorb, Fixed, Rule, Same, Stack, Ties
from naivegraph.ir.values import (
    Attribute,
    Compound,
    ConstantTensor,
    DimSize,
    Expression,
    Operation,
    State,
    Stub,
    Training,
)
from naivegraph.ir.vertex import Vertex

__all__ = [
    "Absorb",
    "Attribute",
    "Compound",
    "ConstantTensor",
    "DimSize",
    "Expression",
    "Fixed",
    "Node",
    "Operation",
    "Rule",
    "Same",
    "Stack",
    "State",
    "Stub",
    "Ties",
    "Training",
    "Vertex",
    "call",
    "concat",
    "input_node",
    "layer",
]
