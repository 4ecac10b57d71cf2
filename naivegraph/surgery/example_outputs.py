"""The tensors that a network gives for its example."""

from __future__ import annotations

import torch

from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.ir.pytree import leaves
from naivegraph.network import Graph

__all__ = ["example_outputs"]


@torch.no_grad()
def example_outputs(graph: Graph) -> list[torch.Tensor]:
    """The tensors that a network gives for its example in eval mode.

    Example:
        >>> import naivegraph as ng
        >>> [tuple(out.shape) for out in example_outputs(ng.capture(torch.nn.Linear(2, 3), torch.ones(4, 2)))]
        [(4, 3)]
    """
    with preserved(graph.module):
        result = Interpreter(graph).run(placed(graph, copy_tensors(graph.example)))
    return [leaf for leaf in leaves(result) if isinstance(leaf, torch.Tensor)]
