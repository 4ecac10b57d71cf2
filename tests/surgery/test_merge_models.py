"""Several networks as one."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.ir.pytree import leaves
from naivegraph.network import Graph, capture
from tests.networks.plain import ALL, Network, by_name, randomised

merge_models = ng.surgery.merge_models


def small(hidden: int = 8, inputs: int = 4) -> nn.Module:
    return randomised(
        nn.Sequential(
            nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 3)
        )
    )


def graphs(*nets: nn.Module, x: Tensor | None = None) -> dict[str, Graph]:
    example = torch.randn(5, 4) if x is None else x
    return {name: capture(net, example) for name, net in zip(("one", "two"), nets, strict=False)}


@pytest.mark.parametrize("training", [False, True])
def test_shared_input_and_each_kind_of_output(training: bool) -> None:
    nets, x = [small(8).train(training), small(6).train(training)], torch.randn(5, 4)
    expected = [net(x) for net in copy.deepcopy(nets)]
    both = graphs(*nets)
    found = merge_models(both)
    assert found.module.training is training
    out = copy.deepcopy(found)(x)
    assert list(out) == ["one", "two"]
    assert all(map(torch.equal, out.values(), expected))
    as_tuple = copy.deepcopy(merge_models(both, outputs="tuple"))(x)
    assert isinstance(as_tuple, tuple)
    assert all(map(torch.equal, as_tuple, expected))
    mean = copy.deepcopy(merge_models(both, outputs="mean"))(x)
    torch.testing.assert_close(mean, (expected[0] + expected[1]) / 2)
    largest = merge_models(both, outputs=lambda outs: torch.maximum(outs["one"], outs["two"]))
    torch.testing.assert_close(copy.deepcopy(largest)(x), torch.maximum(*expected))
    assert [v.name for v in found if v.kind == "layer"][:2] == ["one.0", "one.1"]
    assert found.module.get_parameter("one.0.weight") is nets[0].get_parameter("0.weight")
    copied = merge_models(both, copy=True)
    assert copied.module.get_parameter("one.0.weight") is not nets[0].get_parameter("0.weight")


@pytest.mark.parametrize("network", ALL, ids=str)
def test_networks_of_all_kinds_beside_a_small_one(network: Network) -> None:
    model, inputs = network.make()
    other = small()
    x = torch.randn(2, 4)
    merged = merge_models({"one": capture(model, inputs, verify=False), "other": capture(other, x)}, {
        "mine": {"other": "input"}
    })  # fmt: skip
    named = {
        vertex.name: value
        for vertex, value in zip(capture(model, inputs, verify=False).inputs, inputs, strict=True)
    }
    out = merged(**named, mine=x)
    one = [leaf for leaf in leaves(out["one"]) if isinstance(leaf, Tensor)]
    expected = [leaf for leaf in leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    for found, wanted in zip(one, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert torch.equal(out["other"], other(x))


def test_renamed_inputs() -> None:
    one, two = small(8, 4), small(8, 7)
    x, y = torch.randn(5, 4), torch.randn(5, 7)
    both = {"one": capture(one, x), "two": capture(two, y)}
    merged = merge_models(both, {"image": {"one": "input"}})
    assert [vertex.name for vertex in merged.inputs] == ["image", "input"]
    out = merged(image=x, input=y)
    assert torch.equal(out["one"], one(x))
    assert torch.equal(out["two"], two(y))
    same = merge_models(graphs(small(), small()), {"x": {"one": "input", "two": "input"}})
    assert [vertex.name for vertex in same.inputs] == ["x"]
    apart = merge_models(graphs(one, one), {"a": {"one": "input"}, "b": {"two": "input"}})
    out = apart(x, -x)
    assert torch.equal(out["one"], one(x))
    assert torch.equal(out["two"], one(-x))


def test_pruned_edited_saved_and_exported(tmp_path: Path) -> None:
    nets, x = [small(8), small(6)], torch.randn(5, 4)
    merged = merge_models(graphs(*nets), outputs="mean")
    edit = ng.prune(merged, macs=0.5)
    assert edit.after.macs <= 0.5 * edit.before.macs
    assert len(nets[0].get_parameter("0.bias")) + len(nets[1].get_parameter("0.bias")) == 7
    torch.testing.assert_close(merged(x), (nets[0](x) + nets[1](x)) / 2)
    torch.testing.assert_close(merged.to_module()(x), merged(x))
    torch.testing.assert_close(pickle.loads(pickle.dumps(merged))(x), merged(x))
    ng.save(merged, tmp_path / "both.safetensors")
    fresh = merge_models(graphs(small(8), small(6)), outputs="mean")
    ng.load(fresh, tmp_path / "both.safetensors")
    assert torch.equal(fresh(x), merged(x))
    edit.undo()
    assert len(nets[0].get_parameter("0.bias")) == 8
    ng.remove(merged, "two.2")
    second = nn.Sequential(*(nets[1].get_submodule(name) for name in ("0", "1", "3")))
    expected = (nets[0](x) + second(x)) / 2
    torch.testing.assert_close(merged(x), expected)
    connected = merge_models(graphs(small(8), small(8)))
    ng.insert(connected, lambda n: nn.Linear(n, n), after="one.3", name="one.more")
    assert "one.more" in connected


def test_edited_graphs_are_merged_as_they_are() -> None:
    both, x = graphs(small(), small()), torch.randn(5, 4)
    ng.remove(both["one"], "2")
    expected = both["one"](x)
    merged = merge_models(both)
    assert torch.equal(merged(x)["one"], expected)
    shared = {id(p) for p in both["one"].parameters()}
    assert shared <= {id(p) for p in merged.parameters()}
    with pytest.raises(ng.EditError, match="does not know of the edit"):
        both["one"].module(x)


def test_residual_networks_make_an_ensemble() -> None:
    (one, (x,)), (two, _) = by_name("Residual").make(seed=1), by_name("Residual").make(seed=2)
    merged = merge_models({"a": capture(one, x), "b": capture(two, x)}, outputs="mean")
    torch.testing.assert_close(merged(x), (one(x) + two(x)) / 2)
    ng.resize(merged, {"a.first.0": -2})
    torch.testing.assert_close(merged(x), (one(x) + two(x)) / 2)


def test_wrong_arguments() -> None:
    both, x = graphs(small(), small()), torch.randn(5, 4)

    def refused(match: str, models: Any = both, **options: Any) -> None:
        with pytest.raises(ng.EditError, match=match):
            merge_models(models, **options)

    refused("takes a dict of graphs by the names of parts", models=[both["one"]])
    refused("takes a dict of graphs by the names of parts", models={})
    refused("'one' is a Sequential, not a graph: give ng.capture", models={"one": small()})
    for name in ("a.b", "forward", "graph", "1"):
        refused(f"'{name}' cannot be the name of a part", models={name: both["one"]})
    refused("inputs= names the network 'tow'; did you mean 'two'", inputs={"x": {"tow": "input"}})
    refused("inputs= names the input 'inptu' of 'one'; did you mean 'input'", inputs={"x": {"one": "inptu"}})
    refused(
        "inputs= names the input 'input' of 'one' twice",
        inputs={"x": {"one": "input"}, "y": {"one": "input"}},
    )
    refused("inputs= has 'input' for 'x': give for the name of an input a dict", inputs={"x": "input"})
    refused("keeps its name, which inputs= gives to another", inputs={"input": {"one": "input"}})
    refused("outputs='sum': give 'dict', 'tuple', 'mean' or a function of a dict", outputs="sum")
    sizes = {"one": capture(small(8, 4), x), "two": capture(small(8, 7), torch.randn(5, 7))}
    refused(
        r"the input 'input' of 'one' is \(5, 4\) of float32 and 'input' of 'two' \(5, 7\) of float32",
        models=sizes,
    )

    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.sin(), x.cos()

    refused(
        "'one' returns a tuple, of which there is no mean",
        models={"one": capture(Two(), x)},
        outputs="mean",
    )
    wide = {"one": capture(nn.Linear(4, 2), x), "two": capture(nn.Linear(4, 3), x)}
    refused(
        r"'one' returns a tensor of shape \(5, 2\) and 'two' one of \(5, 3\): no mean",
        models=wide,
        outputs="mean",
    )
