"""Nodes, of which a network is written by hand: inputs, and layers and functions called on nodes.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from naivegraph.network import Graph
    >>> x = input_node("in", 3)
    >>> start = layer(nn.Linear(3, 6), x, name="start")
    >>> half = start.then(nn.Linear(6, 2), name="split")
    >>> graph = Graph([x], [start + concat(2 * half, half, half, name="joined")])
    >>> [vertex.name for vertex in graph]
    ['in', 'start', 'split', 'mul', 'joined', 'add']
    >>> graph(torch.ones(5, 3)).shape
    torch.Size([5, 6])
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.errors import NaivegraphError
from naivegraph.graph.torch_utils.source_lines import user_line
from naivegraph.graph.torch_utils.torch_functions import function_name
from naivegraph.ir.custom_rule import Rule, rule_of
from naivegraph.ir.pytree import leaf_class, leaves, map_leaves
from naivegraph.ir.values import SourceLine

__all__ = ["Node", "call", "concat", "input_node", "layer", "nodes_in"]

_order = itertools.count()


@leaf_class
@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Node:
    """An input, layer or function of a network being written; `Graph(inputs, outputs)` makes the network.

    Attributes:
        base: The name asked for; made unique in the graph unless the user chose it.
        named: Whether the user chose the name.
        target: The layer or function called; None for an input.
        rule: The rule of a function's sizes, if it has one.
        args: Arguments with nodes among them.
        kwargs: Keyword arguments, likewise.
        size: An input's number of neurons, where known.
        example: An input's example, where there is one.
        where: The line that wrote it.
        order: Serial number, higher for later nodes.
    """

    base: str
    named: bool
    target: nn.Module | Callable[..., Any] | None
    rule: Rule | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    size: int | None = None
    example: torch.Tensor | None = None
    where: SourceLine | None = dataclasses.field(default_factory=user_line)
    order: int = dataclasses.field(default_factory=lambda: next(_order))

    @property
    def name(self) -> str:
        """The user's name, or the one asked for."""
        return self.base

    @property
    def inputs(self) -> list[Node]:
        """The nodes among the arguments, in order."""
        return nodes_in((self.args, self.kwargs))

    def then(self, target: nn.Module | Callable[..., Any], *, name: str | None = None) -> Node:
        """Call a layer or a torch function on this node alone."""
        return (
            layer(target, self, name=name) if isinstance(target, nn.Module) else call(target, self, name=name)
        )

    def __repr__(self) -> str:
        if self.target is None:
            return f"input {self.base!r}" + (f" of size {self.size}" if self.size is not None else "")
        what = (
            type(self.target).__name__ if isinstance(self.target, nn.Module) else function_name(self.target)
        )
        return f"{self.base!r}: {what}({', '.join(repr(node.base) for node in self.inputs)})"

    def __iter__(self) -> Iterator[Node]:
        raise TypeError(f"node {self.base!r} has no known length: take its parts one by one, as node[0]")

    def __getitem__(self, key: Any) -> Node:
        return call(operator.getitem, self, key, name=None)

    def __add__(self, other: Any) -> Node:
        return call(torch.add, self, other)

    def __radd__(self, other: Any) -> Node:
        return call(torch.add, self, other)

    def __sub__(self, other: Any) -> Node:
        return call(torch.sub, self, other)

    def __rsub__(self, other: Any) -> Node:
        return call(operator.sub, other, self)

    def __mul__(self, other: Any) -> Node:
        return call(torch.mul, self, other)

    def __rmul__(self, other: Any) -> Node:
        return call(torch.mul, self, other)

    def __truediv__(self, other: Any) -> Node:
        return call(torch.div, self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return call(operator.truediv, other, self)

    def __matmul__(self, other: Any) -> Node:
        return call(torch.matmul, self, other)

    def __neg__(self) -> Node:
        return call(torch.neg, self)


def input_node(
    name: str,
    size: int | None = None,
    *,
    shape: Sequence[int] | None = None,
    example: torch.Tensor | None = None,
) -> Node:
    """An input of a network written by hand.

    Args:
        name: Its name.
        size: Its number of neurons (channels, features). With neither `shape` nor `example` the graph is
            tried on `(2, size)`, `(2, size, 16, 16)`, `(2, size, 16)`... until every layer runs.
        shape: The shape of an example, batch dimension included.
        example: An example.

    Raises:
        NaivegraphError: Nothing says what an example looks like, or two things differ.
    """
    _checked(name)
    if shape is not None and example is not None:
        raise NaivegraphError(f"input {name!r}: give a shape or an example, not both")
    if shape is None and example is None and size is None:
        raise NaivegraphError(f"input {name!r} needs a size, a shape or an example")
    if shape is not None:
        if size is not None and size not in shape:
            raise NaivegraphError(f"input {name!r} has size {size}, which is not in its shape {tuple(shape)}")
        example = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0))
    if size is None and example is not None and example.is_floating_point() and example.dim() > 1:
        size = int(example.shape[1])
    return Node(name, True, None, size=size, example=example)


