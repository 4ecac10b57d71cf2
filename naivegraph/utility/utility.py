"""The contract of `utility=`, the same in every verb: the values of neurons.

Neurons of larger value are kept, and one of negative value is better removed. A utility is one of

- the name of a criterion, which values all neurons: "l2" and "l1" (the size of their weights, each layer's
  scaled to count the same), "magnitude" (the mean absolute weight), "bn_scale" (the size of batch norms'
  scales) or "random" (a baseline); by data, for which the verb needs `calibration=`, "reconstruction" (the
  error that is left once its readers' weights are fitted anew), "fisher" (the change of the outputs, or of
  `loss=`), "taylor" (the change of `loss=`, with or without calibration data), "activation", "variance" and
  "fluctuation" (what its readers take); or a `Criterion`, such as `ng.OfWidths(f)` of a function of all
  widths. Weights are those that layers compute with: masked, normed or parametrized, where they are;
- a number for every neuron: with 0, sizes alone count;
- a dict, by a vertex or its name, a width or its name, or a layer (the module). A name is a vertex's if there
  is one of that name, else a width's, else a module's path;
- a function, which is called with each vertex;
- None: the verb's own default, which its docstring names.

The values of a dict, and results of a function, are for the neurons of the vertex, width or layer, in order:
a list, an array or a tensor (of any device) of one value each; a number, for each of them; a criterion or its
name, for its values of them; or None, for none. Of a width whose rows keep different neurons, as inside
heads, it may be an array `[rows, neurons]`.

Several entries for the same neurons are added up: of the vertices `conv`, `norm` and `relu`, which have the
same neurons, it is enough to name one. Neurons without any entry have the values of the default. To value
them at nothing, return 0: `lambda vertex: values.get(vertex.name, 0)`.

For kernels (`ng.resize_kernel`) the same applies to the elements of a convolution's weight instead of
neurons: values have its shape, and convolutions without values have no influence on what is removed.

Anything that does not fit (an unknown name, a wrong length, a value that is not finite, another type) is an
EditError, and the network is as it was.

Example:
    >>> import torch, naivegraph as ng
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    >>> graph = ng.capture(net, torch.ones(1, 2))
    >>> for utility in ({"1": [4, 1, 3, 2]}, lambda vertex: [4, 1, 3, 2] if vertex.name == "0" else None):
    ...     edit = ng.resize(graph, {"0": -2}, utility=utility)
    ...     print(edit.sizes["0"].kept)
    ...     edit.undo()
    (range(0, 1), range(2, 3))
    (range(0, 1), range(2, 3))
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from naivegraph.algebra.axis import Axis, single
from naivegraph.calibration import Calibration
from naivegraph.errors import EditError, nearest
from naivegraph.graph import Vertex
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.utility.collect import Floats, by_row, per_atom, shape_of
from naivegraph.utility.criteria import Criterion, CriterionData, criterion
from naivegraph.utility.scores import BoundLoss, Loss
from naivegraph.widths import Width, Widths, relate

__all__ = ["NeuronValues", "Utility", "check_utility", "entry_values", "utilities"]

NeuronValues = npt.ArrayLike | torch.Tensor | Criterion | None
Utility = str | float | Criterion | Mapping[Any, NeuronValues] | Callable[[Vertex], NeuronValues] | None

_FORMS = (
    "give a criterion's name, a number for all, a dict by vertex or width, or a function of a vertex "
    "(of all widths: ng.OfWidths(function))"
)


def check_utility(utility: Any, loss: Any = None) -> None:
    """Check all of `utility=` and `loss=` that can be checked without a network.

    Raises:
        EditError: A criterion is unknown, or something is of the wrong type.
    """
    if loss is not None and not callable(loss):
        raise EditError(f"loss={loss!r}: give a function of the network which returns its loss")
    if isinstance(utility, Mapping):
        for key, value in utility.items():
            if not isinstance(key, (str, Vertex, Width, nn.Module)):
                raise EditError(f"utility= has an entry for {key!r}, which is no vertex, width or layer")
            _as_criterion(value)
    elif isinstance(utility, type) or not (
        _as_criterion(utility)
        or utility is None
        or callable(utility)
        or _number(utility, "utility=") is not None
    ):
        shown = utility.__name__ if isinstance(utility, type) else _kind(utility)
        raise EditError(f"utility= cannot be {shown}: {_FORMS}")


def utilities(
    widths: Widths,
    utility: Utility = None,
    *,
    default: Utility = "l2",
    loss: Loss | None = None,
    calibration: Any = None,
    graph: Recording | None = None,
    once: bool = False,
) -> dict[Width, Floats]:
    """Values of all neurons: for each width one number per neuron.

    For a width in `widths.outer` an array [rows, neurons]: its neurons have a value of their own in each row
    (in each head, say).

    Args:
        widths: The widths of a graph.
        utility: See the contract in the docstring of this module.
        default: The utility of neurons that `utility` has no values for.
        loss: A function that runs its argument, the network (the graph, if its structure was edited), on a
            batch and returns the loss. For criteria that take calibration data a function of the network and
            a batch of it.
        calibration: Batches of example inputs, for criteria that learn from data; see
            `naivegraph.calibration`.
        graph: The graph, if the widths are those of a part of it.
        once: Whether values of a product of widths (groups times channels) are those of the neurons inside
            alone, where they have rows; else the rows have their sums besides.

    Raises:
        EditError: The utility does not fit the network, or a loss is missing.

    Example:
        >>> from naivegraph.network import capture
        >>> from naivegraph.widths import relate
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
        >>> found = utilities(relate(capture(net, torch.ones(1, 2))), {"0": [1.0, 5.0, 2.0]})
        >>> [values.tolist() for values in found.values()]
        [[1.0, 5.0, 2.0]]
    """
    evaluator = _Evaluator(widths, widths.graph if graph is None else graph, loss, calibration, once)
    values = evaluator.values(utility)
    if len(values) < len(widths.widths):
        values = {**evaluator.values(default), **values}
    return {width: values[width] for width in widths.widths}


class _Evaluator:
    """Values of the neurons of one network, each criterion evaluated once."""

    def __init__(
        self, widths: Widths, graph: Recording, loss: Loss | None, calibration: Any, once: bool
    ) -> None:
        self.widths, self.graph, self._once = widths, graph, once
        self._loss = _bound(loss, graph)
        self._data = CriterionData(None if calibration is None else Calibration(graph, calibration), loss)
        self._evaluated: dict[int, tuple[Criterion, dict[Width, Floats]]] = {}

    def values(self, utility: Utility) -> dict[Width, Floats]:
        """Values by width, for the widths that a utility has values for."""
        check_utility(utility)
        if utility is None:
            return {}
        chosen = _as_criterion(utility)
        if chosen is not None:
            return self._by_criterion(chosen)
        number = _number(utility, "utility=")
        if number is not None:
            return {w: by_row(self.widths, w, np.full(w.size, number)) for w in self.widths}
        out: dict[Width, Floats] = {}
        for name, place, value in self._entries(utility):
            for width, values in self._entry(name, place, value).items():
                out[width] = out[width] + values if width in out else values
        return out

    def _by_criterion(self, chosen: Criterion) -> dict[Width, Floats]:
        """Values of a criterion by width."""
        if id(chosen) not in self._evaluated:
            out: dict[Width, Floats] = {}
            informed = chosen.with_data(self._data)
            valued = informed.neurons_once if self._once else informed.neurons
            for key, value in valued(self.widths, self._loss).items():
                out.update(self._entry(_key(key), self._place(key), value))
            self._evaluated[id(chosen)] = chosen, out
        return self._evaluated[id(chosen)][1]

    def _entries(self, utility: Any) -> Iterator[tuple[str, Axis | Width, Any]]:
        """The name of each entry, the place of its neurons, and their values."""
        if not isinstance(utility, Mapping):
            for vertex in self.graph.vertices:
                yield vertex.name, self._output_axis(vertex), utility(vertex)
            return
        for key, value in utility.items():
            if isinstance(key, Width) or (
                isinstance(key, str) and key not in self.graph and self._named(key)
            ):
                yield _key(key), self._place(key), value
                continue
            vertices = vertices_of(self.graph, key, self._names)
            # Calls of one layer with the same neurons are one entry.
            for axis in dict.fromkeys(map(self._output_axis, vertices)):
                yield _key(key), axis, value

    @functools.cached_property
    def _names(self) -> dict[str, Width]:
        return {width.name: width for width in self.widths}

    def _output_axis(self, vertex: Vertex) -> Axis:
        """The axis of a vertex's neurons; for a vertex that is about to leave the graph, what that was."""
        known = self.widths.relation.axes
        gone = self._part and any(stub.id not in known for stub in stubs_in(vertex.output))
        return (self._of_whole if gone else self.widths).output_axis(vertex)

    @property
    def _part(self) -> bool:
        """Check whether the widths that are judged are of a part of the graph."""
        return self.graph is not self.widths.graph

    @functools.cached_property
    def _of_whole(self) -> Widths:
        return relate(self.graph, free_outputs=True)

    @functools.cached_property
    def _whole(self) -> dict[str, Width]:
        """The widths of the whole graph by name, where those that are judged are of a part of it."""
        return {width.name: width for width in self._of_whole} if self._part else {}

    def _named(self, name: str) -> Width | None:
        return self._names.get(name) or self._whole.get(name)

    def _place(self, key: Any) -> Axis | Width:
        """A width, which may be that of another graph of the network, or the axis it is in this one."""
        width = key if isinstance(key, Width) else self._named(key)
        if width is not None:
            mine = self._names.get(width.name)
            if mine is not None and (mine.size, mine.lives) == (width.size, width.lives):
                return mine
            for name, dim in width.lives:
                axes = self.widths.axes.get(name, [])
                if dim < len(axes) and axes[dim].length == width.size and not axes[dim].fixed:
                    return axes[dim]
            leaving = self._whole.get(width.name)
            if leaving is not None and (leaving.size, leaving.lives) == (width.size, width.lives):
                return single(leaving.atom)  # of layers that are about to leave the graph
        shown = f"the width {_key(key)!r}" if isinstance(key, Width) else repr(key)
        hint = nearest(_key(key), self._names)
        raise EditError(f"utility= names {shown}, which is no width of the network{hint}")

    def _entry(self, name: str, place: Axis | Width, value: Any) -> dict[Width, Floats]:
        """Values of one entry by width."""
        if value is None:
            return {}
        by_atom = self.widths.by_atom
        atoms = [place.atom] if isinstance(place, Width) else place.atoms()
        chosen = _as_criterion(value)
        if chosen is not None:
            all_values = self._by_criterion(chosen)
            found = [by_atom[atom] for atom in dict.fromkeys(atoms) if atom in by_atom]
            return {width: all_values[width] for width in found if width in all_values}
        if isinstance(place, Width):
            shapes = [(place.size,), shape_of(self.widths, place)]
            return {place: by_row(self.widths, place, _array(name, value, shapes))}
        along = _array(name, value, [(place.length,)])
        values = per_atom(place, along, self.widths.outer, once=self._once)
        return {by_atom[atom]: part for atom, part in values.items() if atom in by_atom}


