"""The widths of a graph: runs of neurons that may change, and the parameters they are in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping

from naivegraph.algebra.axis import Atom, Axis, reasons, single
from naivegraph.graph.run.neuron_dims import TensorKey, neuron_dimensions
from naivegraph.graph.run.state_users import state_users
from naivegraph.graph.torch_utils.leaf_modules import is_layer
from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.operators.relation import (
    Contraction,
    Relation,
    returned,
)
from naivegraph.widths.provenance.provenance import Provenance
from naivegraph.widths.row_choices import outer_widths

__all__ = ["FixedAxis", "Width", "Widths"]

UNUSED = "nothing that was captured uses it"


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
