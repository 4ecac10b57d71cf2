"""Causal interventions at any vertex, for the time of a block, on a graph and on the user's own network."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.structure.vertices import vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.run.interventions import Intervention, Interventions, ValueMemory, intervened, memory_of
from naivegraph.graph.torch_utils.compiled_code import forget_compiled_code
from naivegraph.graph.verify.train_mode import follow_training
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import TRAIN_MODE
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.surgery.ablation import intervention_at
from naivegraph.undo import UndoLog

__all__ = ["intervene"]


@graph_verb
@contextlib.contextmanager
def intervene(model: Graph, interventions: Mapping[str | Vertex, Any]) -> Iterator[Graph]:
    """Replace values at vertices in a block, in all runs of the graph and of its network.

    The network itself is called as ever, `generate` and the like included. Where all vertices are calls of
    its modules these replace what they return. Where one is a function or an input, the graph runs in place
    of the network's forward, with the arguments that it was captured with. Values that vertices take are
    never changed: a layer in place that follows changes the new value alone. Blocks may be nested; then the
    inner one sees what the outer one left. In the end, after an exception, too, all is as before.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        interventions: By vertex (or its name): a tensor, which is its value from then on; a function of its
            value, which may change that in place, to the value; `ng.surgery.replace`, `ng.surgery.add` or
            `ng.surgery.ablate`. A value keeps its structure, shape and type.

    Returns:
        A context, which gives the graph.

    Raises:
        EditError: There is no such vertex, it gives no tensor, or what is to be done there cannot be; in a
            run: what a function gave is of another shape or type.
        NaivegraphError: In a run: the network does not call the vertex in its present mode.

    Example:
        >>> import torch, naivegraph as ng
        >>> layers = torch.nn.Linear(4, 3), torch.nn.ReLU(inplace=True), torch.nn.Linear(3, 2)
        >>> net, (x, y) = torch.nn.Sequential(*layers), torch.randn(2, 6, 4)
        >>> graph = ng.capture(net, x)
        >>> other = graph.run(y, ["1"])["1"]
        >>> with ng.surgery.intervene(graph, {"1": other}):
        ...     patched = net(x)
        >>> torch.equal(patched, net(y))
        True
        >>> with ng.surgery.intervene(graph, {"0": ng.surgery.ablate([0, 2])}):
        ...     graph.run(x, ["0"])["0"].abs().amax(0).gt(0).tolist()
        [False, True, False]
    """
    if not isinstance(interventions, Mapping) or not interventions:
        raise EditError("surgery.intervene takes a dict of interventions by the names of vertices")
    chosen = {vertex_of(model, key): given for key, given in interventions.items()}
    some: dict[str, Intervention] = {}
    for vertex, given in chosen.items():
        if not stubs_in(vertex.output):
            raise EditError(f"{vertex.name!r} gives no tensor, only changes one: intervene at a user of that")
        some[vertex.name] = intervention_at(model, vertex, given)
    if model.module.training and TRAIN_MODE not in model.checks:
        follow_training(model)
    undo = UndoLog()
    try:
        undo.push(functools.partial(model.interventions.remove, some))
        model.interventions.add(some)
        if not model.rewired:  # else its own forward refuses to run
            _place(model, some, undo)
        forget_compiled_code()
        yield model
    finally:
        undo.undo()
        forget_compiled_code()


def _place(graph: Graph, some: Mapping[str, Intervention], undo: UndoLog) -> None:
    """Let the network's own forward see the interventions."""
    module = graph.module
    if all(_is_call(graph, graph[name]) for name in some):
        hooks = _Hooks(graph, some)
        for target in {id(graph[name].target): graph[name].target for name in some}.values():
            hooks.place(target, undo)
        hooks.place_root(graph.module, undo)
        return
    forward = module.forward

    @functools.wraps(forward)
    def run_graph(*args: Any, **kwargs: Any) -> Any:
        """Run the graph in place of the forward, unless that is a layer which the graph calls."""
        return forward(*args, **kwargs) if graph.interventions.runs else graph(*args, **kwargs)

    undo.keep_entry(vars(module), "forward")
    vars(module)["forward"] = run_graph


