"""Weights in effect: those that layers compute with, where masks, norms or parametrizations make them.

A parameter then says little by itself: the entries that `torch.nn.utils.prune` masks do nothing, and the
length of the `v` of a weight norm does not matter. What is made of parameters and buffers alone on the way to
a layer is the weight; its neurons are valued by it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.graph import Vertex
from naivegraph.ir.pytree import map_leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of
from naivegraph.operators.movement import MoveKind
from naivegraph.widths import Widths

__all__ = ["Constants", "EffectiveWeight", "effective_weights", "replaced_atoms", "state_values"]


@dataclasses.dataclass(frozen=True)
class EffectiveWeight:
    """A tensor that a layer computes with, made of parameters and buffers alone.

    Attributes:
        name: The vertex that computes with it, for messages.
        values: Its values.
        stub: It, in the graph.
        axes: The resolved axis of each of its dimensions.
        replaced: The names of the parameters it is made of that nothing else computes with.
    """

    name: str
    values: torch.Tensor
    stub: Stub
    axes: tuple[Axis, ...]
    replaced: frozenset[str]

    def atoms(self) -> set[Atom]:
        """The widths along it."""
        return {atom for axis in self.axes for atom in axis.atoms()}


def effective_weights(widths: Widths) -> list[EffectiveWeight]:
    """The weights in effect of a network, but for parameters that layers compute with as they are.

    Example:
        >>> import torch, naivegraph as ng
        >>> from torch.nn.utils import prune
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 1))
        >>> _ = prune.ln_structured(net[0], "weight", amount=0.5, n=2, dim=0)
        >>> (found,) = effective_weights(ng.capture(net, torch.ones(1, 2)).widths)
        >>> found.name, found.replaced, int((found.values.abs().sum(0) == 0).sum())
        ('0', frozenset({'0.weight_orig'}), 2)
    """
    if not _makes_weights(widths.graph):
        return []
    search = _Search(widths.graph)
    search.follow()
    if not search.used:
        return []
    values: dict[int, torch.Tensor] = {}
    relation, out = widths.relation, []
    numbers = {name: widths.graph.state[name].id for name in widths.parameters()}
    summed = {stub.id for each in relation.summed for stub, _ in each.factors}
    for stub, vertex in search.used.values():
        if vertex.kind != "layer" and stub.id not in summed:
            continue
        axes = tuple(relation.algebra.resolve(axis) for axis in relation.of(stub))
        if all(axis.fixed for axis in axes):
            continue
        made_of = {name for name, i in numbers.items() if i in search.made[stub.id].states}
        if not made_of:
            continue
        names = frozenset(name for name in made_of if numbers[name] not in search.bare_uses)
        out.append(EffectiveWeight(vertex.name, search.value(stub, values), stub, axes, names))
    return out


def _makes_weights(graph: Recording) -> bool:
    """Tell whether anything is computed from parameters and buffers alone, not only moved."""
    known = {stub.id for stub in graph.state.values()}
    for vertex in graph.vertices:
        for operation in vertex.operations:
            if not operation.operands or not known.issuperset([stub.id for stub in operation.operands]):
                continue
            movement = movement_of(operation) if len(operation.operands) == 1 else None
            if movement is None or movement.kind in (MoveKind.PLACED, MoveKind.COMPUTED):
                return True
            known.update(out.id for out in operation.outputs if out is not None)
    return False


@dataclasses.dataclass(frozen=True)
class _Made:
    """A tensor made of parameters and buffers alone.

    Attributes:
        operation: What makes it; None for a parameter or buffer.
        states: The numbers of those it is made of.
        computed: Whether more was done than to move elements of one of them.
        layers: The layers inside which that was done.
    """

    operation: Operation | None
    states: frozenset[int]
    computed: bool = False
    layers: frozenset[str] = frozenset()


class _Search:
    """The tensors of a run made of parameters and buffers alone, and the vertices that compute with them.

    Attributes:
        made: They, by number.
        used: Those of them that are computed, with a vertex in which they meet other tensors.
        bare_uses: Numbers of the parameters and buffers that meet other tensors as they are.
    """

    def __init__(self, graph: Recording) -> None:
        self.graph = graph
        self.made = {stub.id: _Made(None, frozenset([stub.id])) for stub in graph.state.values()}
        self.used: dict[int, tuple[Stub, Vertex]] = {}
        self.bare_uses: set[int] = set()
        self._changed: set[int] = set()  # in place, by what is no weight; used before as they had been made

    def follow(self) -> None:
        """Go through the operators in order."""
        for vertex in self.graph.vertices:
            for operation in vertex.operations:
                operands = operation.operands
                known = [self.as_made(stub) for stub in operands]
                if not operands or not any(known):
                    continue
                if all(known) and not _changes(operation):
                    self._enter(vertex, operation, [each for each in known if each is not None])
                else:
                    self._meet(vertex, operation, operands)

    def as_made(self, stub: Stub) -> _Made | None:
        """The facts about a tensor made of parameters and buffers alone; None for others."""
        return None if stub.id in self._changed else self.made.get(stub.id)

    def _enter(self, vertex: Vertex, operation: Operation, sources: list[_Made]) -> None:
        movement = movement_of(operation) if len(sources) == 1 else None
        moved = movement is not None and movement.kind not in (MoveKind.PLACED, MoveKind.COMPUTED)
        layers = frozenset().union(*(each.layers for each in sources))
        computed = any(each.computed for each in sources)
        if not moved:
            computed, layers = True, layers | ({vertex.name} if vertex.kind == "layer" else set())
        made = _Made(operation, frozenset().union(*(each.states for each in sources)), computed, layers)
        self.made.update((out.id, made) for out in operation.outputs if out is not None)

    def _meet(self, vertex: Vertex, operation: Operation, operands: Iterable[Stub]) -> None:
        for stub in operands:
            found = self.as_made(stub)
            if found is None:
                continue
            if not found.computed:
                self.bare_uses.update(found.states)
            elif found.layers <= {vertex.name}:
                self.used.setdefault(stub.id, (stub, vertex))
            else:  # the result of a layer for a constant, such as learnt queries: no weight
                self.bare_uses.update(found.states)
        for out in operation.outputs if _changes(operation) else ():
            if out is not None:
                self._changed.add(out.id)

    def value(self, stub: Stub, values: dict[int, torch.Tensor]) -> torch.Tensor:
        """The present values of a tensor, worked out once."""
        if stub.id in values:
            return values[stub.id]
        operation = self.made[stub.id].operation
        if operation is None:
            name = next(name for name, state in self.graph.state.items() if state.id == stub.id)
            values[stub.id] = self.graph.tensor(name).detach()
            return values[stub.id]

        def present(leaf: Any) -> Any:
            """Return the values of a tensor, and any other leaf as it is."""
            return self.value(leaf, values) if isinstance(leaf, Stub) else leaf

        args, kwargs = map_leaves((operation.args, operation.kwargs), present)
        with torch.no_grad():
            result = operation.func(*args, **kwargs)
        results = result if isinstance(result, (tuple, list)) else [result]
        found = zip(operation.outputs, results, strict=False)
        values.update((out.id, each) for out, each in found if out is not None)
        return values[stub.id]


def _changes(operation: Operation) -> bool:
    """Tell whether an operator writes into a tensor, or gives another result each time."""
    func = operation.func
    return func._schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags


def replaced_atoms(found: list[EffectiveWeight]) -> Mapping[str, set[Atom]]:
    """The widths along each parameter for which weights in effect stand instead."""
    out: dict[str, set[Atom]] = {}
    for weight in found:
        for name in weight.replaced:
            out.setdefault(name, set()).update(weight.atoms())
    return out


class Constants:
    """The tensors of a run that are made of parameters and buffers alone."""

    def __init__(self, graph: Recording) -> None:
        self._search = _Search(graph)
        self._search.follow()
        self._values: dict[int, torch.Tensor] = {}

    def value(self, stub: Stub) -> torch.Tensor | None:
        """The present values of a tensor; None if it depends on inputs."""
        return None if self._search.as_made(stub) is None else self._search.value(stub, self._values)

    def gates(self, stub: Stub) -> frozenset[str]:
        """The names of what a tensor is computed from, and that nothing computes with as it is."""
        made, search = self._search.as_made(stub), self._search
        if made is None or not made.computed:
            return frozenset()
        states = made.states - search.bare_uses
        return frozenset(name for name, state in search.graph.state.items() if state.id in states)


def state_values(graph: Recording) -> Callable[[Stub], torch.Tensor]:
    """A function that gives the present values of tensors made of parameters and buffers alone."""
    search, values = _Search(graph), dict[int, torch.Tensor]()
    search.follow()
    return lambda stub: search.value(stub, values)
