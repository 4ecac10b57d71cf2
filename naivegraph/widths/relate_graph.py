"""The widths of a graph from the operators recorded in it: rules relate axes, and equal axes are one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from naivegraph.algebra.axis import Atom, Axis, single
from naivegraph.errors import EditError
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.module_paths import modules_of, parameters_of, tensors_of
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators import relate_operation
from naivegraph.operators.custom import relate_custom
from naivegraph.operators.relation import (
    InputAxis,
    InputTensor,
    Relation,
    returned,
    tensors_in,
)
from naivegraph.widths.relation_cache import Evidence, keep_widths, known_widths
from naivegraph.widths.shared_memory import fix_shared_memory, overlapping
from naivegraph.widths.unreached import fit_unreached
from naivegraph.widths.widths import UNUSED, Widths

__all__ = ["relate"]

_ADDED = 1 << 50  # number of the first tensor that a network was given since; no run has as many


@uncollected()
def relate(
    graph: Recording,
    *,
    free_outputs: bool = False,
    free_inputs: Collection[InputTensor] = (),
    free_tables: Collection[str] = (),
    known: Mapping[int, Sequence[Axis]] | None = None,
    instead: Mapping[int, Callable[[Relation], None]] | None = None,
    afterwards: Sequence[Callable[[Relation], None]] = (),
) -> Widths:
    """Work out the widths of a graph from the operators recorded in it, without running anything.

    Each operator relates the axes of its operands and results by a rule; equal axes are unified. Free atoms
    in the axes of parameters are the widths.

    Args:
        graph: A captured graph.
        free_outputs: Let the outputs of the network change, too.
        free_inputs: The inputs whose neurons may change, each as the name of its vertex and the place of the
            tensor among those of the vertex. Their other dimensions keep their sizes.
        free_tables: The names of parameters whose rows may change although an embedding looks them up, so
            that the indices given to it have to follow.
        known: Axes of tensors that no vertex makes, by their number.
        instead: What relates a vertex instead of its operators, by the vertex's `id`.
        afterwards: What adds to the relation once all vertices are related.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> [(w.name, w.size) for w in relate(capture(net, torch.zeros(1, 4))).widths]
        [('0', 8)]
    """
    overlaps = list(overlapping(_enter_added(graph)))
    key = (free_outputs, frozenset(free_inputs), frozenset(free_tables))
    evidence = None if known or instead or afterwards else Evidence.of(graph, overlaps)
    found: Widths | None = known_widths(graph, key, evidence) if evidence is not None else None
    if found is not None:
        return found
    relation = Relation()
    relation.free_tables = {graph.state[name].id for name in free_tables}
    for stub in dict.fromkeys(graph.state.values()):
        relation.axes[stub.id] = relation.fresh(stub.shape)
        relation.vanishing.add(stub.id)
    relation.axes.update({number: list(axes) for number, axes in (known or {}).items()})
    _enter_inputs(relation, graph, free_inputs)
    for run in graph.runs:
        _relate_run(relation, run, free_outputs, instead or {})
        if run is graph:
            costs = len(relation.contractions)
    del relation.contractions[costs:]
    for add in afterwards:
        add(relation)
    unread = _fix_unused(relation, graph)
    _fix_worked_out(relation, graph)
    fix_shared_memory(relation, graph, overlaps)
    widths = Widths(graph, relation)
    if evidence is not None and not unread:
        keep_widths(graph, key, evidence, widths)
    return widths


def _enter_added(graph: Recording) -> dict[str, torch.Tensor]:
    """Enter parameters and buffers that the network was given since it was captured; return all by name.

    Raises:
        EditError: The network has lost one, or has another layer in place of one.
    """
    modules = dict(modules_of(graph.module, every_path=True))
    for vertex in graph.vertices:
        if vertex.kind == "layer" and modules.get(vertex.path, vertex.target) is not vertex.target:
            raise EditError(
                f"the layer {vertex.name!r} is not the module at {vertex.path!r} any more: capture the "
                "network again"
            )
    now = tensors_of(graph.module)
    lost = next((name for name in graph.state if name not in now), None)
    if lost is not None:
        raise EditError(
            f"the network has no {lost!r} any more, which it had when it was captured: capture it again"
        )
    if len(now) == len(graph.state):
        return now
    stubs = {id(now[name]): stub for name, stub in graph.state.items()}
    for number, (name, tensor) in enumerate(now.items(), _ADDED):
        if name not in graph.state:
            stub = stubs.setdefault(id(tensor), Stub(number, tuple(tensor.shape), tensor.dtype))
            for run in graph.runs:
                run.state.setdefault(name, stub)
    return now


def _enter_inputs(relation: Relation, graph: Recording, free_inputs: Collection[InputTensor]) -> None:
    """Enter the axes of inputs that may change, which are the same neurons in every run."""
    dims = neuron_dimensions(graph) if free_inputs else {}
    for vertex in graph.inputs if free_inputs else ():
        for index, stub in enumerate(tensors_in(vertex.output)):
            if (vertex.name, index) in free_inputs and stub.shape:
                dim = dims[tensor_key(stub)]
                relation.inputs[vertex.name, index] = InputAxis(dim, relation.algebra.new(stub.shape[dim]))


def _relate_run(
    relation: Relation,
    run: Recording,
    free_outputs: bool,
    instead: Mapping[int, Callable[[Relation], None]],
) -> None:
    """Relate the operators of one run; inputs, and by default outputs, keep their sizes."""
    for vertex in run.inputs:
        for index, stub in enumerate(tensors_in(vertex.output)):
            axes = relation.fixed(stub.shape, f"an input of the network ({vertex.name})")
            place = relation.inputs.get((vertex.name, index))
            if place is not None:
                axes[place.dim] = place.axis
            relation.axes[stub.id] = axes
    for vertex in run.vertices:
        relation.algebra.where, relation.vertex = vertex.name, vertex
        if id(vertex) in instead:
            instead[id(vertex)](relation)
            continue
        if isinstance(vertex.target, CustomFunction):
            _fix_state(relation, run, vertex)
            relate_custom(relation, vertex, vertex.target)
            continue
        for operation in vertex.operations:
            relation.operation = operation
            relate_operation(relation, operation)
    relation.operation, relation.vertex, relation.algebra.where = None, None, "the network's output"
    for stub in [] if free_outputs else returned(run.output):
        for axis in relation.of(stub):
            relation.algebra.pin(axis, "an output of the network")
    if run.left_behind and not free_outputs:
        _fix_left_behind(relation, run)


def _fix_left_behind(relation: Relation, run: Recording) -> None:
    """Fix the sizes of tensors that the forward keeps somewhere: a loss, or the next call, may read them."""
    results = [
        [vertex.output, [operation.outputs for operation in vertex.operations]] for vertex in run.vertices
    ]
    for stub in tensors_in([results, list(run.state.values())]):
        if stub.id in run.left_behind and stub.id in relation.axes:
            for axis in relation.of(stub):
                relation.algebra.pin(axis, f"kept in {run.left_behind[stub.id]}, where others may read it")


def _fix_worked_out(relation: Relation, graph: Recording) -> None:
    """Fix neurons that only a buffer makes that is not saved, for the network computes it anew."""
    worked_out = [name for name in unsaved_buffers(graph.module) if name in graph.state]
    if not worked_out:
        return

    def atoms(name: str, dims: slice) -> set[Atom]:
        """Return the free atoms in these dimensions of a parameter or buffer."""
        axes = relation.of(graph.state[name])[dims]
        return {atom for axis in axes for atom in relation.algebra.resolve(axis).atoms()}

    parameters = parameters_of(graph.module)
    made = set().union(*(atoms(name, slice(1)) for name in graph.state if name in parameters))
    for name in worked_out:
        for atom in atoms(name, slice(None)) - made:
            relation.algebra.pin(single(atom), f"the network works out {name} itself")


def _fix_unused(relation: Relation, graph: Recording) -> bool:
    """Fix neurons that no run computes with: the rest of a table, layers that neither mode uses.

    Returns:
        Whether there are such layers.
    """
    operations = [o for run in graph.runs for v in run.vertices for o in v.operations]
    read = {stub.id for operation in operations for stub in operation.operands}
    unread = [stub for stub in dict.fromkeys(graph.state.values()) if stub.id not in read]
    # A batch norm's counter, of no dimension, is not read by any network in eval mode.
    unreached = any(stub.shape for stub in unread)
    tied = fit_unreached(relation, graph, read) if unreached else set()
    for stub in unread:
        for dim, axis in enumerate(relation.of(stub)):
            if (stub.id, dim) not in tied:
                relation.algebra.pin(axis, UNUSED)
    doubtful = {atom for axis in relation.left_out for atom in relation.algebra.resolve(axis).atoms()}
    if not doubtful:
        return unreached
    computed: dict[int, Stub] = {}
    for each in operations:
        if not _only_views(each.func):
            computed.update((stub.id, stub) for stub in (*each.operands, *each.outputs) if stub is not None)
    for stub in computed.values():
        for axis in relation.of(stub):
            doubtful.difference_update(relation.algebra.resolve(axis).atoms())
        if not doubtful:
            return unreached
    for atom in doubtful:
        relation.algebra.pin(single(atom), UNUSED)
    return unreached


@functools.cache
def _only_views(func: torch._ops.OpOverload) -> bool:
    """Tell whether an operator computes nothing, as all its results are views of its arguments."""
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _fix_state(relation: Relation, run: Recording, vertex: Vertex) -> None:
    """Fix the sizes of the parameters of a function with a custom rule, which says nothing about them."""
    for name, stub in run.state.items():
        if name.startswith(f"{vertex.path}."):
            relation.pin_tensor(stub, "a parameter of a function with a declared rule")
