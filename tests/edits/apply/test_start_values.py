"""New neurons that start as combinations of old ones, in an order of their own, against dense products."""

from __future__ import annotations

import copy
import dataclasses
import json
import random

import numpy as np
import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import Floats, Formula, Indices
from naivegraph.edits.plan.start import Start
from naivegraph.edits.plan.width_change import WidthChange


class Table(nn.Module):
    """A parameter of four heads of two neurons each, and three others, by five columns."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4 * 2 + 3, 5, dtype=dtype))


Sum = tuple[Indices, Floats]
AXES: list[Formula] = [[["0", 2], [3]], [[5]]]


def one_more(width: WidthChange, start: Sum) -> Change:
    """A change by which one neuron comes, which starts as this sum."""
    starts = (Start("weight", 0, "0", (start,), np.zeros(1, np.int64)),)
    return Change({"0": width}, {"weight": AXES}, [], starts=starts)


def drawn(rng: random.Random) -> tuple[Change, Floats]:
    """A random change of the heads, and for each head afterwards its weights over the old heads."""
    kept = sorted(rng.sample(range(4), rng.randint(0, 4)))
    new = rng.randint(1, 3)
    sums: list[Sum] = []
    for _ in range(rng.randint(1, 3)):
        old = rng.sample(range(4), rng.randint(0, 4))
        sums.append((np.array(old, np.int64), np.array([rng.uniform(-1, 1) for _ in old])))
    chosen = np.array([rng.randrange(len(sums)) for _ in range(new)])
    order = np.array(rng.sample(range(len(kept) + new), len(kept) + new))
    width = WidthChange("heads", 4, np.array(kept, np.int64), new, order)
    start = Start("weight", 0, "0", tuple(sums), chosen)
    dense = np.zeros((len(kept) + new, 4))
    for place, neuron in enumerate(order):
        if neuron < len(kept):
            dense[place, kept[neuron]] = 1
        else:
            old, weights = sums[chosen[neuron - len(kept)]]
            dense[place, old] = weights
    return Change({"0": width}, {"weight": AXES}, [], starts=(start,)), dense


@pytest.mark.parametrize("seed", range(30))
def test_rows_are_the_product_with_a_dense_matrix(seed: int) -> None:
    torch.manual_seed(seed)
    change, dense = drawn(random.Random(seed))
    net = Table()
    before, again = net.weight.detach().clone(), copy.deepcopy(net)
    edit = apply(change, net)
    heads = torch.einsum("ab,bdc->adc", torch.from_numpy(dense), before[:8].reshape(4, 2, 5))
    expected = torch.cat([heads.reshape(-1, 5), before[8:]])
    torch.testing.assert_close(net.weight.detach(), expected, rtol=0, atol=1e-14)
    apply(Change.from_json(edit.to_json()), again)
    assert torch.equal(again.weight, net.weight)
    edit.undo()
    assert torch.equal(net.weight, before)


def test_half_precision_is_added_up_in_single() -> None:
    net = Table(torch.bfloat16)
    before = net.weight.detach().clone()
    mean = np.arange(4), np.full(4, 0.25)
    apply(one_more(WidthChange("heads", 4, np.arange(4), 1), mean), net)
    expected = before[:8].float().reshape(4, 2, 5).mean(0).to(torch.bfloat16)
    assert net.weight.dtype == torch.bfloat16
    assert torch.equal(net.weight[8:10], expected)


def test_optimizers_follow_the_order_and_start_new_rows_at_zero() -> None:
    net = Table()
    optimizer = torch.optim.Adam(net.parameters())
    torch.autograd.backward(net.weight.square().sum())
    optimizer.step()
    moment = optimizer.state[net.weight]["exp_avg"].clone()
    width = WidthChange("heads", 4, np.array([1, 3]), 1, np.array([1, 2, 0]))
    apply(one_more(width, (np.array([0]), np.array([2.0]))), net, optimizer=optimizer)
    now = optimizer.state[net.weight]["exp_avg"]
    assert torch.equal(now, torch.cat([moment[6:8], torch.zeros(2, 5), moment[2:4], moment[8:]]).double())


def test_what_is_no_start_is_refused() -> None:
    text = drawn(random.Random(3))[0].to_json()
    data = json.loads(text)
    data["starts"][0][4].append(0)
    with pytest.raises(ValueError, match="new neurons of 0 start"):
        Change.from_data(data)
    data["starts"][0][1] = 7
    with pytest.raises(ValueError, match="names dimension 7 of weight, which has 2"):
        Change.from_data(data)


def test_a_width_that_lies_twice_along_a_dimension_has_no_start() -> None:
    net = Table()
    net.weight = nn.Parameter(torch.randn(4, 5))
    before = net.weight.detach().clone()
    change = one_more(WidthChange("heads", 2, np.arange(2), 1), (np.arange(1), np.ones(1)))
    twice = dataclasses.replace(change, tensors={"weight": [[["0", "0"]], [[5]]]})
    with pytest.raises(ng.EditError, match="has heads more than once along dimension 0"):
        apply(twice, net)
    assert torch.equal(net.weight, before)
