"""Every number that growth puts into a network has a value, whatever a layer carries beside its weights.

Torch fills memory that it gives without a value with NaN here, so that nothing can be left as it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as untyped

import naivegraph as ng

prune: Any = untyped
Make = Callable[[int, int], nn.Module]

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    assert bool(torch.empty(4).isnan().all())
    yield
    torch.use_deterministic_algorithms(False)


class Gained(nn.Linear):
    """With a gain for each output and a mask, neither of which its class initialises."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.gain = nn.Parameter(torch.rand(outputs) + 0.5)
        self.register_buffer("mask", (torch.rand(outputs, inputs) > 0.3).float())

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight * self.mask, self.bias) * self.gain


class Shifted(nn.Linear):
    """With a gain and a shift for each input."""

    shift: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.gain = nn.Parameter(torch.rand(inputs) + 0.5)
        self.register_buffer("shift", torch.randn(inputs))

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input * self.gain + self.shift, self.weight, self.bias)


class GainedConvolution(nn.Conv2d):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(outputs, 1, 1, 1) + 0.5)

    def forward(self, input: Tensor) -> Any:
        return self._conv_forward(input, self.weight * self.gain, self.bias)


class Unchanged(nn.Module):
    """A parametrization whose result is its argument, so that writing into one writes into the other."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight


def unchanged(inputs: int, outputs: int) -> nn.Module:
    layer = nn.Linear(inputs, outputs)
    parametrize.register_parametrization(layer, "weight", Unchanged())
    return layer


def convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def transposed(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 3, padding=1)


LINEAR: dict[str, Make] = {
    "plain": nn.Linear,
    "old weight norm": lambda i, o: nn.utils.weight_norm(nn.Linear(i, o)),
    "old weight norm of inputs": lambda i, o: nn.utils.weight_norm(nn.Linear(i, o), dim=1),
    "weight norm": lambda i, o: parametrizations.weight_norm(nn.Linear(i, o)),
    "old spectral norm": lambda i, o: nn.utils.spectral_norm(nn.Linear(i, o)),
    "spectral norm": lambda i, o: parametrizations.spectral_norm(nn.Linear(i, o)),
    "pruned": lambda i, o: prune.random_unstructured(nn.Linear(i, o), "weight", 0.5),
    "pruned by rows": lambda i, o: prune.ln_structured(nn.Linear(i, o), "weight", 0.5, 2, 0),
    "gained": Gained,
    "shifted": Shifted,
    "unchanged": unchanged,
}
IMAGES: dict[str, Make] = {
    "plain": convolution,
    "gained": GainedConvolution,
    "transposed": transposed,
    "old weight norm": lambda i, o: nn.utils.weight_norm(convolution(i, o)),
    "old weight norm, transposed": lambda i, o: nn.utils.weight_norm(transposed(i, o)),
    "weight norm, transposed": lambda i, o: parametrizations.weight_norm(transposed(i, o)),
    "old spectral norm": lambda i, o: nn.utils.spectral_norm(convolution(i, o)),
    "spectral norm, transposed": lambda i, o: parametrizations.spectral_norm(transposed(i, o)),
    "pruned": lambda i, o: prune.l1_unstructured(convolution(i, o), "weight", 0.5),
}
CASES = [(name, False) for name in LINEAR] + [(name, True) for name in IMAGES]


def network(name: str, images: bool) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    plain = convolution if images else nn.Linear
    middle = (IMAGES if images else LINEAR)[name](6, 5)
    model = nn.Sequential(plain(3, 6), nn.ReLU(), middle, nn.ReLU(), plain(5, 2))
    example = torch.randn(3, 3, *((4, 4) if images else ()))
    model(example)  # in train mode, which starts a spectral norm
    return model.eval(), example


def last_of(graph: ng.Graph, layer: str) -> str:
    """The vertex that gives a layer's result."""
    return [v.name for v in graph if v.name == layer or v.name.startswith(f"{layer}.")][-1]


@pytest.mark.parametrize("layer", ["0", "2"])
@pytest.mark.parametrize(("name", "images"), CASES)
def test_new_entries_have_values_and_the_function_is_kept_where_promised(
    name: str, images: bool, layer: str
) -> None:
    model, example = network(name, images)
    before = model(example).detach()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    graph = ng.capture(model, example)
    edit = ng.resize(graph, {last_of(graph, layer): +3})
    assert edit
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    assert all(float(value.abs().max()) < 1e3 for value in model.state_dict().values() if value.numel())
    if not edit.notes:
        torch.testing.assert_close(model(example), before, rtol=1e-4, atol=1e-5)
    model.train()(example).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    edit.undo()
    again = model.state_dict()
    trained = {key for key in state if key.rpartition(".")[2] in ("_u", "_v", "weight_u", "weight_v")}
    assert all(torch.equal(again[key], state[key]) for key in state.keys() - trained)


