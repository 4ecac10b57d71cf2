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

from naivegraph.edits import Edit, load, save
from naivegraph.errors import CaptureError, EditError, InfeasibleError, LoadError, NaivegraphError
from naivegraph.graph import Graph, Vertex, capture
from naivegraph.prune import Report, inspect, prune

__all__ = [
    "CaptureError",
    "Edit",
    "EditError",
    "Graph",
    "InfeasibleError",
    "LoadError",
    "NaivegraphError",
    "Report",
    "Vertex",
    "capture",
    "inspect",
    "load",
    "prune",
    "save",
]

__version__ = "0.1.0"
