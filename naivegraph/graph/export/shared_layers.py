"""A graph as a module of its own that is made of the very layers and tensors of its network."""

from __future__ import annotations

from torch import fx

from naivegraph.graph.export.to_module import Rewrite, exported
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.recording import Recording

__all__ = ["module_of_parts"]


def module_of_parts(graph: Recording, rewrite: Rewrite) -> fx.GraphModule:
    """Export a graph as a module with the layers, parameters and buffers of its network, the same objects.

    Apart from that it is as `to_module` makes it. It takes inputs in the order in which the graph has them.

    Args:
        graph: The recording.
        rewrite: The function that replaces numbers by sizes that may change.

    Returns:
        The module, in the mode of the network.
    """
    flags = {path: each.training for path, each in modules_of(graph.module, every_path=True)}
    module = exported(graph, rewrite, shared=True)
    for path, each in modules_of(module):
        each.training = flags.get(path, graph.module.training)
    return module
