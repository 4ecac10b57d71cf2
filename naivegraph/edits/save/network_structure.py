"""Structure of a network as data: its calls and layers as JSON and its tensors, whatever edits led to it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from naivegraph.edits.request import validate
from naivegraph.edits.save.argument_codec import argument_from_json, argument_to_json
from naivegraph.edits.save.checked_safetensors import read, write
from naivegraph.edits.save.example_codec import EXAMPLE, from_data, to_data
from naivegraph.edits.save.function_names import (
    function_called,
    is_tensor_attribute,
    is_tensor_method,
    name_of,
)
from naivegraph.edits.save.structure_layers import layers_from_json, layers_to_json, tensors_of
from naivegraph.errors import EditError, LoadError, NaivegraphError
from naivegraph.ir.call_modes import run_in
from naivegraph.ir.exported_module import ExportedModule
from naivegraph.ir.train_eval_module import TrainEvalModule
from naivegraph.network import Graph, capture

__all__ = ["Structure"]

# By path: layers which are none of torch.nn, or functions that make them.
OwnLayers = Mapping[str, "nn.Module | Callable[[], nn.Module]"]

_PATH = re.compile(r"\w+(\.\w+)*")
_WRONG = (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class Structure:
    """A network as data: calls and layers as JSON, beside its tensors.

    To make the network again takes as long as to capture it, whatever edits it went through, and needs no
    code of its class: all calls are those of torch. Layers of classes outside torch.nn have to be given.

    Attributes:
        data: The calls, layers and example, made of what JSON knows.
        tensors: Parameters, buffers and examples by name. They are those of the network, not copies.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> graph = ng.capture(net, torch.ones(1, 4))
        >>> edit = ng.insert(graph, torch.nn.BatchNorm1d, after="0", name="norm")
        >>> again = ng.Structure.of(graph).graph()
        >>> [vertex.name for vertex in again]
        ['input', '0', 'norm', '1', '2']
    """

    data: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    @classmethod
    def of(cls, graph: Graph) -> Structure:
        """The structure of a graph.

        Raises:
            EditError: A vertex, which it names, calls neither a layer nor a function of torch's.
        """
        module = graph.to_module()
        graphs = [module.graph]
        if isinstance(module, TrainEvalModule):
            graphs.append(module.training_graph)
        tensors, facts = tensors_of(module)
        found = dict(tensors)
        called = {path for each in graphs for path in _called(each)}
        try:
            example = to_data(graph.example, found, EXAMPLE)
        except NaivegraphError as error:
            raise EditError(f"the example of the graph cannot be data: {error}") from error
        data = {
            "network": type(graph.module).__name__,
            "calls": [[_node_to_json(node) for node in each.nodes] for each in graphs],
            **layers_to_json(module, called),
            "tensors": facts,
            "example": example,
        }
        return cls(data, found)

    @property
    def own_layers(self) -> dict[str, str]:
        """The layers that have to be given to make the network again: the classes by their paths."""
        return {path: spec["own"] for path, spec in self.data["layers"].items() if "own" in spec}

    def to_json(self) -> str:
        """All but the tensors, as text."""
        return json.dumps(self.data)

    def module(self, layers: OwnLayers | None = None) -> fx.GraphModule:
        """The network, with tensors of its own.

        Args:
            layers: By path: layers which are none of torch.nn (`own_layers`), or functions which make them.

        Raises:
            EditError: A layer is missing or does not fit.
            LoadError: The data is damaged.
        """
        try:
            root = layers_from_json(self.data, self.tensors, layers or {})
            graphs = [_graph_from_json(calls) for calls in self.data["calls"]]
            for path in (path for each in graphs for path in _called(each)):
                root.get_submodule(path)  # nothing but layers is called
            kind = str(self.data["network"])
            made = (
                ExportedModule(root, graphs[0], kind)
                if len(graphs) == 1
                else TrainEvalModule(root, graphs[0], graphs[1], kind)
            )
        except NaivegraphError:
            raise
        except _WRONG as error:
            raise LoadError(f"the structure is damaged ({error})") from error
        for path, module in root.named_modules():
            made.get_submodule(path).training = module.training
        return made

    def graph(self, layers: OwnLayers | None = None, *, verify: bool = False) -> Graph:
        """The network's graph, captured anew on its example; vertices have their names.

        Args:
            layers: As for `module`.
            verify: Whether to compare the graph with the module, as `ng.capture` does.

        Raises:
            EditError: A layer is missing or does not fit.
            LoadError: The data is damaged.
        """
        module = self.module(layers)
        device = next((t.device for t in module.parameters()), torch.device("cpu"))
        try:
            example = dict(from_data(self.data["example"], self.tensors, device))
        except _WRONG as error:
            raise LoadError(f"the example of the structure is damaged ({error})") from error
        inputs = {n.target: example[n.meta["vertex"]] for n in module.graph.nodes if "vertex" in n.meta
                  and n.op == "placeholder"}  # fmt: skip
        graph = capture(module, (), inputs, verify=verify, fake=not verify)
        _name_vertices(graph, module.graph)
        return graph

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a safetensors file, the data as JSON in its header; no pickle."""
        validate.file_path(path)
        tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in self.tensors.items()}
        write(Path(path), {"edits": [], "aliases": {}, "structure": self.data}, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Structure:
        """Read a file that `save` wrote.

        Raises:
            LoadError: It is damaged, or something else.
        """
        header, tensors = read(Path(validate.file_path(path)))
        data = header.get("structure")
        if not isinstance(data, dict):
            raise LoadError(
                f"{path} has edits of a network, not a structure: ng.load it into a fresh network"
            )
        return cls(data, tensors)


def _called(calls: fx.Graph) -> Iterator[str]:
    """The paths of the layers that a graph calls, also in torch modes that it sets around them."""
    for node in calls.nodes:
        if node.op == "call_module":
            yield str(node.target)
        elif node.op == "call_function" and node.target is run_in:
            how = node.args[0] if node.args else None
            if not isinstance(how, fx.Node) or how.op != "get_attr":
                raise ValueError("modes are set around something else than a layer")
            yield str(how.target)


def _node_to_json(node: fx.Node) -> dict[str, Any]:
    out: dict[str, Any] = {"name": node.name, "op": node.op}
    vertex = node.meta.get("vertex")
    try:
        target = name_of(node.target) if callable(node.target) else node.target
        out["target"] = target
        out["args"] = [argument_to_json(value) for value in node.args]
        out["kwargs"] = {key: argument_to_json(value) for key, value in node.kwargs.items()}
    except NaivegraphError as error:
        raise EditError(f"{vertex or node.name!r} cannot be data: {error}") from error
    if vertex is not None:
        out["vertex"] = vertex
    return out


def _graph_from_json(calls: list[dict[str, Any]]) -> fx.Graph:
    made = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for call in calls:
        args = tuple(argument_from_json(value, nodes) for value in call["args"])
        kwargs = {_checked(key): argument_from_json(value, nodes) for key, value in call["kwargs"].items()}
        target = _target(call["op"], call["target"], args)
        node = made.create_node(call["op"], target, args, kwargs, name=_checked(call["name"]))
        if target is run_in:
            node.meta["is_wrapped"] = True  # as `to_module` marks it
        if "vertex" in call:
            node.meta["vertex"] = str(call["vertex"])
        nodes[call["name"]] = node
    made.lint()
    return made


def _target(op: str, target: str, args: tuple[Any, ...]) -> Any:
    """The target of a node; fx writes code with it, so nothing but names may be in it."""
    _checked(target)
    match op:
        case "placeholder" | "output" | "get_attr" | "call_module":
            return target
        case "call_method" if is_tensor_method(target):
            return target
        case "call_function":
            func = function_called(target)
            if func is getattr and not is_tensor_attribute(args[1]):
                raise ValueError(f"{args[1]!r} is no attribute of tensors")
            return func
    raise ValueError(f"{op} {target!r} is no call")


def _checked(name: str) -> str:
    if not _PATH.fullmatch(name):
        raise ValueError(f"{name!r} is no name")
    return name


def _name_vertices(graph: Graph, calls: fx.Graph) -> None:
    """Give vertices the names they had; where the recorder found other calls, they keep its names."""
    names = [n.meta["vertex"] for n in calls.nodes if "vertex" in n.meta and n.op != "placeholder"]
    vertices = [vertex for vertex in graph.vertices if vertex.kind != "input"]
    if len(names) == len(vertices) and len({*names}) == len(names):
        for vertex, name in zip(vertices, names, strict=True):
            vertex.name = name
