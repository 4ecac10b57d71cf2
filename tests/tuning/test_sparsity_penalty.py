"""The penalty against norms of groups gathered by hand, and through edits."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.extend.example_networks import Attention
from tests.networks.plain import ALL, Network
from tests.oracle import mask_of, snapshot, unchanged

X = torch.ones(1, 4)


def chain() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).eval()


def squares_by_hand(net: Any) -> Tensor:
    parts = net[0].weight.square().sum(1) + net[0].bias.square() + net[3].weight.square().sum(0)
    found: Tensor = parts + net[1].weight.square() + net[1].bias.square()
    return found


def test_group_lasso_is_the_sum_of_norms_times_the_root_of_their_counts() -> None:
    net = chain()
    found = ng.sparsity_penalty(net, X, strength=0.5)()
    count = 4 + 1 + 3 + 2
    torch.testing.assert_close(found, 0.5 * count**0.5 * squares_by_hand(net).sqrt().sum())


def test_growing_holds_the_least_neurons_down_most() -> None:
    net = chain()
    penalty = ng.sparsity_penalty(net, X, kind="growing", strength=0.25, growth=0.5)
    squares = squares_by_hand(net)
    norms = squares.detach().sqrt()
    factors = 2 ** (4 * (norms.max() - norms) / (norms.max() - norms.min()))
    torch.testing.assert_close(penalty(), 0.25 * (factors * squares).sum())
    penalty.grow()
    torch.testing.assert_close(penalty(), 0.75 * (factors * squares).sum())


def test_its_derivative_is_that_of_the_formula() -> None:
    net = chain()
    parameters = list(net.parameters())
    mine = torch.autograd.grad(ng.sparsity_penalty(net, X, strength=1.0)(), parameters, allow_unused=True)
    theirs = torch.autograd.grad(10**0.5 * squares_by_hand(net).sqrt().sum(), parameters, allow_unused=True)
    for one, two in zip(mine, theirs, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize("network", ALL, ids=str)
def test_groups_are_all_that_lives_on_a_neuron(network: Network) -> None:
    model, inputs = network.make()
    graph = ng.capture(model, inputs, verify="recorded")
    if ng.inspect(graph).free_share == 0:
        pytest.skip("no size of it may change")
    norms = ng.sparsity_penalty(graph).norms()
    widths, parameters = graph.widths, dict(model.named_parameters())
    for width in widths:
        if width.name not in norms:
            continue
        expected = np.zeros(norms[width.name].shape)
        for neuron in np.ndindex(expected.shape):
            gone = np.zeros(expected.shape, bool)
            gone[neuron] = True
            for name, axes in widths.parameters().items():
                for dim, axis in enumerate(axes):
                    if width.atom in set(axis.atoms()):
                        others = torch.from_numpy(mask_of(axis, {width.atom: ~gone}))
                        rows = parameters[name].detach().double().movedim(dim, 0)
                        expected[neuron] += float(rows[~others].square().sum())
        np.testing.assert_allclose(norms[width.name], expected**0.5, rtol=1e-4, err_msg=width.name)


@pytest.mark.parametrize("as_graph", [True, False])
def test_it_follows_edits_and_their_undoing(as_graph: bool) -> None:
    net = chain()
    subject = ng.capture(net, X) if as_graph else net
    penalty = ng.sparsity_penalty(subject, *(() if as_graph else (X,)), strength=1.0)
    before = penalty()
    edit = ng.prune(subject, *(() if as_graph else (X,)), macs=0.5)
    assert net[0].out_features == 3
    torch.testing.assert_close(penalty(), 10**0.5 * squares_by_hand(net).sqrt().sum())
    edit.undo()
    torch.testing.assert_close(penalty(), before)


def test_training_with_it_makes_whole_neurons_small() -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        net: Any = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        x = torch.randn(256, 4)
        target = x[:, :1].tanh()
        penalty = ng.sparsity_penalty(net, X, strength=0.003)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(300):
            loss = (net(x) - target).square().mean() + penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        norms = penalty.norms()["0"]
        assert int((norms < 0.1 * norms.max()).sum()) >= 8
        before = net(x).detach()
        ng.prune(net, X, macs=0.5)
        assert float((net(x).detach() - before).square().mean()) < 1e-2 * float(before.square().mean())


def test_rows_of_products_are_neurons_of_their_own() -> None:
    torch.manual_seed(0)
    net = Attention()
    norms = ng.sparsity_penalty(net, torch.randn(2, 3, 4)).norms()
    assert {name: tuple(found.shape) for name, found in norms.items()} == {
        "into": (6,), "qkv": (2,), "qkv:2": (2, 4),
    }  # fmt: skip
    own = net.qkv.weight.square().sum(1).reshape(3, 2, 4).sum(0) + net.out.weight.square().sum(0).reshape(
        2, 4
    )
    own = own + net.qkv.bias.square().reshape(3, 2, 4).sum(0)
    torch.testing.assert_close(norms["qkv:2"], own.sqrt().detach())


def test_widths_can_be_left_out() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Linear(n, m) for n, m in itertools.pairwise([4, 5, 6, 2])])
    assert list(ng.sparsity_penalty(net, X, keep="0").norms()) == ["1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lasso"}, "kind='lasso': give"),
        ({"strength": -1}, "strength must be a number from 0 up"),
        ({"growth": "much"}, "growth must be a number from 0 up"),
        ({"keep": ["nine"]}, "keep names 'nine', which is no width among 0"),
    ],
)
def test_nonsense_is_told(options: dict[str, Any], message: str) -> None:
    net = chain()
    before = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.sparsity_penalty(net, X, **options)
    assert unchanged(net, before)


def test_a_network_without_sizes_to_change_is_told() -> None:
    with pytest.raises(ng.EditError, match="no size of the network may change"):
        ng.sparsity_penalty(nn.Linear(4, 2), X)
