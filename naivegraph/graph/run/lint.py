"""The invariants of a graph."""

from __future__ import annotations

from torch import nn

from naivegraph.errors import NaivegraphError
from naivegraph.graph.run.interpreter import expressions, read_attribute
from naivegraph.graph.torch_utils.module_paths import Modules, parameters_of, tensors_of
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Attribute, Compound, DimSize, State, Stub, Training
from naivegraph.ir.vertex import Vertex

__all__ = ["lint"]


def lint(graph: Recording) -> None:
    """Check every invariant of a graph.

    1. Names are unique.
    2. Inputs have no target; layers are modules of the network at their path; functions are callable.
    3. A tensor, or its size, is used only after the tensor was made.
    4. Parameters, buffers, attributes and training flags named in arguments exist.
    5. The network's inputs are vertices, and its output was made.
    6. The names of state are parameters and buffers of the network, those of every layer among them.
    7. Every input has an example.

    Raises:
        NaivegraphError: One is violated; the message names the vertex.
    """
    seen: set[str] = set()
    made: set[int] = {stub.id for stub in graph.state.values()}
    modules = Modules(graph.module)
    for vertex in graph.vertices:
        if vertex.name in seen:
            raise NaivegraphError(f"two vertices are named {vertex.name!r}")
        seen.add(vertex.name)
        _lint_target(graph, vertex, modules)
        _lint_values(graph, f"{vertex.name!r}", (vertex.args, vertex.kwargs), made, modules)
        made.update(stub.id for stub in stubs_in(vertex.output))
    for vertex in graph.inputs:
        if not any(vertex is other for other in graph.vertices):
            raise NaivegraphError(f"the input {vertex.name!r} is not among the graph's vertices")
        if vertex.name not in graph.example:
            raise NaivegraphError(f"the graph keeps no example of its input {vertex.name!r}")
    _lint_values(graph, "the output", graph.output, made, modules)
    present = tensors_of(graph.module)
    for name in graph.state:
        if name not in present:
            raise NaivegraphError(f"the network has no parameter or buffer {name!r} any more")


def _lint_target(graph: Recording, vertex: Vertex, modules: Modules) -> None:
    """Check the target of a vertex (invariants 2 and 6)."""
    if vertex.kind == "input":
        if vertex.target is not None:
            raise NaivegraphError(f"the input {vertex.name!r} has something to call")
    elif vertex.kind == "layer":
        if not isinstance(vertex.target, nn.Module):
            raise NaivegraphError(f"the layer {vertex.name!r} has no module")
        if _module(modules, vertex.path, vertex.name) is not vertex.target:
            raise NaivegraphError(f"the layer {vertex.name!r} is not the module at {vertex.path!r} any more")
        prefix = f"{vertex.path}." if vertex.path else ""
        for name in parameters_of(vertex.target):
            if prefix + name not in graph.state:
                raise NaivegraphError(
                    f"the layer {vertex.name!r} has a parameter {prefix + name!r} the graph does not know"
                )
    elif not callable(vertex.target):
        raise NaivegraphError(f"the function {vertex.name!r} has nothing to call")


def _lint_values(graph: Recording, who: str, value: object, made: set[int], modules: Modules) -> None:
    """Check the values in a pytree (invariants 3 and 4); `made` are the numbers of the tensors so far."""
    for leaf in leaves(value):
        kind = type(leaf)
        if kind is Stub:
            if leaf.id not in made:
                raise NaivegraphError(f"{who} uses the tensor {leaf.id} before anything made it")
        elif kind is State:
            if leaf.name not in graph.state:
                raise NaivegraphError(f"{who} uses {leaf.name!r}, which the network does not have")
        elif kind is Training:
            _module(modules, leaf.path, who)
        elif kind is Attribute or kind is DimSize or kind is Compound:
            for source in expressions(leaf):
                _lint_source(graph, who, source, made)


def _lint_source(graph: Recording, who: str, source: Attribute | DimSize, made: set[int]) -> None:
    if isinstance(source, Attribute):
        try:
            read_attribute(graph.module, source)
        except (AttributeError, LookupError) as error:
            raise NaivegraphError(f"{who} uses an attribute which is gone: {error}") from error
        return
    known = source.tensor in graph.state if isinstance(source.tensor, str) else source.tensor in made
    if not known:
        raise NaivegraphError(f"{who} uses a size of the tensor {source.tensor!r} before anything made it")


def _module(modules: Modules, path: str, who: str) -> nn.Module:
    try:
        return modules[path]
    except AttributeError as error:
        raise NaivegraphError(
            f"{who} refers to the module {path!r}, which the network does not have"
        ) from error