def vertices_of(graph: Recording, key: Any, others: Collection[str] = ()) -> list[Vertex]:
    """The vertices that a key of a dict is about.

    Args:
        graph: A graph.
        key: A vertex, the name of one, or a layer (or its path).
        others: Further names, to suggest for an unknown one.

    Returns:
        The vertex, or every one that calls the layer.

    Raises:
        EditError: Nothing in this graph is meant.
    """
    if isinstance(key, Vertex):
        if not any(vertex is key for vertex in graph.vertices):
            raise EditError(f"utility= names the vertex {key.name!r} of another graph: give its name")
        return [key]
    if isinstance(key, Width):
        raise EditError(
            f"utility= names the width {key.name!r}: give the values of kernels' entries by vertex"
        )
    if isinstance(key, str):
        if key in graph:
            return [graph[key]]
        modules = dict(graph.module.named_modules(remove_duplicate=False))
        if key not in modules:
            names = [*(vertex.name for vertex in graph.vertices), *others]
            hint = nearest(key, names, otherwise="see graph.summary() for names")
            raise EditError(f"utility= names {key!r}, which is no vertex, width or layer{hint}")
        return _calls(graph, modules[key], repr(key))
    return _calls(graph, key, type(key).__name__)


def _calls(graph: Recording, layer: nn.Module, shown: str) -> list[Vertex]:
    found = [vertex for vertex in graph.vertices if vertex.target is layer]
    if not found:
        raise EditError(f"utility= names {shown}, which the network does not call as a layer: name a vertex")
    return found


