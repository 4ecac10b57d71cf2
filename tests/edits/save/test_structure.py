"""Networks as data: made again they compute the same, whatever edits came before; what is none is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.ir.pytree import leaves
from tests.networks.plain import ALL, Network, by_name


def tensors(output: Any) -> list[torch.Tensor]:
    return [leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor)]


def equal(one: Any, two: Any) -> bool:
    pairs = list(zip(tensors(one), tensors(two), strict=True))
    return bool(pairs) and all(torch.equal(a, b) for a, b in pairs)


def through_json(structure: ng.Structure) -> ng.Structure:
    return ng.Structure(json.loads(structure.to_json()), structure.tensors)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, factor: float = 2.0) -> dict[str, torch.Tensor]:
        y = self.norm(self.stem(x)).relu() + self.scale * factor
        y = self.drop(y + self.stem(x))
        return {"out": self.head(y.mean((2, 3)).view(x.size(0), -1)), "part": y[:, :4]}


@pytest.mark.parametrize("network", ALL, ids=str)
def test_a_network_made_of_data_computes_the_same(network: Network) -> None:
    model, inputs = network.make()
    graph = ng.capture(model.eval(), inputs)
    structure = through_json(ng.Structure.of(graph))
    own = {path: copy.deepcopy(graph.to_module().get_submodule(path)) for path in structure.own_layers}
    again = structure.graph(own)
    assert [vertex.name for vertex in again] == [vertex.name for vertex in graph]
    assert equal(again(*inputs), model(*inputs))
    assert again.sizes == graph.sizes


def test_it_comes_back_from_a_file_after_any_edits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    graph = ng.capture(Residual().eval(), x)
    ng.insert(graph, nn.BatchNorm2d, after="stem", name="more")
    ng.resize(graph, {"stem": +3})
    ng.remove(graph, "drop")
    for _ in range(4):
        ng.resize(graph, {"stem": -1})
        ng.resize(graph, {"stem": +1})
    ng.Structure.of(graph).save(tmp_path / "net.safetensors")
    read = ng.Structure.load(tmp_path / "net.safetensors")
    again = read.graph()
    assert equal(again(x), graph(x))
    assert [vertex.name for vertex in again] == [vertex.name for vertex in graph]
    assert again.checks.keys() <= graph.checks.keys()
    assert all(not isinstance(data, str) or "resize" not in data for data in read.data)
    ng.resize(again, {"stem": -2})
    assert tensors(again(x))[0].shape == (2, 4)


def test_it_has_tensors_of_its_own_once_made() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    graph = ng.capture(net, torch.ones(1, 3))
    made = ng.Structure.of(graph).graph()
    with torch.no_grad():
        made.module.get_parameter("0.weight").zero_()
    assert bool(net.get_parameter("0.weight").any())


def test_tied_weights_stay_tied_and_frozen_ones_frozen() -> None:
    model, inputs = by_name("TiedEmbeddings").make()
    next(iter(model.parameters())).requires_grad_(False)
    made = ng.Structure.of(ng.capture(model, inputs)).module()
    assert made.get_parameter("decode.weight") is made.get_parameter("words.weight")
    old = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in made.named_parameters()} == old


def test_modes_come_back_part_by_part() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)).train()
    net[2].eval()
    made = ng.Structure.of(ng.capture(net, torch.ones(2, 3))).module()
    assert [made.training, *(m.training for m in made.children())] == [True, True, True, False]
    torch.manual_seed(3)
    expected = net(torch.ones(2, 3))
    torch.manual_seed(3)
    assert torch.equal(made(torch.ones(2, 3)), expected)


def doubling(features: int = 4) -> nn.Module:
    """A layer which its class and attributes do not make: a hook changes what it gives."""
    made = nn.Linear(3, features)
    made.register_forward_hook(lambda module, args, out: 2 * out)
    return made


def test_layers_of_ones_own_have_to_be_given() -> None:
    net = nn.Sequential(doubling(), nn.ReLU())
    x = torch.randn(2, 3)
    structure = ng.Structure.of(ng.capture(net, x))
    assert structure.own_layers == {"0": "torch.nn.modules.linear.Linear"}
    with pytest.raises(ng.EditError, match=r"'0' \(.*Linear\) is not one of torch.nn as its.*layers=\{'0'"):
        structure.graph()
    assert torch.equal(structure.graph({"0": doubling})(x), net(x))
    with pytest.raises(ng.EditError, match=r"0.weight is \(5, 3\) in the layer given and \(4, 3\)"):
        structure.graph({"0": doubling(5)})


def call_of(data: dict[str, Any], op: str) -> dict[str, Any]:
    found: dict[str, Any] = next(call for call in data["calls"][0] if call["op"] == op)
    return found


@pytest.mark.parametrize(
    ("op", "change", "message"),
    [
        ("call_method", {"target": "no_such"}, "'no_such' is no call"),
        ("call_function", {"target": "torch.save"}, "'torch.save' is no function of tensors"),
        ("call_function", {"target": "torch.from_file"}, "is no function of tensors"),
        ("call_module", {"target": "stem, x)"}, "is no name"),
        ("call_module", {"name": "a b"}, "is no name"),
        ("call_module", {"args": [{"node": "later"}]}, "there is no node 'later' before"),
        ("call_module", {"args": [{"file": "x"}]}, "is no argument"),
        ("call_module", {"args": [{"torch": "load"}]}, "no type, layout or memory format"),
        ("call_module", {"op": "call_python"}, "is no call"),
    ],
)
def test_what_is_no_network_is_refused(op: str, change: dict[str, Any], message: str) -> None:
    class Both(Residual):
        def forward(self, x: torch.Tensor, factor: float = 2.0) -> dict[str, torch.Tensor]:
            return {"out": torch.nn.functional.gelu(super().forward(x, factor)["out"])}

    structure = through_json(ng.Structure.of(ng.capture(Both(), torch.ones(1, 3, 4, 4))))
    call_of(structure.data, op).update(change)
    with pytest.raises(ng.LoadError, match=message):
        structure.graph()


def test_damaged_numbers_are_refused(tmp_path: Path) -> None:
    structure = ng.Structure.of(ng.capture(nn.Sequential(nn.Linear(3, 4)), torch.ones(1, 3)))
    part = {name: tensor for name, tensor in structure.tensors.items() if name != "0.bias"}
    with pytest.raises(ng.LoadError, match=r"0\.bias"):
        ng.Structure(structure.data, part).module()
    ng.save(nn.Linear(3, 4), tmp_path / "edits.safetensors")
    with pytest.raises(ng.LoadError, match="has edits of a network, not a structure"):
        ng.Structure.load(tmp_path / "edits.safetensors")
    structure.save(tmp_path / "net.safetensors")
    with pytest.raises(ng.LoadError, match=r"holds the structure of a network.*ng.Structure.load"):
        ng.load(nn.Sequential(nn.Linear(3, 4)), tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    "value",
    [1.5, float("inf"), 2j, ..., torch.device("cpu"), torch.channels_last, torch.strided, (1, [2, None])],
)
def test_arguments_come_back_as_they_were(value: Any) -> None:
    from naivegraph.edits.save.argument_codec import argument_from_json, argument_to_json

    back = argument_from_json(json.loads(json.dumps(argument_to_json(value))), {})
    assert back == value
    assert type(back) is type(value)


class InModes(nn.Module):
    """Positions without gradients, a product in another precision, and a weight norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 6))
        self.angle, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor, *, scaled: bool = False) -> torch.Tensor:
        y = self.layer(x)
        with torch.no_grad():
            turned = self.angle(y).mT.cos().mT
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = y.mT @ turned
        out: torch.Tensor = self.head(y @ mixed.float())
        return out * 2 if scaled else out


