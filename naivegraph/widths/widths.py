"""The widths of a graph: which runs of neurons may change, where they live, what they cost."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch

from naivegraph.algebra.axis import Atom, Axis, reasons, single
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.run.neuron_dims import TensorKey, neuron_dimensions
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.leaf_modules import is_layer
from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.ir.custom_rule import CustomFunction
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators import relate_operation
from naivegraph.operators.custom import relate_custom
from naivegraph.operators.relation import Contraction, Relation, returned, tensors_in
from naivegraph.widths.provenance.provenance import Provenance
from naivegraph.widths.row_choices import outer_widths

__all__ = ["FixedAxis", "Width", "Widths", "relate"]

UNUSED = "nothing that was captured uses it"


@dataclasses.dataclass(frozen=True, eq=False)
class Width:
    """A run of neurons that always occur together.

    Attributes:
        name: The layer whose output it is (with `:2`, `:3`... if that layer's output has several).
        atom: Its place in the axes.
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
    """An axis of a parameter of which nothing may change."""

    name: str
    dim: int
    size: int
    reason: str


class Widths:
    """The resolved axes of a graph.

    Attributes:
        widths: The free widths, in the order in which they first occur.
        axes: The resolved axes of every parameter and buffer, by its name.
        relation: What the operators' rules said.
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
    def tracers(self) -> list[Provenance]:
        """What follows the operators of each recorded run back to parameters."""
        return [Provenance(run) for run in self.graph.runs]

    @functools.cached_property
    def outer(self) -> dict[Atom, Atom]:
        """The widths whose neurons need not be the same in every row of a product, as those inside a head.

        By atom, that of the width of which each neuron (each head) is a row.
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
        """The axis along which the neurons of a vertex's (first) output lie: what `graph.sizes` counts."""
        found = returned(vertex.output)
        return self.neuron_axis(found[0]) if found else single(1)

    def neuron_axis(self, stub: Stub) -> Axis:
        """The axis along which the neurons of a tensor lie that some vertex takes or gives."""
        if not stub.shape:
            return single(1)
        axes = self.of(stub)  # as the tensor is in the end: it may have been squeezed in place
        return axes[self._neuron_dimensions.get((stub.id, len(axes)), -1)] if axes else single(1)

    @functools.cached_property
    def _neuron_dimensions(self) -> dict[TensorKey, int]:
        return neuron_dimensions(self.graph)

    def _find(self) -> list[Width]:
        lives: dict[Atom, list[tuple[str, int]]] = {}
        for name, axes in self.axes.items():
            for dim, axis in enumerate(axes):
                for atom in dict.fromkeys(axis.atoms()):
                    lives.setdefault(atom, []).append((name, dim))
        coupled: dict[Atom, dict[str, None]] = {}
        for axis, statistic in self.relation.coupled:
            for atom in self.relation.algebra.resolve(axis).atoms():
                coupled.setdefault(atom, {})[statistic] = None
        names = _names(lives, self.graph)
        return [
            Width(names[atom], atom, atom.length, tuple(places), tuple(coupled.get(atom, ())))
            for atom, places in lives.items()
        ]

    def fixed(self) -> list[FixedAxis]:
        """Every axis of a parameter that is fixed as a whole, with the reason; sizes of 1 are left out."""
        out = []
        parameters = parameters_of(self.graph.module)
        for name, axes in self.axes.items():
            for dim, axis in enumerate(axes):
                if name in parameters and axis.fixed and axis.length > 1:
                    out.append(FixedAxis(name, dim, axis.length, reason_of(axis)))
        return out

    def macs(self, count: Callable[[Atom], int] | None = None) -> int:
        """Multiply-accumulates of one run on the example input, with `count` neurons of each width.

        They are those of matrix products, convolutions and attention: half of what `torch.utils.flop_counter`
        counts. It has no formula for a product with a vector nor for torch's fused recurrent layers; here
        these cost what the same products of matrices do.
        """
        return _products(((c.coefficient, c.axes) for c in self.contractions), count)

    def parameters(self) -> dict[str, list[Axis]]:
        """The axes of every parameter, tied ones once."""
        return self._parameters

    @functools.cached_property
    def _parameters(self) -> dict[str, list[Axis]]:
        return {name: self.axes[name] for name, _ in self.graph.module.named_parameters()}

    def params(self, count: Callable[[Atom], int] | None = None) -> int:
        """Number of parameters, with `count` neurons of each width."""
        return _products(((1, axes) for axes in self.parameters().values()), count)


def _products(products: Iterable[tuple[int, Sequence[Axis]]], count: Callable[[Atom], int] | None) -> int:
    """The sum of products of sizes."""
    total = 0
    for product, axes in products:
        for axis in axes:
            product *= axis.length if count is None or axis.fixed else axis.size(count)
        total += product
    return total


def reason_of(axis: Axis) -> str:
    """Why a fixed axis is fixed."""
    return next(iter(reasons(axis)), "a number of the network's code")


def _names(lives: Mapping[Atom, list[tuple[str, int]]], graph: Recording) -> dict[Atom, str]:
    """A name for every atom: the layer whose output it is, or the parameter of a module that is no layer."""
    out: dict[Atom, str] = {}
    taken: dict[str, int] = {}
    layers = {vertex.path for vertex in graph.vertices if vertex.kind == "layer"}
    for atom, places in lives.items():
        owners = [name for name, dim in places if dim == 0] or [name for name, _ in places]
        path = owners[0].rpartition(".")[0]
        named = path and (path in layers or is_layer(graph.module.get_submodule(path)))
        base = path if named else owners[0]
        taken[base] = taken.get(base, 0) + 1
        out[atom] = base if taken[base] == 1 else f"{base}:{taken[base]}"
    return out


@uncollected()
def relate(
    graph: Recording, *, free_outputs: bool = False, given: Mapping[int, Sequence[Axis]] | None = None
) -> Widths:
    """Work out the widths of a graph from the operators recorded in it; runs nothing.

    Args:
        graph: A captured graph.
        free_outputs: Let the outputs of the network change, too.
        given: Axes of tensors that no vertex makes, by their number.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> [(w.name, w.size) for w in relate(capture(net, torch.zeros(1, 4))).widths]
        [('0', 8)]
    """
    relation = Relation()
    for stub in dict.fromkeys(graph.state.values()):
        relation.axes[stub.id] = relation.fresh_state(stub.shape)
        relation.vanishing.add(stub.id)
    relation.axes.update({number: list(axes) for number, axes in (given or {}).items()})
    for run in graph.runs:
        _relate_run(relation, run, free_outputs)
        if run is graph:
            costs = len(relation.contractions)
    del relation.contractions[costs:]
    _fix_unused(relation, graph)
    _fix_worked_out(relation, graph)
    return Widths(graph, relation)


def _relate_run(relation: Relation, run: Recording, free_outputs: bool) -> None:
    for vertex in run.inputs:
        for stub in tensors_in(vertex.output):
            relation.axes[stub.id] = relation.fixed(stub.shape, f"an input of the network ({vertex.name})")
    for vertex in run.vertices:
        relation.algebra.where = vertex.name
        if isinstance(vertex.target, CustomFunction):
            _fix_state(relation, run, vertex)
            relate_custom(relation, vertex, vertex.target)
            continue
        for operation in vertex.operations:
            relation.operation = operation
            relate_operation(relation, operation)
    relation.operation, relation.algebra.where = None, "the network's output"
    for stub in [] if free_outputs else returned(run.output):
        for axis in relation.of(stub):
            relation.algebra.pin(axis, "an output of the network")


def _fix_worked_out(relation: Relation, graph: Recording) -> None:
    """Fix what only a buffer makes that is not saved: the network works it out, and would do so again."""
    worked_out = [name for name in unsaved_buffers(graph.module) if name in graph.state]
    if not worked_out:
        return

    def atoms(name: str, dims: slice) -> set[Atom]:
        axes = relation.of(graph.state[name])[dims]
        return {atom for axis in axes for atom in relation.algebra.resolve(axis).atoms()}

    parameters = parameters_of(graph.module)
    made = set().union(*(atoms(name, slice(1)) for name in graph.state if name in parameters))
    for name in worked_out:
        for atom in atoms(name, slice(None)) - made:
            relation.algebra.pin(single(atom), f"the network works out {name} itself")


def _fix_unused(relation: Relation, graph: Recording) -> None:
    """Fix what no run computed anything with: the rest of a table, layers which neither mode uses."""
    operations = [o for run in graph.runs for v in run.vertices for o in v.operations]
    given = [tensors_in((o.args, o.kwargs)) for o in operations]
    read = {stub.id for stubs in given for stub in stubs}
    for stub in dict.fromkeys(graph.state.values()):
        if stub.id not in read:
            for axis in relation.of(stub):
                relation.algebra.pin(axis, UNUSED)
    doubtful = {atom for axis in relation.left_out for atom in relation.algebra.resolve(axis).atoms()}
    if not doubtful:
        return
    computed: dict[int, Stub] = {}
    for operation, stubs in zip(operations, given, strict=True):
        if not _only_views(operation.func):
            computed.update((stub.id, stub) for stub in (*stubs, *operation.outputs) if stub is not None)
    for stub in computed.values():
        for axis in relation.of(stub):
            doubtful.difference_update(relation.algebra.resolve(axis).atoms())
        if not doubtful:
            return
    for atom in doubtful:
        relation.algebra.pin(single(atom), UNUSED)


@functools.cache
def _only_views(func: torch._ops.OpOverload) -> bool:
    """Whether an operator computes nothing: all it returns are views of what it is given."""
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _fix_state(relation: Relation, run: Recording, vertex: Vertex) -> None:
    """Parameters of a function with a declared rule keep their size: nothing says how they hang together."""
    for name, stub in run.state.items():
        if name.startswith(f"{vertex.path}."):
            relation.pin_tensor(stub, "a parameter of a function with a declared rule")
