"""A graph with the axes of its tensors as it was at one moment, of which pictures can be made later."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

from torch import nn

from naivegraph.graph.run.summary import target_name
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.recording import Recording
from naivegraph.widths import Widths

__all__ = ["RelatedGraph"]


@dataclasses.dataclass(frozen=True, eq=False)
class RelatedGraph:
    """A graph and its widths as they were; nothing of the network itself is kept.

    Attributes:
        widths: The widths; their graph does not change with the network, and its vertices call nothing.
        called: The class of layer or the function that each vertex calls, by the vertex's name.
        classes: The class of each module of the network, by its path.
    """

    widths: Widths
    called: Mapping[str, str]
    classes: Mapping[str, str]

    @classmethod
    def of(cls, widths: Widths) -> RelatedGraph:
        """Keep the present state of a graph whose axes are related."""
        graph = widths.graph
        return cls(
            _without_modules(widths),
            {vertex.name: target_name(vertex.target) for vertex in graph.vertices},
            {path: type(module).__name__ for path, module in modules_of(graph.module)},
        )

    @property
    def graph(self) -> Recording:
        """The vertices."""
        return self.widths.graph


def _without_modules(widths: Widths) -> Widths:
    """A copy of the widths that does not change with the graph, and does not keep the network alive."""
    graph = widths.graph
    widths.parameters(), widths.users
    copies = {
        v: dataclasses.replace(v, target=v.target if isinstance(v.target, CustomFunction) else None)
        for v in graph.vertices
    }
    inputs = [copies[v] for v in graph.inputs]
    out = copy.copy(widths)
    out.graph = Recording(nn.Module(), list(copies.values()), dict(graph.state), inputs, graph.output)
    vars(out).pop("provenances", None)
    return out
