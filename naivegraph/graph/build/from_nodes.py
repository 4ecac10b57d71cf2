"""A network written by hand, recorded: from nodes to a module to a recording."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import nn

from naivegraph.errors import CaptureError, NaivegraphError
from naivegraph.graph.build.example_inputs import find_examples
from naivegraph.graph.build.nodes import Node, nodes_in
from naivegraph.graph.run.liveness import tensor_numbers
from naivegraph.graph.torch_utils.source_lines import line_text
from naivegraph.graph.verify.train_mode import follow_training
from naivegraph.graph.verify.verify import record_verified
from naivegraph.ir.custom_rule import Call, CustomFunction
from naivegraph.ir.pytree import ValueRef, leaves, map_leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.step_module import BuiltModule, Step
from naivegraph.ir.vertex import Vertex

__all__ = ["build"]


def _are_nodes(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, Node) for each in value)


def build(inputs: Node | Sequence[Node], outputs: Any) -> Recording:
    """The recording of the module that these nodes describe.

    Args:
        inputs: The network's inputs, in order.
        outputs: Its output: one node (or a list of one), several, or a dict of them.

    Raises:
        NaivegraphError: The nodes are no network; the message says why.
        CaptureError: It does not run, or a function in it is not made of torch functions and has no rule.
    """
    sources = [inputs] if isinstance(inputs, Node) else list(inputs) if _are_nodes(inputs) else []
    if not sources:
        raise NaivegraphError(f"the inputs of a network are nodes made by ng.input_node, not {inputs!r}")
    if isinstance(outputs, (list, tuple)):
        outputs = outputs[0] if len(outputs) == 1 else tuple(outputs)
    nodes = _reachable(sources, outputs)
    names = _names(sources, nodes)
    modules, paths = _modules(nodes, names)
    slots = {id(node): ValueRef(index) for index, node in enumerate([*sources, *nodes])}

    def slot(leaf: Any) -> Any:
        """Return the reference to a node's value, and any other leaf as it is."""
        return slots[id(leaf)] if isinstance(leaf, Node) else leaf

    steps = [Step(paths[id(n)], map_leaves(n.args, slot), map_leaves(n.kwargs, slot)) for n in nodes]
    module = BuiltModule(
        tuple(names[id(n)] for n in sources), modules, tuple(steps), map_leaves(outputs, slot)
    )
    examples = find_examples(module, sources)
    recorded = record_verified(module, examples, {}, True)
    follow_training(recorded)
    _check_torch(recorded, nodes, names, paths)
    _name_vertices(recorded, nodes, names, paths)
    if recorded.checks.get("another batch", "").startswith("differs"):
        raise CaptureError(
            f"with another batch the network is not what was recorded ({recorded.checks['another batch']}): "
            "one of its functions is not made of torch functions; call it with a rule"
        )
    return recorded


def _reachable(sources: list[Node], outputs: Any) -> list[Node]:
    """The nodes that the outputs depend on, without inputs, in the order they were written."""
    wanted = nodes_in(outputs)
    if not wanted or len(wanted) != sum(1 for _ in leaves(outputs)):
        raise NaivegraphError("the outputs of a graph are nodes, and at least one")
    for node in sources:
        if not isinstance(node, Node) or node.target is not None:
            raise NaivegraphError(f"the inputs of a graph are made by input, not {node!r}")
    found: dict[int, Node] = {}
    while wanted:
        node = wanted.pop()
        if id(node) in found:
            continue
        found[id(node)] = node
        wanted.extend(node.inputs)
    unknown = [n for n in found.values() if n.target is None and all(n is not s for s in sources)]
    if unknown:
        raise NaivegraphError(f"the outputs need the input {unknown[0].name!r}, which is not given")
    return sorted((n for n in found.values() if n.target is not None), key=lambda node: node.order)


