"""A network as a graph: what it calls, in order, and on what."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn

from naivegraph.errors import NaivegraphError
from naivegraph.graph.execute import Execution
from naivegraph.graph.export import to_module
from naivegraph.graph.lint import lint
from naivegraph.graph.recorded import Recorded
from naivegraph.graph.structure import map_leaves, pairs
from naivegraph.graph.summary import summary
from naivegraph.graph.values import Held, Operation, Stub
from naivegraph.graph.vertex import Vertex

__all__ = ["Graph", "flat_arguments"]


class Graph(Recorded):
    """A captured network, bound to the module it was captured from.

    Calling it runs the recorded vertices with the module's own layers, parameters and attributes, as they are
    now.
    """

    def __repr__(self) -> str:
        return f"Graph of {type(self.module).__name__}: {len(self.vertices)} vertices"

    def summary(self) -> str:
        """A table of the vertices and what verification found, as plain text."""
        return summary(self)

    def lint(self) -> None:
        """Check every invariant of a graph.

        Raises:
            NaivegraphError: One does not hold; the message names the vertex.
        """
        lint(self)

    # Running

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns for these arguments, computed vertex by vertex."""
        return Execution(self).run(self.bind(args, kwargs))

    def run(self, inputs: Any, outputs: Iterable[str]) -> dict[str, Any]:
        """The values of named vertices.

        Args:
            inputs: One tensor, a tuple of positional arguments or a dict of keyword arguments of the network.
            outputs: Names of vertices.

        Raises:
            NaivegraphError: There is no such vertex, or the arguments are not those recorded.
        """
        wanted = [self[name].name for name in outputs]
        args, kwargs = _arguments(inputs)
        execution = Execution(self, wanted)
        execution.run(self.bind(args, kwargs))
        return {name: execution.values[name] for name in wanted}

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The value of each input vertex, by its name.

        Raises:
            NaivegraphError: An argument is missing, is not nested as recorded, or is a recorded constant
                with another value.
        """
        given = flat_arguments(self.module, args, kwargs)
        names = {vertex.name: vertex for vertex in self.inputs}
        missing = names.keys() - given.keys()
        if missing:
            raise NaivegraphError(
                f"the graph was captured with the argument {min(missing)!r}, which is missing"
            )
        for name, value in given.items():
            if name in names:
                self._check_input(names[name], value)
            elif name not in self.constants or not _same(self.constants[name], value):
                recorded = repr(self.constants[name]) if name in self.constants else "its default"
                raise NaivegraphError(
                    f"the graph was captured with {recorded} for the argument {name!r}, not {value!r}; "
                    "capture again with that value"
                )
        return {name: given[name] for name in names}

    def _check_input(self, vertex: Vertex, value: Any) -> None:
        try:
            for stub, tensor, at in pairs(vertex.output, value):
                if isinstance(stub, Stub) and not isinstance(tensor, torch.Tensor):
                    raise ValueError(f"{at or 'it'} is {type(tensor).__name__}, not a tensor")
        except ValueError as error:
            raise NaivegraphError(f"the argument {vertex.name!r} is not as captured: {error}") from error

    # Copying

    def to_module(self) -> fx.GraphModule:
        """A `torch.fx.GraphModule` which computes the same and shares nothing with the original."""
        return to_module(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        module = copy.deepcopy(self.module, memo)

        def own(value: Any) -> Any:
            return Held(copy.deepcopy(value.tensor, memo)) if isinstance(value, Held) else value

        copies = {id(vertex): _copy_vertex(vertex, own, memo) for vertex in self.vertices}
        memo.update(copies)
        return Graph(
            module,
            [copies[id(vertex)] for vertex in self.vertices],
            dict(self.state),
            [copies[id(vertex)] for vertex in self.inputs],
            map_leaves(self.output, own),
            constants=copy.deepcopy(self.constants, memo),
            held=list(self.held),
            checks=dict(self.checks),
        )


def _copy_vertex(vertex: Vertex, own: Any, memo: dict[int, Any]) -> Vertex:
    target = vertex.target
    return dataclasses.replace(
        vertex,
        target=memo.get(id(target), target) if isinstance(target, nn.Module) else target,
        args=map_leaves(vertex.args, own),
        kwargs=map_leaves(vertex.kwargs, own),
        output=map_leaves(vertex.output, own),
        operations=[Operation(o.func, o.args, dict(o.kwargs), o.outputs) for o in vertex.operations],
    )


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, dict):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}


def flat_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a forward by name, `*args` and `**kwargs` spread out.

    Raises:
        NaivegraphError: The forward does not take these arguments.
    """
    signature = inspect.signature(module.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise NaivegraphError(
            f"{type(module).__name__}.forward{signature} was called with other arguments: {error}"
        ) from error
    flat: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            flat.update({f"{name}_{index}": item for index, item in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            flat.update(value)
        else:
            flat[name] = value
    return flat


def _same(one: Any, two: Any) -> bool:
    return one is two or (type(one) is type(two) and bool(one == two))
