"""Hypernetworks: networks whose weights another network makes (Ha, Dai and Le, "HyperNetworks", 2016)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from naivegraph.edits.request.named_parts import named_parts
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.request.validate import above_zero, whole
from naivegraph.errors import EditError, nearest
from naivegraph.graph import Vertex
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.ir.pytree import stubs_in
from naivegraph.network import Graph, capture
from naivegraph.weights.example_weights import ExampleWeights
from naivegraph.weights.generator import WeightGenerator
from naivegraph.weights.hyper_plan import INNER_SHARE, GeneratorPlan, Reading, generator_plans

__all__ = ["Hypernetwork", "hyper"]

_KINDS = ("static", "dual", "nested")
_CODE = 8  # the share of an embedding's numbers that the code of an example has


@graph_verb
def hyper(
    model: Graph,
    layers: str | Sequence[str],
    *,
    z: int = 64,
    kind: str = "static",
    share: float = 0.5,
) -> Hypernetwork:
    """Make a network whose weights are made by another network, and train both as one.

    Weights, the tensors with two or more axes longer than one, are made; biases and the parameters of norms
    stay parameters, copied from the network, which itself stays as it is. Each weight starts with the
    variance that it has in the network.

    Args:
        model: A graph, or a network and then its example.
        layers: The layers whose weights are made, by name or pattern: modules with all that is in them,
            parameters, or vertices.
        z: The numbers of an embedding; each kernel has one, and each output neuron of equal kernels.
        kind: "static": the weights depend on trained embeddings alone. "dual": on the example, too, and in a
            network of recurrent cells on the time step: each layer reads what it is given, at each call, and
            its weights are other ones for each example of the batch. "nested": the generator's own weights
            come from a hypernetwork.
        share: The most parameters that the generators may have, as a share of the weights they make. The
            hidden units of the generators are as many as that allows.

    Returns:
        A module called as the network is.

    Raises:
        EditError: Nothing matches; what matches has no weights, or a weight that has several names, none yet,
            or nothing but equal numbers; the embeddings alone take more than the share. "dual": a weight is
            no layer's, or the example never reaches the layer.

    Example:
        >>> net = nn.Sequential(*[nn.Conv2d(16, 16, 3, padding=1) for _ in range(6)])
        >>> h = hyper(net, torch.zeros(1, 16, 8, 8), layers="*")
        >>> h(torch.zeros(1, 16, 8, 8)).shape, round(h.parameters_saved, 1)
        (torch.Size([1, 16, 8, 8]), 0.5)
        >>> type(h.network()).__name__
        'Sequential'
    """
    if kind not in _KINDS:
        raise EditError(f"kind= is {kind!r}, and there is no such kind{nearest(str(kind), _KINDS)}")
    whole(z, "z", 1)
    if above_zero(share, "share") > 1:
        raise EditError(f"share= is above 0 and at most 1, not {share!r}")
    return Hypernetwork(model, layers, z, kind, share)


class Hypernetwork(nn.Module):
    """A network and the generators of its weights; see `hyper`.

    Attributes:
        kind: "static", "dual" or "nested".
        body: The network, which has no parameters in place of the weights that are made.
        generators: What makes them.
    """

    def __init__(self, model: Graph, layers: str | Sequence[str], z: int, kind: str, share: float) -> None:
        super().__init__()
        source = model.to_module() if model.rewired else model.module
        weights = _weights(model, source, layers)
        self.kind, self._plain = kind, sum(each.numel() for each in source.parameters())
        self._generated = sum(each.numel() for each in weights.values())
        reading, code = None, 0
        if kind == "dual":
            code = max(1, z // _CODE)
            reads = {name: _reads(model, name) for name in weights}
            reading = Reading({name: sum(n for _, n in each) for name, each in reads.items()}, code)
        shapes = {name: tuple(each.shape) for name, each in weights.items()}
        self.generators = nn.ModuleList()
        self._maker: dict[str, int] = {}
        for plan in generator_plans(shapes, z, kind, share, reading):
            self._maker.update(dict.fromkeys(plan.shapes, len(self.generators)))
            self.generators.append(_generator(plan, weights, code))
        self.body = deep_copy(source)
        self._orders: dict[str, list[str]] = {}
        for name, weight in weights.items():
            self._empty(name, weight)
        if kind == "dual":
            self._place(weights, reads, code)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network with the weights that are made."""
        if self.kind == "dual":
            return self.body(*args, **kwargs)
        return functional_call(self.body, self.weights(), args, kwargs)

    def weights(self) -> dict[str, Tensor]:
        """The weights that are made, by their names in the network; of "dual", those without any example."""
        made: dict[str, Tensor] = {}
        for generator in self.generators:
            made.update(generator())
        return made

    @property
    def parameters_saved(self) -> float:
        """The share of the network's parameters that this one does without."""
        return 1 - sum(each.numel() for each in self.parameters()) / self._plain

    def network(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Give the plain network, with the weights written into parameters.

        Args:
            args: For "dual", the example whose weights these are to be, as a batch of one.
            kwargs: Its keyword arguments.

        Raises:
            EditError: "dual", and no single example is given, or it calls a layer several times.
        """
        if self.kind == "dual":
            made = self._of_example(*args, **kwargs)
        elif args or kwargs:
            raise EditError(f'the weights of kind="{self.kind}" depend on no example: say network()')
        else:
            with torch.no_grad():
                made = self.weights()
        plain = copy.deepcopy(self.body)
        for path, module in list(plain.named_modules()):
            if isinstance(module, ExampleWeights):
                plain.set_submodule(path, module.layer)
        for name, weight in made.items():
            owner, own = _owner(plain, name)
            del owner._buffers[own]
            owner._non_persistent_buffers_set.discard(own)
            owner.register_parameter(own, nn.Parameter(weight.detach().clone()))
        for path, order in self._orders.items():
            owner = plain.get_submodule(path)
            owner._parameters = {own: owner._parameters[own] for own in order}
        return plain

    def extra_repr(self) -> str:
        """The kind, and the parameters of both."""
        here = sum(each.numel() for each in self.parameters())
        return (
            f"kind={self.kind!r}, {self._generated:,} weights made; {here:,} parameters in place of "
            f"{self._plain:,}"
        )

    def _empty(self, name: str, weight: Tensor) -> None:
        """Have a buffer of no memory in place of a parameter."""
        owner, own = _owner(self.body, name)
        self._orders.setdefault(name.rpartition(".")[0], list(owner._parameters))
        del owner._parameters[own]
        owner.register_buffer(own, weight.new_zeros(()).expand(weight.shape), persistent=False)

    def _place(
        self, weights: Mapping[str, Tensor], reads: Mapping[str, list[tuple[int, int]]], code: int
    ) -> None:
        """Have the layers make weights for each example."""
        layers: dict[str, list[str]] = {}
        for name in weights:
            layers.setdefault(name.rpartition(".")[0], []).append(name)
        for path, names in layers.items():
            dims, features = zip(*reads[names[0]], strict=True)
            made = {name.rpartition(".")[2]: (self._generator(name), name) for name in names}
            layer, like = self.body.get_submodule(path), weights[names[0]]
            wrapped = ExampleWeights(path, layer, dims, sum(features), code, made, like)
            self.body.set_submodule(path, wrapped)

    def _generator(self, name: str) -> WeightGenerator:
        return cast("WeightGenerator", self.generators[self._maker[name]])

    def _example_layers(self) -> Iterator[tuple[str, ExampleWeights]]:
        for path, module in self.body.named_modules():
            if isinstance(module, ExampleWeights):
                yield path, module

    def _of_example(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The weights of one example."""
        if not args and not kwargs:
            raise EditError(
                'the weights of kind="dual" depend on the example: say network(x), x a batch of one'
            )
        made: dict[str, Tensor] = {}
        try:
            for _, layer in self._example_layers():
                layer.kept = []
            with torch.no_grad():
                self.body(*args, **kwargs)
            for path, layer in self._example_layers():
                calls = layer.kept or []
                examples = len(next(iter(calls[0].values()))) if calls else 0
                if (len(calls), examples) != (1, 1):
                    raise EditError(
                        f"{path!r} had {len(calls)} calls of {examples} examples, and one network has the "
                        "weights of one call of one"
                    )
                made.update({f"{path}.{own}": weight[0] for own, weight in calls[0].items()})
        finally:
            for _, layer in self._example_layers():
                layer.kept = None
        return made


def _generator(plan: GeneratorPlan, weights: Mapping[str, Tensor], code: int) -> WeightGenerator:
    """The generator of a plan."""
    some = {name: weights[name] for name in plan.shapes}
    generator = WeightGenerator(plan, some, code)
    if plan.inner:
        graph = capture(generator.network, generator.rows[:1].detach())
        both = ["0.weight", "1.weight"]
        generator.network = Hypernetwork(graph, both, plan.inner, "static", INNER_SHARE)
        generator.match(some)
    return generator


def _weights(model: Graph, source: nn.Module, layers: str | Sequence[str]) -> dict[str, nn.Parameter]:
    """The weights to make, by name."""
    parts = named_parts(model, layers, "layers")
    mine = dict(model.module.named_parameters(remove_duplicate=False))
    names: dict[int, list[str]] = {}
    found: dict[str, nn.Parameter] = {}
    for name, each in source.named_parameters(remove_duplicate=False):
        names.setdefault(id(each), []).append(name)
        if id(mine.get(name)) not in parts:  # a network made of a graph has the parameters by the same names
            continue
        if is_lazy(each):
            raise EditError(f"{name!r} has no shape yet: run the network once before")
        if sum(size > 1 for size in each.shape) > 1 and each.is_floating_point():
            found.setdefault(names[id(each)][0], each)
    if not found:
        raise EditError(
            f"layers={layers!r} names nothing with weights: only biases, norms or layers without parameters"
        )
    for name, each in found.items():
        if len(names[id(each)]) > 1:
            raise EditError(
                f"{' and '.join(map(repr, names[id(each)]))} are one parameter: a weight that is shared "
                "stays one, so leave these out of layers="
            )
        if not bool(each.isfinite().all()):
            raise EditError(f"{name!r} holds values that are no finite numbers: initialise it anew")
        if not float(each.detach().std(correction=0)) > 0:
            raise EditError(
                f"all numbers of {name!r} are equal, and weights that are made start with the variance that "
                "is there: initialise it, or leave it out of layers="
            )
    kinds = {(each.dtype, each.device) for each in found.values()}
    if len(kinds) > 1:
        raise EditError("the weights have several types or devices: move them to one, or name those of one")
    return found


def _reads(model: Graph, name: str) -> list[tuple[int, int]]:
    """The axis and number of the features of each tensor that a weight's layer is given."""
    path = name.rpartition(".")[0]
    layer = model.module.get_submodule(path)
    calls = [vertex for vertex in model if vertex.target is layer]
    if layer is model.module or not calls:
        raise EditError(
            f"{name!r} is no weight of a layer that the example reaches as one call, and only such layers "
            'have weights for each example: leave it out of layers=, or take kind="static"; a network that '
            "is a single layer needs one around it, as of nn.Sequential(network)"
        )
    dims = neuron_dimensions(model)

    def given(vertex: Vertex) -> list[tuple[int, int]]:
        """The axes and sizes of one call."""
        stubs = [stub for stub in stubs_in((vertex.args, vertex.kwargs)) if len(stub.shape) > 1]
        return [(dims[tensor_key(stub)], stub.shape[dims[tensor_key(stub)]]) for stub in stubs]

    found = [given(vertex) for vertex in calls]
    if any(each != found[0] for each in found) or not found[0] or any(not dim for dim, _ in found[0]):
        raise EditError(
            f"the calls of {path!r} are given other tensors each time, or none with a batch: leave it out of "
            'layers=, or take kind="static"'
        )
    return found[0]


def _owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that has a parameter, and the parameter's name there."""
    path, _, own = name.rpartition(".")
    return network.get_submodule(path), own