def _names(sources: list[Node], nodes: list[Node]) -> dict[int, str]:
    """A name for every node: the user's, or one made unique."""
    taken: set[str] = set()
    names: dict[int, str] = {}
    for node in [*sources, *nodes]:
        if node.named:
            if node.base in taken:
                raise NaivegraphError(f"two nodes are named {node.base!r}")
            taken.add(node.base)
            names[id(node)] = node.base
    for node in nodes:
        if not node.named:
            name, count = node.base, 0
            while name in taken or hasattr(nn.Module, name):
                count += 1
                name = f"{node.base}_{count}"
            taken.add(name)
            names[id(node)] = name
    return names


def _modules(nodes: list[Node], names: dict[int, str]) -> tuple[dict[str, nn.Module], dict[int, str]]:
    """The modules to register, by path, and the path that each node calls."""
    modules: dict[str, nn.Module] = {}
    paths: dict[int, str] = {}
    first: dict[int, str] = {}  # by id() of the layer
    for node in nodes:
        name = names[id(node)]
        target: Any = node.target
        if isinstance(target, nn.Module) and node.rule is None:
            paths[id(node)] = first.setdefault(id(target), name)
            modules.setdefault(paths[id(node)], target)
        else:
            paths[id(node)] = name
            modules[name] = Call(target) if node.rule is None else CustomFunction(target, node.rule)
    return modules, paths


def _name_vertices(
    recorded: Recording, nodes: list[Node], names: dict[int, str], paths: dict[int, str]
) -> None:
    """Give vertices the names and lines of their nodes; of a function made of several, lines alone."""
    for node in nodes:
        path = paths[id(node)]
        module = recorded.module.get_submodule(path)
        same = [n for n in nodes if paths[id(n)] == path]
        mine = [v for v in recorded.vertices if v.kind != "input" and _within(v.path, path)]
        if len(mine) % len(same):
            continue  # a module that does not do the same in each call keeps the recorder's names
        count = len(mine) // len(same)
        position = same.index(node)
        mine = mine[position * count : (position + 1) * count]
        for vertex in mine:
            vertex.where = node.where
        if count == 1:
            mine[0].name = names[id(node)]
        if type(module) is CustomFunction:
            _check_rule(module, mine[0])


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}.")


def _check_torch(
    recorded: Recording, nodes: list[Node], names: dict[int, str], paths: dict[int, str]
) -> None:
    """Refuse a function without a rule whose result does not depend on its arguments by torch functions."""
    reached = _reached(recorded)
    for node in nodes:
        path = paths[id(node)]
        # taking a part of what a layer returned (a tuple) calls nothing
        if type(recorded.module.get_submodule(path)) is not Call or node.target is operator.getitem:
            continue
        inside = [v for v in recorded.vertices if v.kind != "input" and _within(v.path, path)]
        if not any(id(v) in reached and _used(v) - _made(inside) for v in inside):
            place = f" ({line_text(node.where)})" if node.where else ""
            raise CaptureError(
                f"the result of {names[id(node)]!r}{place} was not made by torch functions, so nothing tells "
                'how its sizes hang together: call it with rule="same", "stack", "absorb", "fixed" or a Rule'
            )


def _reached(recorded: Recording) -> set[int]:
    """The vertices that the output depends on, by `id`."""
    needed = tensor_numbers(recorded.output)
    reached: set[int] = set()
    for vertex in reversed(recorded.vertices):
        if tensor_numbers(vertex.output) & needed:
            reached.add(id(vertex))
            needed |= _used(vertex)
    return reached


def _used(vertex: Vertex) -> set[int]:
    return tensor_numbers((vertex.args, vertex.kwargs))


def _made(vertices: list[Vertex]) -> set[int]:
    return set().union(*(tensor_numbers(vertex.output) for vertex in vertices))


def _check_rule(module: CustomFunction, vertex: Vertex) -> None:
    """Refuse a rule that cannot hold for the tensors of its vertex."""
    inputs, outputs = (
        [stub.shape for stub in stubs_in(value)] for value in ((vertex.args, vertex.kwargs), vertex.output)
    )
    reason = module.rule.misfit(inputs, outputs)
    if reason:
        raise CaptureError(f"the rule {module.rule} does not hold for {vertex.name!r}: {reason}")