def _is_call(graph: Graph, vertex: Vertex) -> bool:
    """Tell whether a vertex is a call of a module of the network, whose result a hook can replace."""
    if vertex.kind != "layer" or not any(module is vertex.target for module in graph.module.modules()):
        return False
    memory = memory_of(graph, vertex)
    return memory.in_place is None or _argument(vertex, memory) is not None


def _argument(vertex: Vertex, memory: ValueMemory) -> int | str | None:
    """The place among the arguments of the tensor that a vertex changes in place."""
    given: dict[int | str, Any] = dict(enumerate(vertex.args))
    given.update(vertex.kwargs)
    for key, value in given.items():
        if isinstance(value, Stub) and value.id == memory.in_place:
            return key
    return None


class _Hooks:
    """Hooks on modules of a network that replace what their calls return."""

    def __init__(self, graph: Graph, some: Mapping[str, Intervention]) -> None:
        self._graph, self._some = graph, some
        self._interventions: Interventions = graph.interventions
        self._counts: dict[int, int] = {}
        self._calls: Mapping[int, Sequence[tuple[Vertex, ValueMemory]]] = {}
        self._own: dict[int, torch.Tensor] = {}  # by `id` of the module, what its call changes in place
        self._begin()

    def _begin(self, *_: Any) -> None:
        """Note the calls of each module in the present mode, before the first of them."""
        now = self._graph.present
        missing = [name for name in self._some if name not in now]
        if missing:
            self._interventions.by_vertex(now)  # which raises the error
        calls: dict[int, list[tuple[Vertex, ValueMemory]]] = {}
        targets = {id(now[name].target) for name in self._some}
        for vertex in now.vertices:
            if id(vertex.target) in targets:
                calls.setdefault(id(vertex.target), []).append((vertex, memory_of(now, vertex)))
        self._calls, self._counts, self._own = calls, {}, {}

    def place_root(self, module: nn.Module, undo: UndoLog) -> None:
        """Begin to count with each run of the network."""
        undo.push(module.register_forward_pre_hook(self._begin, prepend=True).remove)

    def place(self, module: Any, undo: UndoLog) -> None:
        """Replace what a module's calls return."""
        undo.push(module.register_forward_pre_hook(self._before, with_kwargs=True).remove)
        undo.push(module.register_forward_hook(self._after).remove)

    def _call(self, module: nn.Module) -> tuple[Vertex, ValueMemory] | None:
        """The vertex that the present call of a module is; None if nothing is done there."""
        if self._interventions.runs:
            return None
        calls = self._calls[id(module)]
        count = 0 if len(calls) == 1 else self._counts.get(id(module), 0)
        found = calls[count] if count < len(calls) else None
        return found if found is not None and found[0].name in self._some else None

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let a layer in place work on a copy, so that the memory is written once."""
        found = self._call(module)
        place = None if found is None else _argument(*found)
        if place is None:
            return None
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update(kwargs)
        self._own[id(module)] = given[place]
        given[place] = given[place].clone()
        return tuple(given[i] for i in range(len(args))), {name: given[name] for name in kwargs}

    def _after(self, module: nn.Module, args: tuple[Any, ...], result: Any) -> Any:
        """Replace what a module returns."""
        found = self._call(module)
        if not self._interventions.runs:
            self._counts[id(module)] = self._counts.get(id(module), 0) + 1
        if found is None:
            return None
        vertex, memory = found
        value = intervened(vertex, result, [self._some[vertex.name]])
        own = self._own.pop(id(module), result)
        writes = memory.seen and isinstance(own, torch.Tensor) and own.shape == value.shape
        return own.copy_(value) if writes else value
