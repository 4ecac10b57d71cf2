"""A `torch.fx.GraphModule` with one graph for eval mode and another for train mode."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from naivegraph.ir.exported_module import NodeData, graph_of, nodes_of, parts_alone

__all__ = ["TrainEvalModule"]

_Forward = Callable[..., Any]


class TrainEvalModule(fx.GraphModule):
    """Module that runs `graph`, or `training_graph` while it trains, on the same layers and parameters.

    Args:
        root: The module with the layers and parameters that the two graphs name.
        graph: The graph for eval mode.
        training_graph: The graph for train mode, with the same inputs.
        class_name: The name of the class.
    """

    training_graph: fx.Graph

    def __init__(
        self, root: nn.Module, graph: fx.Graph, training_graph: fx.Graph, class_name: str = "TrainEvalModule"
    ) -> None:
        super().__init__(root, _naming_all_of(graph, training_graph), class_name)
        self.training_graph = training_graph
        self.graph = graph

    def recompile(self) -> Any:
        """Regenerate the forward after a change of either graph."""
        code = super().recompile()
        if "training_graph" in vars(self):
            # A copy, because a graph belongs to one module.
            training = type(fx.GraphModule(self, copy.deepcopy(self.training_graph))).forward
            type(self).forward = _either(type(self).forward, training)
        return code

    def _deepcopy_init(self) -> Callable[..., None]:
        return _init_copy

    def __copy__(self) -> TrainEvalModule:
        made = TrainEvalModule(self, self.graph, self.training_graph)
        made.meta = self.meta
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the nodes of the two graphs."""
        both = [nodes_of(graph) for graph in (self.graph, self.training_graph)]
        return _joined, (parts_alone(self), *both, type(self).__name__, self.meta)


def _naming_all_of(*graphs: fx.Graph) -> fx.Graph:
    """A graph that names all layers and parameters of the graphs, by which a new module takes them over."""
    made = fx.Graph()
    for node in (node for graph in graphs for node in graph.nodes):
        if node.op in ("get_attr", "call_module"):
            made.create_node(node.op, node.target)
    made.output(None)
    return made


def _either(evaluating: _Forward, training: _Forward) -> _Forward:
    """A forward that runs one of two, by the module's `training` flag."""

    @functools.wraps(evaluating)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the forward of the present mode."""
        return (training if self.training else evaluating)(self, *args, **kwargs)

    return forward


def _init_copy(made: TrainEvalModule, copied: nn.Module, graph: fx.Graph) -> None:
    TrainEvalModule.__init__(made, copied, graph, vars(copied)["training_graph"])


def _joined(
    holder: nn.Module, one: list[NodeData], two: list[NodeData], name: str, meta: dict[str, Any]
) -> TrainEvalModule:
    made = TrainEvalModule(holder, graph_of(one), graph_of(two), name)
    made.meta = meta
    made.training = holder.training
    return made
