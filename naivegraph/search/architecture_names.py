"""Names of architectures: equal for equal networks, whatever order they were written in.

A network is taken as its ATen operators, so that a layer and the function it stands for have one name. From
the outputs backwards each operator is numbered when it is first met, along its arguments in order: of a graph
whose arguments are ordered this is a canonical form, and needs no test of isomorphism. Arguments of a sum or
product have no order. They are sorted by what they compute and by what is computed from them; where these
tie, each order is tried, and the least text is taken.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from naivegraph.graph.run.summary import target_name
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.values import Operation, Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph

__all__ = ["structure_name"]

_COMMUTATIVE = frozenset(
    f"aten::{name}"
    for name in ("add.Tensor", "mul.Tensor", "maximum.", "minimum.", "logical_and.", "logical_or.")
)
# Operators that return what they were given.
_PASSING = frozenset(
    f"aten::{name}" for name in ("alias.", "detach.", "lift_fresh.", "clone.", "contiguous.")
)
_MOST_ORDERS = 64


def structure_name(graph: Graph) -> str:
    """The name of a network's architecture: 32 hexadecimal digits.

    It covers operators, their constants, sizes of parameters and the wiring, tied parameters included; not
    names of vertices, values of parameters, nor the order in which vertices were made. In-place operators
    have the name of those that are not. Layers that do nothing in eval mode, such as dropout, are named by
    class and settings. The batch of the example can show in constants of views: compare graphs of one batch
    size.

    Args:
        graph: A graph, captured or written by hand.

    Example:
        >>> import torch
        >>> import naivegraph as ng
        >>> x = ng.input_node("x", 4)
        >>> a, b = (ng.layer(torch.nn.Linear(4, size), x, name=f"to{size}") for size in (3, 1))
        >>> names = [structure_name(ng.Graph([x], [y])) for y in (a - b, b - a, a + b, b + a)]
        >>> names[0] == names[1], names[2] == names[3]
        (False, True)
    """
    network = _Operators(graph)
    texts = (network.text(orders) for orders in network.orders())
    return hashlib.blake2b(min(texts).encode(), digest_size=16).hexdigest()


@dataclasses.dataclass(slots=True, eq=False)
class _Call:
    """One operator call, parameter or input.

    Attributes:
        label: All that is known of it beside its arguments.
        taken: The calls whose results it takes, with the index of the result.
        free: Whether the order of its arguments means nothing.
        below: A digest of what it computes.
        above: A digest of what is computed from it.
    """

    label: str
    taken: list[tuple[_Call, int]]
    free: bool = False
    below: str = ""
    above: str = ""


class _Operators:
    """All operators that the outputs of a network depend on."""

    def __init__(self, graph: Graph) -> None:
        self._made: dict[int, tuple[_Call, int]] = {}
        for index, vertex in enumerate(graph.inputs):
            for place, stub in enumerate(stubs_in(vertex.output)):
                self._made[stub.id] = (_Call(f"input {index}.{place} {stub.dtype}", []), 0)
        for stub in graph.state.values():
            self._made.setdefault(stub.id, (_Call(f"state {stub.shape} {stub.dtype}", []), 0))
        for vertex in graph.vertices:
            if vertex.kind != "input":
                self._add(vertex)
        self._outputs = [self._source(stub) for stub in stubs_in(graph.output)]
        self._calls = self._reachable()
        self._digest()

    def _source(self, stub: Stub) -> tuple[_Call, int]:
        """The call that made a tensor; a constant of the code is one by its shape."""
        if stub.id not in self._made:
            self._made[stub.id] = (_Call(f"constant {stub.shape} {stub.dtype}", []), 0)
        return self._made[stub.id]

    def _add(self, vertex: Vertex) -> None:
        """Add the calls of a vertex; one that calls nothing is a call by itself."""
        if any(_operator_name(each.func) not in _PASSING for each in vertex.operations):
            for operation in vertex.operations:
                self._operation(operation)
            return
        given = stubs_in((vertex.args, vertex.kwargs))
        taken = [self._source(stub) for stub in given]
        for operation in vertex.operations:
            self._operation(operation)
        made = stubs_in(vertex.output)
        # Taking a part of a tuple calls nothing either, and gives the tensor itself.
        same = {stub.id for stub in made} <= {stub.id for stub in given}
        if not same or isinstance(vertex.target, nn.Module):
            call = _Call(_settings(vertex), taken)
            for place, stub in enumerate(made):
                self._made[stub.id] = (call, place)

    def _operation(self, operation: Operation) -> None:
        name = _operator_name(operation.func)
        arguments = (*operation.args, *operation.kwargs.values())
        stubs = [stub for value in arguments for stub in _tensors(value)]
        if name in _PASSING and stubs:
            for stub in filter(None, operation.outputs):
                self._made[stub.id] = self._source(stubs[0])
            return
        taken = [self._source(stub) for stub in stubs]
        constants = [_constant(value, operation) for value in (*operation.args, operation.kwargs)]
        call = _Call(f"{name} {constants}", taken, name in _COMMUTATIVE and len(taken) == 2)
        for place, output in enumerate(operation.outputs):
            if output is not None:
                self._made[output.id] = (call, place)

    def _reachable(self) -> list[_Call]:
        """The calls that the outputs depend on, each after those it takes."""
        order: list[_Call] = []
        seen: set[int] = set()
        waiting = [(call, False) for call, _ in reversed(self._outputs)]
        while waiting:
            call, done = waiting.pop()
            if done:
                order.append(call)
            elif id(call) not in seen:
                seen.add(id(call))
                waiting.append((call, True))
                waiting.extend((other, False) for other, _ in call.taken)
        return order

    def _digest(self) -> None:
        """Digest what each call computes, and what is computed from it."""
        for call in self._calls:
            taken = [f"{other.below}.{place}" for other, place in call.taken]
            call.below = _hash(call.label, *(sorted(taken) if call.free else taken))
        users: dict[int, list[str]] = {id(call): [] for call in self._calls}
        for number, (call, place) in enumerate(self._outputs):
            users[id(call)].append(f"output {number}.{place}")
        for call in reversed(self._calls):
            call.above = _hash(call.below, *sorted(users[id(call)]))
            for position, (other, place) in enumerate(call.taken):
                users[id(other)].append(f"{call.above} {0 if call.free else position}.{place}")

    def orders(self) -> Iterator[dict[int, bool]]:
        """For each way to order arguments that tie, the calls whose arguments are to be swapped."""
        ties = [call for call in self._calls if call.free and _tied(*call.taken)]
        ways = itertools.product((False, True), repeat=len(ties))
        for way in itertools.islice(ways, _MOST_ORDERS):
            yield {id(call): swapped for call, swapped in zip(ties, way, strict=True)}

    def text(self, swapped: dict[int, bool]) -> str:
        """The calls as they are met from the outputs, each with the numbers of its arguments."""
        numbers: dict[int, int] = {}
        lines: list[str] = []
        for output, _ in self._outputs:
            waiting: list[tuple[_Call, bool]] = [(output, False)]
            while waiting:
                call, done = waiting.pop()
                taken = _sorted(call, swapped.get(id(call), False))
                if done:
                    numbers[id(call)] = len(lines)
                    lines.append(f"{call.label} {[(numbers[id(other)], place) for other, place in taken]}")
                elif id(call) not in numbers:
                    waiting.append((call, True))
                    waiting.extend((o, False) for o, _ in reversed(taken) if id(o) not in numbers)
        ends = [(numbers[id(call)], place) for call, place in self._outputs]
        return "\n".join(lines) + f"\n{ends}"


def _sorted(call: _Call, swapped: bool) -> list[tuple[_Call, int]]:
    """The arguments of a call, in an order that does not depend on how it was written."""
    if not call.free:
        return call.taken
    taken = sorted(call.taken, key=_key)
    return taken[::-1] if swapped else taken


def _key(taken: tuple[_Call, int]) -> tuple[str, str, int]:
    return taken[0].below, taken[0].above, taken[1]


def _tied(one: tuple[_Call, int], two: tuple[_Call, int]) -> bool:
    return one[0] is not two[0] and _key(one) == _key(two)


@functools.cache
def _operator_name(func: torch._ops.OpOverload) -> str:
    """The operator's name with its overload; that of one in place is that of the one that is not."""
    schema = func._schema
    name = schema.name if schema.name.endswith("__") else schema.name.removesuffix("_")
    return f"{name}.{schema.overload_name}"


def _tensors(value: Any) -> list[Stub]:
    """The tensors in an argument of an operator, which is one, a list of them, or something else."""
    if isinstance(value, Stub):
        return [value]
    return [item for item in value if isinstance(item, Stub)] if isinstance(value, (list, tuple)) else []


def _constant(value: Any, operation: Operation) -> str:
    """An argument with tensors as places; the shape of the result without its batch."""
    if isinstance(value, Stub):
        return "*"
    if isinstance(value, (list, tuple)):
        if value and any(stub is not None and stub.shape == tuple(value) for stub in operation.outputs):
            return f"shape {list(value)[1:]}"
        return f"[{', '.join(_constant(item, operation) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_constant(value[key], operation)}' for key in sorted(value))}}}"
    return repr(value)


def _settings(vertex: Vertex) -> str:
    """The name of a layer or function with the plain values it was made or called with."""
    plain = [repr(leaf) for leaf in leaves((vertex.args, vertex.kwargs)) if not isinstance(leaf, Stub)]
    made = vertex.target.extra_repr() if isinstance(vertex.target, nn.Module) else ""
    return f"{target_name(vertex.target)} {made} {plain}"


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
