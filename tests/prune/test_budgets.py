"""Budgets: met from below, as closely as the sizes allow, certified, and the same every time."""

from __future__ import annotations

import functools
import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from tests.networks.plain import ALL, TRAPS, Network, by_name
from tests.oracle import counted_macs, counted_params

# Whatever is removed, more than half of their multiply-accumulates remain.
TIED = {"FusedAttention"}
WITH_FREEDOM = [network for network in ALL if network.name not in TIED]


def asked(cost: str, limit: float) -> dict[str, Any]:
    return {cost: limit}


@functools.cache
def smallest(network: Network, cost: str) -> int:
    """The least cost that can be reached, from the message that refuses one."""
    model, inputs = network.make()
    with pytest.raises(ng.InfeasibleError) as refusal:
        ng.prune(model, inputs, **asked(cost, 1))
    (number,) = re.findall(rf"at least ([\d,]+) {cost} remain", str(refusal.value))
    return int(number.replace(",", ""))


@pytest.mark.parametrize("network", WITH_FREEDOM, ids=str)
def test_macs_are_met_from_below_and_are_those_that_torch_counts(network: Network) -> None:
    model, inputs = network.make()
    before = counted_macs(model, inputs)
    fraction = max(0.6, (smallest(network, "macs") + 1) / before)
    edit = ng.prune(model, inputs, macs=fraction)
    after = counted_macs(model, inputs)
    assert (edit.before.macs, edit.after.macs) == (before, after)
    assert after <= fraction * before
    assert (edit.before.params, edit.after.params) != (0, 0)
    assert edit.after.params == counted_params(model)
    assert edit.certificate is not None
    assert edit.certificate.bound >= edit.certificate.value > 0


@pytest.mark.parametrize("cost", ["macs", "params"])
@pytest.mark.parametrize("network", ALL, ids=str)
def test_the_smallest_that_is_named_can_be_had_and_no_less(network: Network, cost: str) -> None:
    least = smallest(network, cost)
    model, inputs = network.make()
    edit = ng.prune(model, inputs, **asked(cost, least))
    assert getattr(edit.after, cost) == least
    model, inputs = network.make()
    with pytest.raises(ng.InfeasibleError, match=f"at least {least:,} {cost} remain"):
        ng.prune(model, inputs, **asked(cost, least - 1))


def brute_force(sizes: list[int], worth: list[np.ndarray], cost: object, limit: float) -> float:
    """The most utility within the budget, over all sizes."""
    best = -np.inf
    for counts in itertools.product(*[range(1, n + 1) for n in sizes]):
        if cost(counts) <= limit:  # type: ignore[operator]
            best = max(best, sum(w[:k].sum() for w, k in zip(worth, counts, strict=True)))
    return best


@pytest.mark.parametrize("fraction", [0.2, 0.45, 0.7])
def test_answer_is_the_best_of_all(fraction: float) -> None:
    torch.manual_seed(1)
    model: Any = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))
    rng = np.random.default_rng(0)
    worth = [rng.random(9), rng.random(7)]

    def cost(counts: tuple[int, int]) -> int:
        return 5 * counts[0] + counts[0] * counts[1] + 3 * counts[1]

    limit = fraction * cost((9, 7))
    edit = ng.prune(
        model,
        torch.ones(1, 5),
        macs=fraction,
        gap=0.0,
        utility=dict(zip(["0", "2"], worth, strict=True)),
    )
    best = brute_force([9, 7], [np.sort(w)[::-1] for w in worth], cost, limit)
    assert edit.certificate is not None
    assert edit.certificate.value == pytest.approx(best)
    assert edit.certificate.bound == pytest.approx(best)
    kept = [set(width.kept.tolist()) for width in edit.change.widths.values()]
    counts = (model[0].out_features, model[2].out_features)
    expected = [set(np.argsort(-w)[:k].tolist()) for w, k in zip(worth, counts, strict=True) if k < len(w)]
    assert kept == expected


def test_both_budgets_hold_at_once() -> None:
    model, inputs = by_name("Flatten").make()
    edit = ng.prune(model, inputs, macs=0.7, params=0.3)
    assert edit.after.macs <= 0.7 * edit.before.macs
    assert edit.after.params <= 0.3 * edit.before.params
    assert counted_params(model) == edit.after.params
    model, inputs = by_name("Flatten").make()
    assert ng.prune(model, inputs, macs=0.7).after.params > 0.3 * edit.before.params


