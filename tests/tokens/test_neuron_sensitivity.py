"""SeReNe's sensitivity against finite differences and autograd of plain modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.errors import EditError
from naivegraph.tokens import Frame, graph_sensitivity, sensitivity
from tests.tokens.random_networks import FRAMES, inputs_of, name_of, random_networks

STEP = 1e-6


def _difference(module: nn.Module, layer: nn.Module, x: torch.Tensor, neuron: int) -> float:
    """The mean over outputs and samples of absolute central differences, summed over pixels."""

    def run(place: tuple[Any, ...], step: float) -> torch.Tensor:
        def add(_: nn.Module, __: object, out: torch.Tensor) -> torch.Tensor:
            changed = out.clone()
            at: tuple[Any, ...] = (slice(None), neuron, *place)
            changed[at] += step
            return changed

        hook = layer.register_forward_hook(add)
        try:
            with torch.no_grad():
                found: torch.Tensor = module(x)
        finally:
            hook.remove()
        return found

    places: list[tuple[Any, ...]] = [()]
    if x.dim() == 4:
        places = [(i, j) for i in range(x.shape[2]) for j in range(x.shape[3])]
    slopes = [(run(place, STEP) - run(place, -STEP)).abs().mean() / (2 * STEP) for place in places]
    return float(torch.stack(slopes).sum())


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_sensitivity_is_that_of_finite_differences(frame: Frame) -> None:
    networks = random_networks(frame, 4, seed=5)
    x = inputs_of(frame, 4, seed=6)
    found = sensitivity(networks, x)
    assert found.shape == networks.bias.shape
    assert not found[~networks.presence].any()
    compared = 0
    for i in range(4):
        module = networks.module(i)
        for layer in range(int((networks.operator[i, :-1] != 0).sum())):
            part = module.get_submodule(f"layer{layer + 1}")
            body = part.get_submodule("body") if hasattr(part, "body") else part
            before = body.get_submodule("norm" if frame.norm else "linear")
            places = networks.presence[i, layer].nonzero()[:, 0].tolist()
            for neuron, place in enumerate(places):
                expected = _difference(module, before, x, neuron)
                assert float(found[i, layer, place]) == pytest.approx(expected, rel=1e-4, abs=1e-8)
                compared += 1
        torch.testing.assert_close(
            found[i, -1, : frame.outputs], torch.full((frame.outputs,), 1 / frame.outputs).double()
        )
    assert compared > 3


def test_captured_networks_have_it_too() -> None:
    frame = FRAMES[2]
    networks = random_networks(frame, 6, seed=5)
    number = int((networks.operator != 0).sum(1).argmax())
    x = inputs_of(frame, 4, seed=6)
    graph = ng.capture(networks.module(number), x[:1])
    found = graph_sensitivity(graph, x)
    assert set(found) == {"layer1.linear", "layer2.linear", "head"}
    batch = sensitivity(networks[number], x)[0]
    for layer in range(2):
        there = networks.presence[number, layer]
        torch.testing.assert_close(found[f"layer{layer + 1}.linear"], batch[layer, there])
    assert not graph.interventions
    with pytest.raises(EditError, match=r"gives torch\.int64"):
        graph_sensitivity(ng.capture(_Looked(), torch.ones(2, 3)), torch.ones(2, 3), ["long"])


class _Looked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.table(x.long())
        return found


def test_no_samples_are_told() -> None:
    with pytest.raises(ValueError, match="no samples"):
        sensitivity(random_networks(FRAMES[0], 1, seed=0), torch.ones(0, 3))
