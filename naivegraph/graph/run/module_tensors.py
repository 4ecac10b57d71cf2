"""The tensors that go into the calls of a module, and those that come out of them."""

from __future__ import annotations

from naivegraph.graph.run.query import edges
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["tensors_into", "tensors_out_of"]


def tensors_into(graph: Recording, path: str) -> list[Stub]:
    """The tensors made outside of a module that vertices of its calls take, each once.

    Args:
        graph: The run.
        path: The module's path.
    """
    found = [stub for maker, user, stub in edges(graph) if _within(user, path) and not _within(maker, path)]
    return list({stub.id: stub for stub in found}.values())


def tensors_out_of(graph: Recording, path: str) -> list[Stub]:
    """The tensors made by vertices of a module's calls that others take, or the network returns, each once.

    Args:
        graph: The run.
        path: The module's path.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> stem = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
        >>> graph = capture(torch.nn.Sequential(stem, torch.nn.Tanh()), torch.ones(1, 2))
        >>> [stub.shape for stub in tensors_out_of(graph, "0")]
        [(1, 3)]
    """
    found = [stub for maker, user, stub in edges(graph) if _within(maker, path) and not _within(user, path)]
    last = {stub.id: vertex for vertex in graph.vertices for stub in stubs_in(vertex.output)}
    found += [stub for stub in stubs_in(graph.output) if stub.id in last and _within(last[stub.id], path)]
    return list({stub.id: stub for stub in found}.values())


def _within(vertex: Vertex, path: str) -> bool:
    return vertex.kind != "input" and (not path or vertex.path == path or vertex.path.startswith(f"{path}."))
