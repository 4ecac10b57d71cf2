"""A network that was changed by hand after its capture is edited where possible, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


def captured() -> tuple[Any, Tensor, ng.Graph]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
    inputs = torch.randn(3, 4)
    return model, inputs, ng.capture(model, inputs)


ADDED: dict[str, Callable[[Any], object]] = {
    "module": lambda m: m.add_module("probe", nn.Linear(4, 4)),
    "parameter": lambda m: m[0].register_parameter("extra", nn.Parameter(torch.zeros(2))),
    "buffer": lambda m: m.register_buffer("seen", torch.zeros(())),
    "second name": lambda m: m[0].register_parameter("again", m[2].weight),
}
LOST: dict[str, Any] = {
    "module": lambda m: m.__delitem__(2),
    "parameter": lambda m: setattr(m[0], "bias", None),
    "parametrized": lambda m: nn.utils.parametrizations.weight_norm(m[0]),
}


@pytest.mark.parametrize("what", ADDED)
def test_what_is_new_is_left_alone(what: str) -> None:
    model, inputs, graph = captured()
    before = graph(inputs)
    ADDED[what](model)
    edit = ng.resize(graph, {"0": -8})
    assert model[0].out_features == model[2].in_features == 8
    assert ng.explain(graph, "0")
    assert graph.costs().params == sum(p.numel() for p in model.parameters())
    edit.undo()
    assert torch.equal(graph(inputs), before)


@pytest.mark.parametrize("what", LOST)
def test_what_is_gone_is_named_with_what_to_do(what: str) -> None:
    model, _, graph = captured()
    LOST[what](model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    verbs: list[Callable[[], object]] = [
        lambda: ng.resize(graph, {"0": -8}),
        lambda: ng.insert(graph, nn.ReLU(), after="0"),
    ]
    for verb in verbs:
        with pytest.raises(ng.EditError, match=r"has no '\d.(weight|bias)' any more.*capture it again"):
            verb()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_layer_put_in_place_of_another_is_refused() -> None:
    model, inputs, graph = captured()
    model[2] = nn.Linear(16, 2)
    before = model(inputs)
    with pytest.raises(ng.EditError, match="'2' is not the module at '2' any more"):
        ng.resize(graph, {"0": -8})
    assert torch.equal(model(inputs), before)