def layer(module: nn.Module, *inputs: Any, name: str | None = None, **kwargs: Any) -> Node:
    """Call a layer (any module) on nodes; the same one may be called several times.

    Args:
        module: The layer.
        inputs: Its arguments: nodes, lists of nodes, constants.
        name: Its name; the lower-case class name by default, made unique.
        kwargs: Keyword arguments of its forward.

    Raises:
        NaivegraphError: `module` is no module, or there is no node among the arguments.
    """
    if not isinstance(module, nn.Module):
        raise NaivegraphError(
            f"layer takes a torch.nn.Module, not {type(module).__name__}; for a function: call"
        )
    return _node(module, type(module).__name__.lower(), name, None, inputs, kwargs)


def call(
    function: Callable[..., Any],
    *inputs: Any,
    rule: str | Rule | None = None,
    name: str | None = None,
    **kwargs: Any,
) -> Node:
    """Call a function on nodes.

    Args:
        function: A torch function, or one made of torch functions: its sizes are read from those. Any other
            needs a `rule`.
        inputs: Its arguments: nodes, lists of nodes, constants.
        rule: "same": all tensors taken and returned have the same neurons along dimension 1. "stack": the
            output is the concatenation of the inputs. "absorb": inputs of any size, outputs of the size they
            have. "fixed": no size may change. Or a `Rule` (`Same(dim=2)`, or one of your own), or the name
            it is registered by (`naivegraph.extend.register_rule`).
        name: Its name; the function's by default, made unique.
        kwargs: Keyword arguments of the function.

    Raises:
        NaivegraphError: The rule is not one of these, or there is no node among the arguments.
    """
    if not callable(function):
        raise NaivegraphError(f"call takes a function, not {type(function).__name__}")
    base = type(function).__name__ if isinstance(function, nn.Module) else function_name(function)
    declared = None if rule is None else rule_of(rule)
    if declared is None and isinstance(function, nn.Module):
        return layer(function, *inputs, name=name, **kwargs)
    base = "".join(letter if letter.isalnum() else "_" for letter in base.lower()).strip("_")
    return _node(function, base or "function", name, declared, inputs, kwargs)


def concat(*nodes: Node, dim: int = 1, name: str | None = None) -> Node:
    """Concatenate nodes along `dim`."""
    return call(torch.cat, list(nodes), dim=dim, name=name)


def _node(
    target: Any, base: str, name: str | None, rule: Rule | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Node:
    what = base if name is None else name
    for leaf in leaves((args, kwargs)):
        if isinstance(leaf, nn.Parameter):
            raise NaivegraphError(
                f"{what!r} takes a parameter of no module, which nothing would train: put it in a module"
            )
    # lists of the caller are copied, so that changing them later changes nothing here
    args, kwargs = map_leaves((args, kwargs), lambda leaf: leaf)
    if not nodes_in((args, kwargs)):
        raise NaivegraphError(
            f"{what!r} is called on no node, but on ({', '.join(map(repr, args))}): start from "
            "ng.input_node(name, size), which makes one"
        )
    return Node(base if name is None else _checked(name), name is not None, target, rule, args, kwargs)


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise NaivegraphError(
            f"{name!r} cannot be the name of a node, which is a string; a request on the sizes of a vertex's "
            "inputs is ng.inputs(-2, None)"
        )
    if not name or not all(name.split(".")):
        raise NaivegraphError(f"{name!r} cannot be the name of a node")
    return name


def nodes_in(value: Any) -> list[Node]:
    """The nodes in a pytree, in order."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Node)]