def test_what_is_there_is_not_initialised_anew() -> None:
    for name in LINEAR:
        model, example = network(name, images=False)
        weight = model[2].weight.detach().clone()
        edit = ng.resize(ng.capture(model, example), {"0": +2})
        if not edit.notes:
            model(example)
            torch.testing.assert_close(model[2].weight[:, :6].detach(), weight)


def test_new_entries_of_masks() -> None:
    """A mask of torch's lets new neurons through; one by hand that hides none repeats that of a neuron."""
    model, example = network("pruned by rows", images=False)
    ng.resize(ng.capture(model, example), {"0": +2, "2": +2})
    mask = model[2].weight_mask
    assert bool((mask[5:] == 1).all())
    assert bool((mask[:, 6:] == 1).all())
    model, example = network("gained", images=False)
    old = model[2].mask.clone()
    graph = ng.capture(model, example)
    ng.resize(graph, {last_of(graph, "2"): +2})
    torch.testing.assert_close(model[2].mask, torch.cat([old, old[:2]]))


def test_layers_with_more_than_weights_grow_after_insertion() -> None:
    for make in (Gained, Shifted, LINEAR["old weight norm"], LINEAR["pruned"]):
        torch.manual_seed(0)
        model, example = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)).eval(), torch.randn(3, 3)
        graph = ng.capture(model, example)
        ng.insert(graph, make(6, 6), after="0", name="new")
        before = graph(example)
        edit = ng.resize(graph, {"0": +3})
        assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
        if not edit.notes:
            torch.testing.assert_close(graph(example), before)


@pytest.mark.parametrize("make", [Gained, Shifted, LINEAR["weight norm"], LINEAR["pruned"]])
def test_a_layer_with_more_than_weights_is_not_taken_for_the_identity(make: Make) -> None:
    model, example = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 2)).eval(), torch.randn(3, 3)
    graph = ng.capture(model, example)
    with pytest.raises(ng.EditError, match="computes with more than its weight and bias"):
        ng.insert(graph, lambda size: make(size, size), after="0", identity=True)
    gained = Gained(6, 6)
    with torch.no_grad():
        gained.gain.fill_(1)
        gained.mask.fill_(1)
    before = graph(example)
    ng.insert(graph, gained, after="0", identity=True)
    torch.testing.assert_close(graph(example), before)


class MaskedRows(nn.Linear):
    """Masks, kept as buffers by hand: of weights and biases, or of neurons."""

    def __init__(self, inputs: int, outputs: int, shape: str) -> None:
        super().__init__(inputs, outputs)
        sizes = {
            "rows": (outputs,),
            "column": (outputs, 1),
            "entries": (outputs, inputs),
            "after": (1, outputs),
        }
        self.shape = shape
        self.register_buffer("mask", torch.ones(sizes[shape], dtype=torch.bool))
        self.mask: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.shape == "after":
            return super().forward(x) * self.mask
        mask = self.mask[:, None] if self.shape == "rows" else self.mask
        return torch.nn.functional.linear(x, self.weight * mask, self.bias)


@pytest.mark.parametrize("shape", ["rows", "column", "entries", "after"])
def test_masks_that_hide_neurons_let_new_ones_through(shape: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(MaskedRows(4, 6, shape), nn.ReLU(), MaskedRows(6, 3, shape)).eval()
    first = net.get_buffer("0.mask")
    first.view(-1, 6)[:, :4] = False if shape == "after" else first.view(-1, 6)[:, :4]
    if shape != "after":
        first[:4] = False
    x = torch.randn(5, 4)
    before, masked = net(x), first.clone()
    graph = ng.capture(net, x)
    edit = ng.resize(graph, {graph.inputs_of("2.linear")[0].name: +2})
    assert edit.function_kept
    torch.testing.assert_close(net(x), before)
    now = net.get_buffer("0.mask")
    assert bool(now[:, 6:].all() if shape == "after" else now[6:].all())
    edit.undo()
    assert torch.equal(net.get_buffer("0.mask"), masked)


def test_masks_of_connections_are_copied() -> None:
    """Each output of an autoregressive network (Germain et al., "MADE", 2015) knows the inputs before it."""

    class Autoregressive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 4)
            degree = torch.arange(6) % 3
            self.first: torch.Tensor
            self.second: torch.Tensor
            self.register_buffer("first", (degree[:, None] >= torch.arange(4)).float())
            self.register_buffer("second", (torch.arange(4)[:, None] > degree).float())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            function = torch.nn.functional.linear
            hidden = function(x, self.one.weight * self.first, self.one.bias).relu()
            return function(hidden, self.two.weight * self.second, self.two.bias)

    torch.manual_seed(0)
    net, x = Autoregressive(), torch.randn(1, 4)
    graph = ng.capture(net, x)
    assert ng.resize(graph, {"relu": +5}).function_kept
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    jacobian = torch.autograd.functional.jacobian(lambda given: net(given)[0], x)[:, 0]  # type: ignore[no-untyped-call]
    assert torch.equal(jacobian.triu(), torch.zeros(4, 4))
