"""Networks put into one order, and averaged."""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.ir.pytree import leaves
from naivegraph.network import Graph, capture
from naivegraph.optional_package import MissingPackageError
from naivegraph.widths import constraints_of
from tests.networks.plain import ALL, TRAPS, Network, by_name, randomised

align, average = ng.surgery.align, ng.surgery.average


def outputs(run: Callable[..., Any], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return [leaf for leaf in leaves(run(*inputs)) if isinstance(leaf, Tensor)]


def same(one: nn.Module, two: nn.Module) -> bool:
    first, second = tensors_of(one), tensors_of(two)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def shuffled(graph: Graph, seed: int) -> tuple[Graph, bool]:
    """A copy with every width in a random order, made by the edit that resizes, and if there was any."""
    other, rng = copy.deepcopy(graph), np.random.default_rng(seed)
    widths = other.widths
    still = {
        atom for axis, _ in widths.relation.ordered for atom in widths.relation.algebra.resolve(axis).atoms()
    }
    free = [width for width in widths if width.atom not in still]
    kept = {width: np.arange(width.size) for width in free}
    order = {width: rng.permutation(width.size) for width in free}
    edit = apply(plan(widths, constraints_of(widths), kept, order=order), other)
    return other, bool(edit)


@pytest.mark.parametrize("network", [*ALL, *TRAPS], ids=str)
def test_a_shuffled_copy_is_recovered_bit_for_bit(network: Network) -> None:
    model, inputs = network.make(seed=3)
    graph = capture(model, inputs, verify=False)
    other, any_width = shuffled(graph, 1)
    before, expected = outputs(other.module, inputs), outputs(model, inputs)
    for one, two in zip(before, expected, strict=True):  # no order changes what a network computes
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    moved = not same(other.module, graph.module)
    edit = align(graph, other)
    assert same(other.module, graph.module)
    assert bool(edit) == moved
    assert all(map(torch.equal, outputs(other.module, inputs), expected))
    middle = average(graph, other)  # no barrier on the way
    for one, two in zip(outputs(middle, inputs), expected, strict=True):
        torch.testing.assert_close(one, two)
    if edit:
        edit.undo()
        assert all(map(torch.equal, outputs(other.module, inputs), before))
    assert any_width or not moved


@pytest.mark.parametrize(
    "name", ["chain", "Residual", "Grouped", "InvertedResidual", "FusedAttention", "Dense"]
)
def test_a_shuffled_copy_is_recovered_by_activations(name: str) -> None:
    model, inputs = by_name(name).make(seed=5)
    graph = capture(model, inputs, verify=False)
    other, _ = shuffled(graph, 2)
    data = [tuple(torch.randn_like(x) for x in inputs) for _ in range(4)]
    align(graph, other, data=data)
    assert same(other.module, graph.module)


def test_neurons_that_do_the_same_are_put_in_one_place_by_what_they_do() -> None:
    """Weights of another scale are told apart by activations: a ReLU passes factors on."""
    one = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    two, order = copy.deepcopy(one), torch.randperm(8)
    scale = torch.exp(2 * torch.randn(8))
    with torch.no_grad():
        first, last = two.get_submodule("0"), two.get_submodule("2")
        first.get_parameter("weight").copy_((one.get_parameter("0.weight") * scale[:, None])[order])
        first.get_parameter("bias").copy_((one.get_parameter("0.bias") * scale)[order])
        last.get_parameter("weight").copy_((one.get_parameter("2.weight") / scale)[:, order])
    x = torch.randn(256, 6)
    align(one, two, x[:2], data=x)
    torch.testing.assert_close(two.get_parameter("0.weight"), one.get_parameter("0.weight") * scale[:, None])
    torch.testing.assert_close(two(x), one(x), rtol=1e-4, atol=1e-5)


def test_the_best_order_of_a_layer_is_that_of_trying_all() -> None:
    """All orders of one hidden layer, tried by hand."""
    one, two = (nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)) for _ in range(2))
    copied = copy.deepcopy(two)
    align(one, two, torch.ones(1, 3))

    def product(order: tuple[int, ...]) -> float:
        pairs = zip(one.parameters(), copied.parameters(), (0, 0, 1), strict=False)
        index = torch.tensor(order)
        return sum(
            float((a.detach().double() * b.detach().index_select(dim, index)).sum()) for a, b, dim in pairs
        )

    best = max(itertools.permutations(range(5)), key=product)
    expected = copied.get_parameter("0.bias")[list(best)]
    torch.testing.assert_close(two.get_parameter("0.bias"), expected, rtol=0, atol=0)


def test_optimizer_follows_and_the_edit_is_replayed(tmp_path: Path) -> None:
    model, (x,) = by_name("Residual").make()
    graph = capture(model, x)
    other, _ = shuffled(graph, 4)
    optimizer = torch.optim.AdamW(other.parameters())
    with torch.no_grad():
        for parameter in other.parameters():
            optimizer.state[parameter] = {"exp_avg": parameter.clone(), "step": torch.tensor(1.0)}
    before = copy.deepcopy(other)
    edit = align(graph, other, optimizer=optimizer)
    assert all(torch.equal(p, optimizer.state[p]["exp_avg"]) for p in other.parameters())
    ng.replay(before, edit.to_json())
    assert same(before.module, other.module)
    assert "The cosine of the angle between the weights went from" in edit.notes[0]
    assert edit.notes[0].endswith("to 1.000.")
    assert edit.before == edit.after
    assert not align(graph, other)


