"""Properties of surgery on random graphs."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.ir.pytree import leaves
from naivegraph.network import Graph
from naivegraph.widths import constraints_of
from tests.machine.random_graphs import random_case

SEEDS = range(40)


def state(graph: Graph) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors_of(graph.module).items()}


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def same(one: Any, two: Any) -> bool:
    both = [[leaf for leaf in leaves(value) if isinstance(leaf, Tensor)] for value in (one, two)]
    return len(both[0]) == len(both[1]) and all(map(torch.equal, *both))


@pytest.mark.parametrize("seed", SEEDS)
def test_hidden_values_put_back_and_returned(seed: int) -> None:
    case = random_case(random.Random(seed))
    graph, names = case.graph, [vertex.name for vertex in case.graph]
    expected, values = graph(case.x), graph.run(case.x, names)
    found = graph.to_module(names)(case.x)
    assert all(same(found[name], values[name]) for name in names)
    with ng.surgery.intervene(graph, {name: ng.surgery.replace(values[name]) for name in names}):
        assert same(graph(case.x), expected)
        assert same(graph.module(case.x), expected)
    at = random.Random(seed).choice([name for name in names if isinstance(values[name], Tensor)])
    other = torch.randn_like(values[at])
    with ng.surgery.intervene(graph, {at: other}):
        inside = graph(case.x)
        assert same(graph.module(case.x), inside)
    assert same(graph(case.x), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_folded_norms_keep_the_function(seed: int) -> None:
    case = random_case(random.Random(1000 + seed))
    graph, expected, before = case.graph, case.graph(case.x), state(case.graph)
    try:
        edit = ng.surgery.fold_norms(graph)
    except ng.EditError as error:
        assert "cannot be folded" in str(error) or "calls no batch norm" in str(error)  # noqa: PT017
        return
    scale = float(expected.abs().max())
    torch.testing.assert_close(graph(case.x), expected, rtol=1e-10, atol=1e-10 * scale)
    edit.undo()
    assert equal(state(graph), before)
    assert torch.equal(graph(case.x), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shuffled_copy_is_put_back(seed: int) -> None:
    case = random_case(random.Random(2000 + seed))
    graph, other = case.graph, copy.deepcopy(case.graph)
    rng, widths = np.random.default_rng(seed), other.widths
    kept = {width: np.arange(width.size) for width in widths}
    order = {width: rng.permutation(width.size) for width in widths}
    apply(plan(widths, constraints_of(widths), kept, order=order), other)
    torch.testing.assert_close(other(case.x), graph(case.x))
    shuffled = state(other)
    edit = ng.surgery.align(graph, other)
    assert equal(state(other), state(graph))
    torch.testing.assert_close(ng.surgery.average(graph, other)(case.x), graph(case.x))
    edit.undo()
    assert equal(state(other), shuffled)


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_merged_with_a_copy_the_mean_is_the_same(seed: int) -> None:
    case = random_case(random.Random(3000 + seed))
    graphs = {"a": case.graph, "b": copy.deepcopy(case.graph)}
    merged = ng.surgery.merge_models(graphs, outputs="mean")
    torch.testing.assert_close(merged(case.x), case.graph(case.x))
