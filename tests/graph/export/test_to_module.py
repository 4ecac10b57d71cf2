from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.ir.pytree import leaves
from naivegraph.network import capture
from tests.networks import capture as networks
from tests.networks.capture import NETWORKS


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETWORKS)
def test_module_repeats_the_network(name: str) -> None:
    build, shape = NETWORKS[name]
    module = build().eval()
    exported = copy.deepcopy(capture(module, torch.randn(shape), verify="recorded").to_module())
    assert not exported.training
    x = torch.randn(shape[0] + 1, *shape[1:])
    for training in (False, True):
        module.train(training)
        exported.train(training)
        torch.manual_seed(1)
        expected = module(x.clone())
        torch.manual_seed(1)
        found = exported(x.clone())
        for one, two in zip(leaves(expected), leaves(found), strict=True):
            torch.testing.assert_close(two, one)


@pytest.mark.parametrize("name", NETWORKS)
def test_module_shares_nothing_and_trains(name: str) -> None:
    build, shape = NETWORKS[name]
    module = build()
    exported = capture(module, torch.randn(shape), verify="recorded").to_module()
    original = {parameter.data_ptr() for parameter in module.parameters()}
    assert not original & {parameter.data_ptr() for parameter in exported.parameters()}
    assert len(list(exported.parameters())) == len(original)
    next(iter(leaves(exported(torch.randn(shape))))).sum().backward()
    assert any(parameter.grad is not None for parameter in exported.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_torch_export_takes_it() -> None:
    x = torch.randn(2, 5, 8)
    module = networks.Attention(networks.Config(8, 2)).eval()
    exported = torch.export.export(capture(module, x).to_module(), (x,))
    torch.testing.assert_close(exported.module()(x), module(x))


class Powers(nn.Module):
    """Operators whose functions call themselves by the name of another one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x**x
        y **= 2.0
        return 1 / y + 2.0**x


def test_operators_that_go_by_another_name() -> None:
    x = torch.rand(2, 3) + 1
    torch.testing.assert_close(capture(Powers(), x).to_module()(x + 1), Powers()(x + 1))


class Options(nn.Module):
    """Takes plain values besides tensors, and computes with a number of numpy's."""

    def forward(
        self, x: torch.Tensor, scale: bool = False, *, y: torch.Tensor, way: str = "add"
    ) -> torch.Tensor:
        y = y * np.float64(0.5) if scale else y
        return x + y if way == "add" else x - y


def test_plain_values_may_be_given_as_captured() -> None:
    x, y = torch.rand(2, 3), torch.rand(2, 3)
    module = capture(Options(), (x,), {"y": y, "scale": True, "way": "subtract"}).to_module()
    torch.testing.assert_close(module(y, y=x, scale=True, way="subtract"), y - x / 2)
    torch.testing.assert_close(module(y, y=x), y - x / 2)
    with pytest.raises(ng.NaivegraphError, match="captured with True for the argument 'scale', not False"):
        module(x, y=y, scale=False)


def test_tied_parameters_stay_tied() -> None:
    exported = capture(networks.Tied(), torch.tensor([[1, 2]])).to_module()
    assert exported.get_parameter("embed.weight") is exported.get_parameter("decode.weight")


@pytest.mark.parametrize("kind", ["tuple", "dict", "named", "dataclass", "output", "cache"])
def test_outputs_of_any_shape(kind: str) -> None:
    x = torch.randn(2, 3)
    module = networks.Structured()
    exported = capture(module, x, {"kind": kind}).to_module()
    other = torch.randn(4, 3)
    expected, found = module(other, kind=kind), exported(other)
    assert type(found) is type(expected)
    for one, two in zip(leaves(expected), leaves(found), strict=True):
        assert torch.equal(two, one) if isinstance(one, torch.Tensor) else two == one


def test_own_autograd_function() -> None:
    exported = capture(networks.UsesDouble(), torch.randn(2, 4)).to_module()
    x = torch.randn(2, 4, requires_grad=True)
    exported(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((2, 4), 7.0))


def test_flags_are_carried_over() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    module[0].eval()
    exported = capture(module, torch.randn(4, 3)).to_module()
    assert (exported.training, exported.get_submodule("0").training) == (True, False)


class Packed(nn.Module):
    """A layer that takes and gives a packed sequence, which is returned, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.gru = nn.GRU(4, 5, batch_first=True)

    def forward(self, x: torch.Tensor) -> nn.utils.rnn.PackedSequence:
        packed = nn.utils.rnn.pack_padded_sequence(self.first(x), torch.tensor([4, 2]), batch_first=True)
        found: nn.utils.rnn.PackedSequence = self.gru(packed)[0]
        return found


def test_packed_sequences_are_exported_and_copied() -> None:
    net, x = Packed().eval(), torch.randn(2, 4, 3)
    exported = copy.deepcopy(capture(net, x).to_module())
    other = torch.randn(2, 4, 3)
    found, expected = exported(other), net(other)
    assert type(found) is type(expected)
    torch.testing.assert_close(found.data, expected.data)
    assert torch.equal(found.batch_sizes, expected.batch_sizes)


class Named(nn.Module):
    """Arguments are called as functions of Python are, as code of torch.fx does not call its values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(
        self, input: torch.Tensor, input_1: torch.Tensor, sum: torch.Tensor, sum_1: torch.Tensor
    ) -> torch.Tensor:
        result: torch.Tensor = self.layer(input) - 2 * input_1 + 3 * sum - 4 * sum_1
        return result


def test_arguments_called_as_functions_of_python_are_kept_apart() -> None:
    net, given = Named(), tuple(torch.randn(4, 2, 3))
    graph = capture(net, given)
    assert torch.equal(graph.to_module()(*given), net(*given))
    assert torch.equal(ng.Structure.of(graph).module()(*given), net(*given))
    two = ng.surgery.merge_models({"one": graph, "two": capture(Named(), given)}, outputs="dict", copy=True)
    assert torch.equal(two(*given)["one"], net(*given))
    part = ng.surgery.cut(graph, inputs=[vertex.name for vertex in graph.inputs])
    assert torch.equal(part(*given), net(*given))