def test_calls_in_modes_of_torch_are_data(tmp_path: Path) -> None:
    net, x = InModes(), torch.randn(3, 5, 4)
    graph = ng.capture(net, x)
    ng.Structure.of(graph).save(tmp_path / "made.safetensors")
    again = ng.Structure.load(tmp_path / "made.safetensors").graph()
    assert torch.equal(again(x), net(x))
    for network in (net, again):
        network(x).sum().backward()
    assert net.angle.weight.grad is None
    made = dict(again.module.named_parameters())
    assert made["angle.weight"].grad is None
    torch.testing.assert_close(made["head.weight"].grad, net.head.weight.grad, rtol=0, atol=0)
    assert torch.equal(copy.deepcopy(again)(x), net(x))
    ng.resize(again, {"layer.linear": -2})
    assert again(x).isfinite().all()


def test_arguments_may_be_given_as_they_are_by_default() -> None:
    net, x = InModes(), torch.randn(3, 5, 4)
    graph = ng.capture(net, x)
    assert torch.equal(graph(x, scaled=False), net(x))
    with pytest.raises(
        ng.NaivegraphError, match="captured with its default for the argument 'scaled', not True"
    ):
        graph(x, scaled=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"function": "getattr"}, "'getattr' is no function of torch's"),
        ({"function": "torch.save"}, "'torch.save' is no function of tensors"),
        ({"attribute": "__class__"}, "'__class__' is no attribute of tensors"),
    ],
)
def test_nothing_but_functions_of_tensors_is_called_in_modes(change: dict[str, str], message: str) -> None:
    structure = through_json(ng.Structure.of(ng.capture(InModes(), torch.randn(3, 5, 4))))
    layers = structure.data["layers"]
    path = next(path for path, spec in layers.items() if "function" in spec)
    layers[path] = change
    with pytest.raises(ng.LoadError, match=message):
        structure.graph()


def test_nothing_but_layers_is_called_in_modes() -> None:
    structure = through_json(ng.Structure.of(ng.capture(InModes(), torch.randn(3, 5, 4))))
    call = next(c for c in structure.data["calls"][0] if c["target"] == "naivegraph.run_in")
    made = next(c for c in structure.data["calls"][0] if c["name"] == call["args"][0]["node"])
    made["target"] = "head.register_forward_hook"
    with pytest.raises(ng.LoadError, match="damaged"):
        structure.graph()


def test_labels_that_others_gave_a_layer_do_not_matter() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4)), torch.randn(2, 3)
    vars(net[0])["_initialized_by_somebody"] = True
    assert torch.equal(ng.Structure.of(ng.capture(net, x)).graph()(x), net(x))


@dataclasses.dataclass
class Found:
    """An output of a class of one's own."""

    first: torch.Tensor


def test_an_output_of_ones_own_class_is_told_with_the_way_out() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> Found:
            return Found(self.layer(x))

    net, x = Net(), torch.randn(2, 3)
    graph = ng.capture(net, x)
    structure = ng.Structure.of(graph)
    with pytest.raises(
        ng.EditError, match=r"returns a .*Found, which cannot be data: capture one that returns"
    ):
        structure.graph()
    own = {path: graph.to_module().get_submodule(path) for path in structure.own_layers}
    assert torch.equal(structure.graph(own)(x).first, net(x).first)
