"""The public names, each from where it is made; `naivegraph` loads them when the first is asked for."""

from naivegraph.costs import Cost, Costs
from naivegraph.edits import Change, Edit, load
from naivegraph.edits.apply.size_report import SizeChange
from naivegraph.edits.branch import branch
from naivegraph.edits.can import Feasibility, can
from naivegraph.edits.connect import connect
from naivegraph.edits.duplicate import duplicate
from naivegraph.edits.explain.explain import explain
from naivegraph.edits.explain.explanation import Explanation
from naivegraph.edits.insert import insert
from naivegraph.edits.remove import disconnect, remove
from naivegraph.edits.request.requests import Between as between
from naivegraph.edits.request.requests import Frozen as frozen
from naivegraph.edits.request.requests import Heads as heads
from naivegraph.edits.request.requests import Inputs as inputs
from naivegraph.edits.request.requests import Multiple as multiple
from naivegraph.edits.request.requests import Size as size
from naivegraph.edits.request.requests import relaxed
from naivegraph.edits.resize import resize
from naivegraph.edits.resize_kernel import resize_kernel
from naivegraph.edits.resize_program import strategy
from naivegraph.edits.resize_program.strategy import Strategy
from naivegraph.edits.save.network_structure import Structure
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
from naivegraph.graph.run.blocks import Block
from naivegraph.latency.latency_cost import Latency
from naivegraph.latency.profile import Profile
from naivegraph.latency.seconds import Seconds as seconds
from naivegraph.network import Graph, capture
from naivegraph.prune import Report, Tradeoff, inspect, profile, prune, prune_gradually, tradeoff
from naivegraph.reconstruct import reconstruct
from naivegraph.solvers import Backend
from naivegraph.solvers.budget import Certificate
from naivegraph.tuning import DistillationMixin, distillation, sparsity_penalty
from naivegraph.utility import Criterion, OfWidths, Utility
from naivegraph.widths import Width, Widths

__all__ = [
    "Absorb",
    "Backend",
    "Block",
    "CaptureError",
    "Certificate",
    "Change",
    "Cost",
    "Costs",
    "Criterion",
    "DistillationMixin",
    "Edit",
    "EditError",
    "Explanation",
    "Feasibility",
    "Fixed",
    "Graph",
    "InfeasibleError",
    "Latency",
    "LoadError",
    "NaivegraphError",
    "Node",
    "OfWidths",
    "Profile",
    "Report",
    "Rule",
    "Same",
    "SizeChange",
    "Stack",
    "Strategy",
    "Structure",
    "Ties",
    "Tradeoff",
    "Utility",
    "Vertex",
    "Width",
    "Widths",
    "between",
    "branch",
    "call",
    "can",
    "capture",
    "concat",
    "connect",
    "disconnect",
    "distillation",
    "duplicate",
    "explain",
    "frozen",
    "heads",
    "input_node",
    "inputs",
    "insert",
    "inspect",
    "layer",
    "load",
    "multiple",
    "profile",
    "prune",
    "prune_gradually",
    "reconstruct",
    "relaxed",
    "remove",
    "replay",
    "resize",
    "resize_kernel",
    "save",
    "seconds",
    "size",
    "sparsity_penalty",
    "strategy",
    "tradeoff",
]
