"""Several networks as one, with inputs shared or renamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from naivegraph.errors import EditError, nearest
from naivegraph.graph import Vertex
from naivegraph.graph.export.placeholder import placeholder
from naivegraph.graph.export.shared_layers import module_of_parts
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.graph.verify.shape_prop import placed
from naivegraph.ir.pytree import pairs
from naivegraph.ir.signature import nested_arguments
from naivegraph.ir.values import Stub
from naivegraph.network import Graph, capture
from naivegraph.widths import rewritable

__all__ = ["merge_models"]

_RESULT = "merged_output"  # the module that makes one output of those of the networks
# By the name of a new input: for each network the name of its input that takes it.
Inputs = Mapping[str, Mapping[str, str]]


def merge_models(
    models: Mapping[str, Graph],
    inputs: Inputs | None = None,
    outputs: str | Callable[[dict[str, Any]], Any] = "dict",
    *,
    copy: bool = False,
) -> Graph:
    """Merge several networks into one, which runs them side by side.

    It is a network as any other: sizes of all of them are chosen together when it is pruned, layers come and
    go, and connections can be made between them. Layers and parameters are those of the networks, the same
    objects: what trains or prunes the whole trains or prunes them.

    Args:
        models: The graphs, by the names that they get as parts.
        inputs: The inputs: by name, for each network that takes one the name of its own input. Those that are
            not in it keep their names; inputs of one name are then one.
        outputs: "dict": the output of each network, by its name; "tuple": the same in order; "mean": the mean
            of the tensors that they return, as of an ensemble; or a function of that dict.
        copy: Copy layers and parameters.

    Returns:
        The graph of the whole, in which vertices have the names of parts before theirs.

    Raises:
        EditError: A name makes no sense or is given twice, an input does not exist or is taken by inputs of
            different shapes, or the outputs have no mean.

    Example:
        >>> import naivegraph as ng
        >>> x = torch.randn(5, 4)
        >>> build = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> nets = {"one": build(), "two": build()}
        >>> graphs = {name: ng.capture(net, x) for name, net in nets.items()}
        >>> ensemble = ng.surgery.merge_models(graphs, outputs="mean")
        >>> torch.allclose(ensemble(x), (nets["one"](x) + nets["two"](x)) / 2)
        True
        >>> edit = ng.prune(ensemble, macs=0.5)
        >>> nets["one"][0].out_features + nets["two"][0].out_features
        8
    """
    _check_models(models)
    if copy:
        models = deep_copy(dict(models))
    taken = _taken(models, inputs or {})
    root, made = nn.Module(), fx.Graph()
    nodes = {name: placeholder(made, name) for name in taken}
    results: dict[str, Any] = {}
    for name, graph in models.items():
        module = module_of_parts(graph, rewritable) if graph.rewired else graph.module
        root.add_module(name, module)
        own = {users[name]: nodes[new] for new, users in taken.items() if name in users}
        args, kwargs = nested_arguments(module, {**graph.constants, **own})
        results[name] = made.call_module(name, args, kwargs)
    made.output(_output(root, made, models, results, outputs))
    merged = fx.GraphModule(root, made, "Merged")
    merged.training = any(graph.module.training for graph in models.values())
    return capture(merged, tuple(_examples(models, taken)))


def _check_models(models: Any) -> None:
    if not isinstance(models, Mapping) or not models:
        raise EditError("surgery.merge_models takes a dict of graphs by the names of parts")
    for name, graph in models.items():
        if not isinstance(graph, Graph):
            raise EditError(f"{name!r} is a {type(graph).__name__}, not a graph: give ng.capture(model, x)")
        if (
            not isinstance(name, str)
            or not name.isidentifier()
            or hasattr(fx.GraphModule, name)
            or name == _RESULT
        ):
            raise EditError(
                f"{name!r} cannot be the name of a part: give an identifier that torch has no use for"
            )


def _taken(models: Mapping[str, Graph], inputs: Inputs) -> dict[str, dict[str, str]]:
    """For each new input the networks that take it, with the names of their own inputs."""
    found: dict[str, dict[str, str]] = {}
    left = {(name, vertex.name): None for name, graph in models.items() for vertex in graph.inputs}
    for new, users in inputs.items():
        if not isinstance(new, str) or not new.isidentifier() or not isinstance(users, Mapping) or not users:
            raise EditError(
                f"inputs= has {users!r} for {new!r}: give for the name of an input a dict with the name of "
                "the input of each network that takes it"
            )
        for name, own in users.items():
            if name not in models:
                raise EditError(f"inputs= names the network {name!r}{_hint(name, models)}")
            known = [vertex.name for vertex in models[name].inputs]
            if own not in known:
                raise EditError(f"inputs= names the input {own!r} of {name!r}{_hint(own, known)}")
            if (name, own) not in left:
                raise EditError(f"inputs= names the input {own!r} of {name!r} twice")
            del left[name, own]
        found[new] = dict(users)
    for name, own in left:
        if own in inputs:
            raise EditError(
                f"the input {own!r} of {name!r} keeps its name, which inputs= gives to another: name it there"
            )
        found.setdefault(own, {})[name] = own
    for new, users in found.items():
        _check_alike(new, models, users)
    return found


def _hint(name: Any, known: Any) -> str:
    listed = ", ".join(map(repr, known))
    return nearest(str(name), known, otherwise=f"there are {listed}") or f"; there are {listed}"


def _check_alike(new: str, models: Mapping[str, Graph], users: Mapping[str, str]) -> None:
    """Check that inputs of one name are of one structure, shape and type."""
    (first, own), *others = users.items()
    for name, other in others:
        one, two = _input(models[first], own), _input(models[name], other)
        if _shapes(one) != _shapes(two):
            raise EditError(
                f"the input {own!r} of {first!r} is {_shapes(one)} and {other!r} of {name!r} {_shapes(two)}, "
                f"so they cannot both be {new!r}: give one another name, "
                f"inputs={{'{own}_{first}': {{{first!r}: {own!r}}}}}"
            )


def _input(graph: Graph, name: str) -> Vertex:
    return next(vertex for vertex in graph.inputs if vertex.name == name)


def _shapes(vertex: Vertex) -> str:
    """The shapes and types of an input."""
    found = [
        f"{at.lstrip('.') or ''}{tuple(stub.shape)} of {str(stub.dtype).removeprefix('torch.')}"
        for stub, _, at in pairs(vertex.output, vertex.output)
        if isinstance(stub, Stub)
    ]
    return ", ".join(found)


def _examples(models: Mapping[str, Graph], taken: Mapping[str, Mapping[str, str]]) -> Iterator[Any]:
    """An example of each new input."""
    for users in taken.values():
        name, own = next(iter(users.items()))
        yield placed(models[name], copy_tensors(models[name].example))[own]


def _output(
    root: nn.Module, made: fx.Graph, models: Mapping[str, Graph], results: dict[str, Any], outputs: Any
) -> Any:
    """The output of the whole."""
    if outputs == "dict":
        return results
    if outputs == "tuple":
        return tuple(results.values())
    if outputs == "mean":
        _check_mean(models)
        root.add_module(_RESULT, _Combined(_mean))
    elif callable(outputs):
        root.add_module(_RESULT, _Combined(outputs))
    else:
        raise EditError(f"outputs={outputs!r}: give 'dict', 'tuple', 'mean' or a function of a dict")
    return made.call_module(_RESULT, (results,))


def _check_mean(models: Mapping[str, Graph]) -> None:
    shapes: dict[str, Any] = {}
    for name, graph in models.items():
        if not isinstance(graph.output, Stub):
            raise EditError(
                f"{name!r} returns a {type(graph.output).__name__}, of which there is no mean: give outputs= "
                "a function of the dict of outputs"
            )
        shapes[name] = tuple(graph.output.shape)
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape != shapes[first]:
            raise EditError(
                f"{first!r} returns a tensor of shape {shapes[first]} and {name!r} one of {shape}: no mean"
            )


class _Combined(nn.Module):
    """Layer that applies a function to the outputs of several networks."""

    def __init__(self, function: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, outputs: dict[str, Any]) -> Any:
        """The result for these outputs."""
        return self._function(outputs)


def _mean(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
    first, *others = outputs.values()
    return sum(others, first) / len(outputs)