def test_whole_numbers_are_absolute() -> None:
    model, inputs = by_name("chain").make()
    now = counted_macs(model, inputs)
    edit = ng.prune(model, inputs, macs=now // 3, params=np.int64(900))  # type: ignore[arg-type]
    assert counted_macs(model, inputs) <= now // 3
    assert counted_params(model) <= 900
    assert edit.asked["macs"] == now // 3


def test_a_budget_of_one_or_more_than_there_is_changes_nothing() -> None:
    for budget in (1.0, 10**9):
        model, inputs = by_name("chain").make()
        edit = ng.prune(model, inputs, macs=budget)
        assert not edit
        assert edit.after == edit.before
        edit.undo()
        assert "Nothing changed" in str(edit)


def test_ratio_is_asked_of_every_width() -> None:
    model, inputs = by_name("Dense").make()
    edit = ng.prune(model, inputs, ratio=0.5)
    assert {w.name: (w.before, w.after) for w in edit.change.widths.values()} == {
        "stem.0": (8, 4), "blocks.0.2": (4, 2), "blocks.1.2": (4, 2), "blocks.2.2": (4, 2),
        "transition": (10, 5),
    }  # fmt: skip
    assert model.head.in_features == 5  # type: ignore[union-attr]
    assert "utility" not in str(edit)
    assert "sizes are as near to their ratios as they can come" in str(edit)


def test_ratio_halves_heads_and_not_also_what_is_inside_them() -> None:
    model, inputs = by_name("RotaryGrouped").make()
    ng.prune(model, inputs, ratio=0.5)
    assert {name: layer.out_features for name, layer in model.named_children()} == {
        "q": 24, "k": 8, "v": 8, "o": 20,
    }  # fmt: skip
    assert [getattr(model, name) for name in ("heads", "groups", "head_dim")] == [3, 1, 8]


def test_ratio_never_removes_everything() -> None:
    model, inputs = by_name("mlp").make()
    ng.prune(model, inputs, ratio=1e-6)
    assert model[0].out_features == 1  # type: ignore[index]
    assert model(*inputs).shape == (3, 4)


@pytest.mark.parametrize("network", ["chain", "Residual", "Dense", "Flatten", "InvertedResidual", "Gated"])
@pytest.mark.parametrize("round_to", [2, 4])
def test_sizes_are_rounded(network: str, round_to: int) -> None:
    model, inputs = by_name(network).make()
    names = {n: p.shape for n, p in model.named_parameters()}
    edit = ng.prune(model, inputs, macs=0.7, round_to=round_to)
    assert edit.after.macs <= 0.7 * edit.before.macs
    assert counted_macs(model, inputs) == edit.after.macs
    for name, parameter in model.named_parameters():
        for old, new in zip(names[name], parameter.shape, strict=True):
            assert old == new or new % round_to == 0, name


@pytest.mark.parametrize(
    ("keep", "still"),
    [
        ("stem.0", ["stem.0"]),
        (["first"], ["first.0"]),
        ("*.0", ["stem.0", "first.0"]),
        (["stem", "second"], ["stem.0", "second"]),
    ],
)
def test_keep_by_path_and_pattern(keep: str | list[str], still: list[str]) -> None:
    model: Any
    model, inputs = by_name("Residual").make()
    sizes = {name: model.get_submodule(name).out_channels for name in ("stem.0", "first.0", "second")}
    edit = ng.prune(model, inputs, ratio=0.5, keep=keep)
    for name, size in sizes.items():
        tied = {"stem.0", "second"} & set(still) if name in ("stem.0", "second") else {name} & set(still)
        assert model.get_submodule(name).out_channels == (size if tied else size // 2)
    assert bool(edit) == (not {"stem.0", "first.0"} <= set(still))


def test_keep_by_module() -> None:
    model, inputs = by_name("Residual").make()
    edit = ng.prune(model, inputs, ratio=0.5, keep=model.get_submodule("first.0"))
    assert [w.name for w in edit.change.widths.values()] == ["stem.0"]
    assert edit.asked["keep"] == ["Conv2d"]


@pytest.mark.parametrize("network", ["Residual", "Block", "Grouped", "RotaryGrouped"])
def test_the_same_every_time(network: str) -> None:
    texts: set[str] = set()
    for _ in range(2):
        model, inputs = by_name(network).make()
        torch.manual_seed(len(texts))
        texts.add(ng.prune(model, inputs, params=0.75).to_json())
    assert len(texts) == 1


@pytest.mark.parametrize("network", TRAPS, ids=str)
def test_odd_networks_run_at_half_of_every_width(network: Network) -> None:
    model, inputs = network.make()
    with torch.no_grad():
        shape = model(*inputs).shape
    edit = ng.prune(model, inputs, ratio=0.5)
    assert (counted_params(model), counted_macs(model, inputs)) == (edit.after.params, edit.after.macs)
    with torch.no_grad():
        assert model(*inputs).shape == shape


class Borrowed(nn.Module):
    """Uses the parameters of a layer which it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.lent, self.last = nn.Linear(6, 12), nn.Linear(12, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.linear(self.first(x), self.lent.weight, self.lent.bias)
        return self.last(hidden)  # type: ignore[no-any-return]


def test_keep_holds_a_layer_whose_parameters_alone_are_used() -> None:
    model: Any = Borrowed()
    ng.prune(model, torch.ones(2, 6), params=0.7, keep="last").undo()
    ng.prune(model, torch.ones(2, 6), params=0.9, keep="first")
    assert model.last.in_features < 10
    model = Borrowed()
    with pytest.raises(ng.InfeasibleError, match=r"at least 258 params remain \(100.00%"):
        ng.prune(model, torch.ones(2, 6), params=0.9, keep="lent")
    model, inputs = by_name("Multihead").make()
    before = model.get_submodule("attention.out_proj").weight.shape[0]
    ng.prune(model, inputs, ratio=0.5, keep="attention.out_proj")
    assert model.get_submodule("attention.out_proj").weight.shape[0] == before


def test_keep_of_the_network_itself_keeps_everything() -> None:
    model, inputs = by_name("Residual").make()
    assert not ng.prune(model, inputs, ratio=0.5, keep=[model])