def entry_values(
    graph: Recording, vertices: Collection[Vertex], parameter: str, utility: Utility, loss: Loss | None
) -> torch.Tensor | None:
    """Values of the single elements of a parameter, added up over entries for some vertices.

    Args:
        graph: A graph.
        vertices: The vertices whose parameter it is.
        parameter: Its name.
        utility: See the contract in the docstring of this module.
        loss: As for `utilities`.

    Returns:
        A tensor of the parameter's shape; None if the utility has no values for it.

    Raises:
        EditError: The utility does not fit the network or the parameter.
    """
    check_utility(utility, loss)
    weight = graph.tensor(parameter)

    def entry(name: str, value: Any) -> torch.Tensor | None:
        """Return the values of one entry."""
        chosen = _as_criterion(value)
        if chosen is None:
            shape = tuple(weight.shape)
            return None if value is None else torch.from_numpy(_array(name, value, [shape]))
        values = chosen.elements(graph.module, _bound(loss, graph))(parameter)
        if values is None or not bool(values.isfinite().all()):
            raise EditError(f"utility={value!r} gives no finite values for the entries of {parameter}")
        return values.detach().double().cpu()

    if isinstance(utility, Mapping):
        about = [(_key(key), vertices_of(graph, key), value) for key, value in utility.items()]
        entries = [
            entry(name, value)
            for name, found, value in about
            if any(vertex is other for vertex in found for other in vertices)
        ]
    elif callable(utility):
        entries = [entry(vertex.name, utility(vertex)) for vertex in vertices]
    else:
        entries = [entry("utility=", utility)]
    found = [values for values in entries if values is not None]
    return functools.reduce(torch.add, found) if found else None


