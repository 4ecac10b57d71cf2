"""The widths of a graph: runs of neurons that may change, and the parameters they are in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import torch

from naivegraph.algebra.axis import Atom, Axis, reasons, single
from naivegraph.errors import EditError
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.run.neuron_dims import TensorKey, neuron_dimensions, tensor_key
from naivegraph.graph.run.state_users import state_users
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.leaf_modules import is_layer
from naivegraph.graph.torch_utils.module_paths import modules_of, parameters_of, tensors_of
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators import relate_operation
from naivegraph.operators.custom import relate_custom
from naivegraph.operators.relation import (
    Contraction,
    InputAxis,
    InputTensor,
    Relation,
    returned,
    tensors_in,
)
from naivegraph.widths.provenance.provenance import Provenance
from naivegraph.widths.relation_cache import Evidence, keep_widths, known_widths
from naivegraph.widths.row_choices import outer_widths
from naivegraph.widths.shared_memory import fix_shared_memory, overlapping
from naivegraph.widths.unreached import fit_unreached

__all__ = ["FixedAxis", "Width", "Widths", "relate"]

UNUSED = "nothing that was captured uses it"
_ADDED = 1 << 50  # number of the first tensor that a network was given since; no run has as many


@dataclasses.dataclass(frozen=True, eq=False)
class Width:
    """A run of neurons (channels, features, heads) that are kept or removed together, in all layers at once.

    The pruning literature calls the layers and dimensions with the same neurons a dependency group (Fang et
    al., "DepGraph: towards any structural pruning", CVPR 2023). A width is finer: one dimension can be made
    of several widths, as the sum `a + b` of a concatenation or the product `h * d` of heads and their size.

    Attributes:
        name: The layer whose output it is (with `:2`, `:3`... if that layer's output has several).
        atom: The variable that stands for it in axes.
        size: Number of neurons.
        lives: The (parameter or buffer, dimension) pairs whose axis contains it.
        coupled: The statistics its neurons enter ("a layer norm at blocks.0.norm1"); empty if none.
    """

    name: str
    atom: Atom
    size: int
    lives: tuple[tuple[str, int], ...]
    coupled: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FixedAxis:
    """An axis of a parameter that cannot change, with the reason."""

    name: str
    dim: int
    size: int
    reason: str


class Widths:
    """The resolved axes of a graph, and the widths in them.

    Attributes:
        graph: The graph.
        widths: The free widths, in the order in which they first occur.
        axes: The resolved axes of every parameter and buffer, by its name.
        relation: The result of relating all operators.
        by_atom: The width of each free atom.
    """

    def __init__(self, graph: Recording, relation: Relation) -> None:
        self.graph = graph
        self.relation = relation
        resolve = relation.algebra.resolve
        self.axes = {
            name: [resolve(axis) for axis in relation.of(stub)] for name, stub in graph.state.items()
        }
        self.widths = self._find()
        self.by_atom = {width.atom: width for width in self.widths}

    @functools.cached_property
    def contractions(self) -> list[Contraction]:
        """The multiply-accumulates of every operator in eval mode, on resolved axes."""
        resolve = self.relation.algebra.resolve
        return [
            Contraction(c.where, c.coefficient, tuple([resolve(axis) for axis in c.axes]))
            for c in self.relation.contractions
        ]

    @functools.cached_property
    def provenances(self) -> list[Provenance]:
        """The provenance of tensors in each recorded run."""
        return [Provenance(run) for run in self.graph.runs]

    @functools.cached_property
    def outer(self) -> dict[Atom, Atom]:
        """The widths whose neurons need not be the same in every row of a product, such as head sizes.

        The keys are their atoms; the values are the atoms of the widths whose neurons are these rows (heads).
        """
        return outer_widths(self.graph, self.relation, self.axes)

    def __iter__(self) -> Iterator[Width]:
        return iter(self.widths)

    def __len__(self) -> int:
        return len(self.widths)

    def of(self, stub: Stub) -> list[Axis]:
        """The resolved axes of any tensor of the run."""
        return [self.relation.algebra.resolve(axis) for axis in self.relation.of(stub)]

    def output_axis(self, vertex: Vertex) -> Axis:
        """The axis of the neurons of a vertex's (first) output, whose length is in `graph.sizes`."""
        found = returned(vertex.output)
        return self.neuron_axis(found[0]) if found else single(1)

    @functools.cached_property
    def output_axes(self) -> dict[str, Axis]:
        """The axis of each vertex of the graph by its name; see `output_axis`."""
        return {vertex.name: self.output_axis(vertex) for vertex in self.graph.vertices}

    @functools.cached_property
    def all_axes(self) -> list[Axis]:
        """The distinct axes of all tensors, resolved."""
        resolve = self.relation.algebra.resolve
        return list(dict.fromkeys(resolve(axis) for axes in self.relation.axes.values() for axis in axes))

    def neuron_axis(self, stub: Stub) -> Axis:
        """The axis of the neurons of a tensor that some vertex takes or returns."""
        if not stub.shape:
            return single(1)
        axes = self.of(stub)  # those of the tensor in the end: it may have been squeezed in place
        return axes[self._neuron_dimensions.get((stub.id, len(axes)), -1)] if axes else single(1)

    def see_dimensions_of(self, whole: Recording) -> None:
        """Let tensors have the dimension of their neurons that they have in a graph this is a part of."""
        self._neuron_dimensions = {**self._neuron_dimensions, **neuron_dimensions(whole)}

    @functools.cached_property
    def _neuron_dimensions(self) -> dict[TensorKey, int]:
        return neuron_dimensions(self.graph)

    def _find(self) -> list[Width]:
        """A width for each free atom in the axes of parameters and buffers, and of inputs that may change."""
        lives: dict[Atom, list[tuple[str, int]]] = {}
        for name, axes in self.axes.items():
            for dim, axis in enumerate(axes):
                for atom in dict.fromkeys(axis.atoms()):
                    lives.setdefault(atom, []).append((name, dim))
        coupled: dict[Atom, dict[str, None]] = {}
        for axis, statistic in self.relation.coupled:
            for atom in self.relation.algebra.resolve(axis).atoms():
                coupled.setdefault(atom, {})[statistic] = None
        inputs: dict[Atom, str] = {}
        for (vertex, _), place in self.relation.inputs.items():
            for atom in self.relation.algebra.resolve(place.axis).atoms():
                inputs.setdefault(atom, vertex)
                lives.setdefault(atom, [])
        names = _names(lives, self.graph, inputs)
        return [
            Width(names[atom], atom, atom.length, tuple(places), tuple(coupled.get(atom, ())))
            for atom, places in lives.items()
        ]

    def fixed(self) -> list[FixedAxis]:
        """The axes of parameters that are fixed as a whole, with the reasons; sizes of 1 are left out."""
        out = []
        parameters = parameters_of(self.graph.module)
        for name, axes in self.axes.items():
            for dim, axis in enumerate(axes):
                if name in parameters and axis.fixed and axis.length > 1:
                    out.append(FixedAxis(name, dim, axis.length, reason_of(axis)))
        return out

    @functools.cached_property
    def users(self) -> dict[str, frozenset[str]]:
        """The names of the vertices that compute with each parameter or buffer, by its name."""
        return state_users(self.graph)

    def parameters(self) -> dict[str, list[Axis]]:
        """The axes of every parameter, tied ones once."""
        return self._parameters

    @functools.cached_property
    def _parameters(self) -> dict[str, list[Axis]]:
        return {name: self.axes[name] for name, _ in self.graph.module.named_parameters()}


def reason_of(axis: Axis) -> str:
    """The first reason for which a fixed axis is fixed."""
    return next(iter(reasons(axis)), "a number of the network's code")


def _names(
    lives: Mapping[Atom, list[tuple[str, int]]], graph: Recording, inputs: Mapping[Atom, str]
) -> dict[Atom, str]:
    """A name for every atom: the layer whose output it is, an input, or a parameter that is no layer's."""
    out: dict[Atom, str] = {}
    taken: dict[str, int] = {}
    layers = {vertex.path for vertex in graph.vertices if vertex.kind == "layer"}
    for atom, places in lives.items():
        owners = [name for name, dim in places if dim == 0] or [name for name, _ in places]
        if atom in inputs:
            owners = [inputs[atom]]
        path = "" if atom in inputs else owners[0].rpartition(".")[0]
        named = path and (path in layers or is_layer(graph.module.get_submodule(path)))
        base = path if named else owners[0]
        taken[base] = taken.get(base, 0) + 1
        out[atom] = base if taken[base] == 1 else f"{base}:{taken[base]}"
    return out


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
