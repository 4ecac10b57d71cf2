"""Addresses stay with their weights through edits, and codes are as random numbers are."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import naivegraph as ng
from naivegraph.weights.addresses import Addresses
from naivegraph.weights.codes import keys_of, normal_codes


def test_codes_are_normal_and_unrelated() -> None:
    keys = keys_of("0.weight", [np.arange(60), np.arange(50)], seed=0)
    codes = normal_codes(keys, 8)
    assert len(np.unique(keys)) == 3000
    assert stats.kstest(codes.reshape(-1), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(codes.T) - np.eye(8)).max() < 0.08
    near = codes.reshape(60, 50, 8)
    assert abs(np.corrcoef(near[1:].reshape(-1), near[:-1].reshape(-1))[0, 1]) < 0.03


def test_codes_depend_on_the_address_alone() -> None:
    all_of_it = normal_codes(keys_of("w", [np.arange(4), np.arange(3)], seed=1), 5).reshape(4, 3, 5)
    some = normal_codes(keys_of("w", [np.array([3, 1]), np.array([2])], seed=1), 5).reshape(2, 1, 5)
    assert (some == all_of_it[[3, 1]][:, [2]]).all()
    for name, seed in (("v", 1), ("w", 2)):
        assert (normal_codes(keys_of(name, [np.arange(4)], seed), 5) != all_of_it[:, 0]).all()


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))


def _by_value(net: nn.Module, addresses: Addresses) -> dict[float, tuple[float, ...]]:
    """The code of each weight, by the weight, which training has not touched."""
    weights = torch.cat([each.detach().reshape(-1) for each in net.parameters()])
    return {float(w): tuple(code) for w, code in zip(weights, addresses.codes().tolist(), strict=True)}


def test_codes_go_with_their_weights() -> None:
    net, x = _net(), torch.ones(1, 3)
    graph, addresses = ng.capture(net, x), Addresses(net, 4, seed=0)
    before = _by_value(net, addresses)
    edit = ng.resize(graph, {"0": -2, "2": 2})
    new = addresses.follow()
    after = _by_value(net, addresses)
    stayed = [w for w in after if w in before]
    assert all(after[w] == before[w] for w in stayed)
    count = sum(each.numel() for each in net.parameters())
    assert count - len(stayed) == sum(int(mask.sum()) for mask in new.values()) == 2 * 4 + 2 + 2
    assert len({tuple(code) for code in addresses.codes().tolist()} - set(before.values())) == 12
    edit.undo()
    assert not addresses.follow()
    assert _by_value(net, addresses) == before


def test_codes_of_the_same_size_again_are_new_ones() -> None:
    net = _net()
    graph, addresses = ng.capture(net, torch.ones(1, 3)), Addresses(net, 4, seed=0)
    first = {tuple(code) for code in addresses.codes().tolist()}
    ng.resize(graph, {"0": -3})
    ng.resize(graph, {"0": 3})
    new = addresses.follow()
    assert sum(int(mask.sum()) for mask in new.values()) == 3 * 3 + 3 + 5 * 3
    assert len({tuple(code) for code in addresses.codes().tolist()} - first) == 27


def test_layers_come_and_go() -> None:
    net = _net()
    graph, addresses = ng.capture(net, torch.ones(1, 3)), Addresses(net, 4, seed=0)
    before = addresses.codes()
    edit = ng.insert(graph, nn.Linear(6, 6), after="1")
    new = addresses.follow()
    assert sum(int(mask.sum()) for mask in new.values()) == 42
    assert len(addresses.codes()) == len(before) + 42
    edit.undo()
    addresses.follow()
    assert torch.equal(addresses.codes(), before)


def test_what_no_edit_tells_of_is_refused() -> None:
    net = _net()
    addresses = Addresses(net, 4, seed=0)
    net[0] = nn.Linear(3, 4)
    with pytest.raises(ng.EditError, match=r"'0.weight' is \(4, 3\), where the addresses of its weights are"):
        addresses.follow()


def test_edits_older_than_the_addresses_stay() -> None:
    net = _net()
    graph = ng.capture(net, torch.ones(1, 3))
    edit = ng.resize(graph, {"0": -1})
    addresses = Addresses(copy.deepcopy(net), 4, seed=0)
    addresses.follow()
    addresses = Addresses(net, 4, seed=0)
    edit.undo()
    with pytest.raises(ng.EditError, match="edits were taken back that are older than these addresses"):
        addresses.follow()