def test_widths_whose_order_is_read_stay() -> None:
    class Ordered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            rows = self.first(x)
            out: Tensor = self.last((rows[:, :, None] * rows[:, None]).tril().sum(1))
            return out

    graph = capture(Ordered(), torch.randn(3, 4))
    other = capture(Ordered(), torch.randn(3, 4))
    edit = align(graph, other)
    assert not edit
    assert any(note == "first stays in order, which tril at tril reads." for note in edit.notes)


def test_average_of_tensors_and_flags() -> None:
    one, two = (randomised(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))) for _ in range(2))
    one.get_submodule("1").get_buffer("num_batches_tracked").fill_(7)
    one.train()
    made = average(one, two, 0.25)
    for name, tensor in tensors_of(made).items():
        a, b = tensors_of(one)[name], tensors_of(two)[name]
        expected = 0.75 * a + 0.25 * b if a.is_floating_point() else a
        torch.testing.assert_close(tensor, expected)
        assert tensor is not a
    assert made.training
    graph = average(capture(one, torch.ones(2, 3)), two, 1)
    assert isinstance(graph, Graph)
    torch.testing.assert_close(graph.module.get_parameter("0.weight"), two.get_parameter("0.weight"))


@pytest.mark.parametrize("name", ["chain", "Residual", "OneD"])
def test_repaired_statistics_are_those_of_train_mode(name: str) -> None:
    """torch's own cumulative statistics, in one pass over batches of one size."""
    (one, inputs), (two, _) = by_name(name).make(seed=1), by_name(name).make(seed=2)
    data = [tuple(torch.randn_like(x) for x in inputs) for _ in range(3)]
    made = average(one, two, data=data, example=inputs)
    expected = average(one, two)
    norms = [m for m in expected.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        with pytest.raises(ng.EditError, match="no batch norms with running statistics"):
            average(one, two, data=[], example=inputs)
        return
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    for batch in data:
        expected(*batch)
    for key, tensor in tensors_of(made).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, tensors_of(expected)[key], rtol=1e-4, atol=1e-5)
    assert not made.training


def test_wrong_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    def net(*sizes: int, **options: Any) -> nn.Module:
        return nn.Sequential(
            nn.Linear(sizes[0], sizes[1], **options), nn.ReLU(), nn.Linear(sizes[1], sizes[2])
        )

    one, x = net(4, 6, 2), torch.ones(2, 4)
    for call in (lambda two: align(one, two, x), lambda two: average(one, two)):
        with pytest.raises(
            ng.EditError, match=r"'0.weight' has shape \(6, 4\) in the first and \(5, 4\) in the second"
        ):
            call(net(4, 5, 2))
        with pytest.raises(ng.EditError, match=r"the second has no '0.bias', which the first has"):
            call(net(4, 6, 2, bias=False))
        with pytest.raises(ng.EditError, match=r"the first has no '3.weight', which the second has"):
            call(nn.Sequential(*net(4, 6, 2).children(), nn.Linear(2, 2)))
        with pytest.raises(ng.EditError, match=r"takes a graph, .*, or a network"):
            call("net")
    with pytest.raises(ng.EditError, match="the networks share parameters: align a copy"):
        align(one, one, x)
    with pytest.raises(ng.EditError, match=r"needs an example: ng\.surgery\.align"):
        align(one, net(4, 6, 2))
    with pytest.raises(ng.EditError, match="a graph has its example already"):
        align(capture(one, x), net(4, 6, 2), x)
    with pytest.raises(ng.EditError, match="calibration= gave no batches"):
        align(one, net(4, 6, 2), x, data=[])
    with pytest.raises(ng.EditError, match="batch 1 of calibration="):
        align(one, net(4, 6, 2), x, data=torch.ones(3, 5))
    with pytest.raises(ng.EditError, match="share of the second network, a number, not 'half'"):
        average(one, net(4, 6, 2), "half")  # type: ignore[arg-type]
    with pytest.raises(ng.EditError, match="no batch norms with running statistics, which could be measured"):
        average(one, net(4, 6, 2), data=x, example=x)
    with pytest.raises(ng.EditError, match=r"needs an example: ng\.surgery\.average"):
        average(one, net(4, 6, 2), data=x)
    tied = net(4, 4, 4)
    tied.get_submodule("2").weight = tied.get_parameter("0.weight")
    with pytest.raises(ng.EditError, match=r"'2\.weight' and '0\.weight' are one tensor in the first alone"):
        average(tied, net(4, 4, 4))
    whole = net(4, 4, 4)
    whole.register_buffer("seen", torch.zeros(1, dtype=torch.int64))
    real = net(4, 4, 4)
    real.register_buffer("seen", torch.zeros(1))
    with pytest.raises(
        ng.EditError, match=r"'seen' is torch.int64 in the first and torch.float32 in the second"
    ):
        average(whole, real)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(
        MissingPackageError, match=r"ng.surgery.align needs scipy.* pip install 'naivegraph\[surgery\]'"
    ):
        align(one, net(4, 6, 2), x)