def _bound(loss: Loss | None, graph: Recording) -> BoundLoss | None:
    """The loss of the network, or of the graph where the network's own forward computes something else."""
    return None if loss is None else functools.partial(loss, graph if graph.rewired else graph.module)


def _as_criterion(value: Any) -> Criterion | None:
    """The criterion that a value is or names, if any."""
    if isinstance(value, str):
        return criterion(value)
    return value if isinstance(value, Criterion) else None


def _number(value: Any, name: str) -> float | None:
    """The number that a value is, if it is one."""
    if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim == 0:
        return float(_array(name, value, [()]))
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    if not math.isfinite(value):
        raise EditError(f"{name} {value!r} is not finite")
    return float(value)


def _array(name: str, value: Any, shapes: list[tuple[int, ...]]) -> Floats:
    """Values as an array of one of these shapes; a number is one for all.

    Raises:
        EditError: They are none.
    """
    try:
        tensor = isinstance(value, torch.Tensor)
        found = np.asarray(value.detach().double().cpu().numpy() if tensor else value)
        if found.dtype.kind not in "iuf":
            raise TypeError
        values: Floats = np.asarray(found, np.float64)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise EditError(
            f"the utility of {name} cannot be {_kind(value)}: give a list, an array or a tensor of finite "
            "numbers, one number, a criterion's name or None"
        ) from error
    if values.shape not in ((), *shapes):
        raise EditError(f"the utility of {name} has shape {values.shape}, not {shapes[-1]}")
    if not np.isfinite(values).all():
        raise EditError(f"the utility of {name} is not finite")
    return values if values.ndim else np.full(shapes[0], values)


def _key(key: Any) -> str:
    if isinstance(key, (Vertex, Width)):
        return key.name
    return type(key).__name__ if isinstance(key, nn.Module) else str(key)


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor) and value.is_meta:
        return "a tensor without values, on the meta device"
    return f"a {type(value).__name__}"
