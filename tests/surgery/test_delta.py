"""Differences between networks."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.graph.torch_utils.module_paths import tensors_of
from tests.networks.plain import ALL, TRAPS, Network, randomised

WeightDelta, delta = ng.surgery.WeightDelta, ng.surgery.delta


def net(seed: int, size: int = 6, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    made = randomised(nn.Sequential(nn.Linear(4, size, **options), nn.BatchNorm1d(size), nn.Linear(size, 2)))
    made.get_buffer("1.num_batches_tracked").fill_(seed)
    return made


@pytest.mark.parametrize("network", [*ALL, *TRAPS], ids=str)
def test_the_difference_leads_from_one_to_the_other(network: Network) -> None:
    (one, _), (two, _) = network.make(torch.float64, seed=1), network.make(torch.float64, seed=2)
    found = delta(one, two)
    before = copy.deepcopy(one.state_dict())
    edit = found.apply(one)
    for name, value in two.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value)
    edit.undo()
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


def test_arithmetic_by_hand() -> None:
    base, one, two = net(0), net(3), net(5)
    a, b = delta(base, one), delta(base, two)
    cases: list[tuple[Any, float, float]] = [
        (a, 1, 0), (a + b, 1, 1), (a - b, 1, -1), (-a, -1, 0), (2 * a, 2, 0), (a / 2, 0.5, 0),
        (0.3 * (a + b), 0.3, 0.3), (sum([a, b]), 1, 1),
    ]  # fmt: skip
    for found, first, second in cases:
        made = copy.deepcopy(base)
        edit = found.apply(made)
        also = found + base
        for name, tensor in tensors_of(base).items():
            x, y = tensors_of(one)[name], tensors_of(two)[name]
            expected = tensor + first * (x - tensor) + second * (y - tensor)
            if not tensor.is_floating_point():
                expected = expected.round().long()
            for result in (made, also):
                assert tensors_of(result)[name].dtype == tensor.dtype
                if tensor.is_floating_point():
                    torch.testing.assert_close(tensors_of(result)[name], expected, rtol=1e-5, atol=1e-6)
                else:
                    assert abs(int(tensors_of(result)[name]) - int(expected)) <= 1
        assert edit
    twice = copy.deepcopy(base)
    a.apply(twice, 2.0)
    torch.testing.assert_close(twice.state_dict(), ((2 * a) + base).state_dict())


def test_networks_and_graphs_plus_a_delta() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.fc(x)
            return out

    one, two, x = Net(), Net(), torch.randn(3, 4)
    found = delta(one, two)
    for made in (one + found, two - found, ng.capture(one, x) + found, found + one, found.added_to(one)):
        other = one if made(x).sub(two(x)).abs().max() > 1e-5 else two
        torch.testing.assert_close(made(x), other(x))
    torch.testing.assert_close((one + found)(x), two(x))
    torch.testing.assert_close((two - found)(x), one(x))
    assert not torch.equal(one(x), two(x))
    with pytest.raises(TypeError):
        found + 1
    with pytest.raises(TypeError):
        found * found


def test_undo_and_optimizer() -> None:
    base, found = net(0), delta(net(0), net(1))
    optimizer = torch.optim.SGD(base.parameters(), lr=0.1, momentum=0.9)
    graph = ng.capture(base, torch.ones(2, 4))
    edit = found.apply(graph, 0.5, optimizer=optimizer)
    assert dict(edit.asked) == {"delta": 0.5}
    assert edit.change.refitted == tuple(found.tensors)
    base(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    edit.undo()
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), net(0).parameters(), strict=True))
    assert not optimizer.state


def test_files(tmp_path: Path) -> None:
    path, found = tmp_path / "task.safetensors", delta(net(0), net(1))
    found.save(path)
    for again in (WeightDelta.load(path), pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert again.tensors.keys() == found.tensors.keys()
        assert all(torch.equal(tensor, found.tensors[name]) for name, tensor in again.tensors.items())
    assert "WeightDelta(9 tensors, " in repr(found)
    with pytest.raises(
        ng.LoadError, match=r"holds a difference of two networks: ng\.surgery\.WeightDelta\.load"
    ):
        ng.load(net(0), path)
    ng.save(net(0), path)
    with pytest.raises(ng.LoadError, match=r"holds a network, not a difference of two: ng\.load reads it"):
        WeightDelta.load(path)
    with pytest.raises(ng.LoadError, match="there is no file"):
        WeightDelta.load(tmp_path / "other.safetensors")
    found.save(path)
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(ng.LoadError, match="is damaged"):
        WeightDelta.load(path)


def test_tied_unsaved_and_shared_tensors() -> None:
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        made.get_submodule("1").register_parameter("weight", made.get_parameter("0.weight"))
        made.register_buffer("mask", torch.ones(2, dtype=torch.bool))
        made.register_buffer("table", torch.full((2,), float(seed)), persistent=False)
        return made

    one, two = make(1), make(2)
    found = delta(one, two)
    assert sorted(found.tensors) == ["0.bias", "0.weight", "1.bias"]
    found.apply(one)
    torch.testing.assert_close(one.get_parameter("1.weight"), two.get_parameter("1.weight"))
    two.get_buffer("mask").fill_(False)
    with pytest.raises(ng.EditError, match="differ in 'mask', whose values are true and false, not numbers"):
        delta(one, two)


def test_structures_that_differ() -> None:
    found, x = delta(net(0), net(1)), torch.ones(1, 4)
    before = copy.deepcopy(net(2, 5).state_dict())
    with pytest.raises(
        ng.EditError, match=r"'0.weight' has shape \(6, 4\) in the first and \(5, 4\) in the second"
    ):
        delta(net(0), net(1, 5))
    with pytest.raises(ng.EditError, match=r"the second has no '0.bias', which the first has"):
        delta(net(0), net(1, bias=False))
    other = net(2, 5)
    match = r"not of the structure of the delta: '0.weight' has shape \(5, 4\) in the network and \(6, 4\)"
    for call in (found.apply, found.added_to):
        with pytest.raises(ng.EditError, match=match):
            call(other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    with pytest.raises(ng.EditError, match=r"the network has no '0.bias', which the delta has"):
        found.apply(net(0, bias=False))
    with pytest.raises(ng.EditError, match=r"the delta has no '3.weight', which the network has"):
        found.apply(nn.Sequential(*net(0).children(), nn.Linear(2, 2)))
    with pytest.raises(
        ng.EditError, match=r"second delta is not of the structure of the first: '0.weight' has shape"
    ):
        found + delta(net(0, 5), net(1, 5))
    for scale in ("1", True, float("nan")):
        with pytest.raises(ng.EditError, match="scale= is a number"):
            found.apply(net(0), scale)  # type: ignore[arg-type]
    with pytest.raises(ng.EditError, match="a delta is made of tensors"):
        WeightDelta({})
    with pytest.raises(ng.EditError, match=r"takes a graph, .*, or a network"):
        delta(x, net(0))  # type: ignore[arg-type]
