"""Change the shape of any PyTorch network: prune to an exact budget, save, load, undo.

Example:
    >>> import torch, naivegraph as ng
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    >>> edit = ng.prune(net, torch.ones(1, 8), macs=0.5)
    >>> edit.after.macs / edit.before.macs
    0.5
    >>> edit.undo()
    >>> net[0].out_features
    32
"""

from naivegraph.edits import Costs, Edit, load
from naivegraph.edits.connect import connect
from naivegraph.edits.explain.explain import explain
from naivegraph.edits.explain.explanation import Explanation
from naivegraph.edits.insert import insert
from naivegraph.edits.program import strategy
from naivegraph.edits.program.strategy import Strategy
from naivegraph.edits.remove import disconnect, remove
from naivegraph.edits.request.requests import Between as between
from naivegraph.edits.request.requests import Frozen as frozen
from naivegraph.edits.request.requests import Inputs as inputs
from naivegraph.edits.request.requests import Multiple as multiple
from naivegraph.edits.request.requests import Size as size
from naivegraph.edits.request.requests import relaxed
from naivegraph.edits.resize import resize
from naivegraph.edits.resize_kernel import resize_kernel
from naivegraph.edits.save.replay import replay
from naivegraph.edits.save.save import save
from naivegraph.errors import CaptureError, EditError, InfeasibleError, LoadError, NaivegraphError
from naivegraph.graph import (
    Absorb,
    Fixed,
    Node,
    Rule,
    Same,
    Stack,
    Ties,
    Vertex,
    call,
    concat,
    input_node,
    layer,
)
from naivegraph.network import Graph, capture
from naivegraph.prune import Report, inspect, prune
from naivegraph.solvers import Backend
from naivegraph.solvers.budget import Certificate
from naivegraph.widths import Width, Widths

__all__ = [
    "Absorb",
    "Backend",
    "CaptureError",
    "Certificate",
    "Costs",
    "Edit",
    "EditError",
    "Explanation",
    "Fixed",
    "Graph",
    "InfeasibleError",
    "LoadError",
    "NaivegraphError",
    "Node",
    "Report",
    "Rule",
    "Same",
    "Stack",
    "Strategy",
    "Ties",
    "Vertex",
    "Width",
    "Widths",
    "between",
    "call",
    "capture",
    "concat",
    "connect",
    "disconnect",
    "explain",
    "frozen",
    "input_node",
    "inputs",
    "insert",
    "inspect",
    "layer",
    "load",
    "multiple",
    "prune",
    "relaxed",
    "remove",
    "replay",
    "resize",
    "resize_kernel",
    "save",
    "size",
    "strategy",
]

__version__ = "0.1.0"
