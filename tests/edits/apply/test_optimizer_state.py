"""Optimizers follow an edit: what they remember of kept neurons stays, and training goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import EditError
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate
from tests.oracle import snapshot, unchanged

Make = Callable[[Any], optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda p: optim.SGD(p, 0.01),
    "momentum": lambda p: optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, 0.01),
    "Adagrad": lambda p: optim.Adagrad(p, 0.01, initial_accumulator_value=0.3),
    "Adadelta": lambda p: optim.Adadelta(p, 0.5),
    "Adamax": lambda p: optim.Adamax(p, 0.01),
    "NAdam": lambda p: optim.NAdam(p, 0.01),
    "RAdam": lambda p: optim.RAdam(p, 0.01),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "Rprop": lambda p: optim.Rprop(p, 0.02),
    "ASGD": lambda p: optim.ASGD(p, 0.01, t0=1),
}
HIDDEN = 8


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 3)).double()


def data(step: int) -> Tensor:
    return torch.randn(16, 4, generator=torch.Generator().manual_seed(step)).double()


def train(model: nn.Module, optimizer: optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        (model(data(step)) - 1).square().mean().backward()
        optimizer.step()


def change_of(model: nn.Module, kept: list[int], new: int = 0) -> Change:
    widths = relate(capture(model, data(0)))
    (width,) = widths.widths
    return plan(widths, constraints_of(widths), {width: np.array(kept)}, {width: new})


def states(optimizer: optim.Optimizer) -> list[dict[str, Any]]:
    return [
        copy.deepcopy(dict(optimizer.state.get(p, {}))) for g in optimizer.param_groups for p in g["params"]
    ]


def same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, two)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return bool(one == two)


def silenced(model: Any, dead: list[int]) -> None:
    """Make neurons which never had any effect and never get a gradient."""
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias):
            tensor[dead] = 0
        model[2].weight[:, dead] = 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_after_removal_it_goes_on_as_if_the_neurons_had_never_been(name: str) -> None:
    kept, dead = [0, 2, 3, 5, 7], [1, 4, 6]
    model = network()
    silenced(model, dead)
    small: Any = nn.Sequential(nn.Linear(4, len(kept)), nn.Tanh(), nn.Linear(len(kept), 3)).double()
    with torch.no_grad():
        small[0].weight.copy_(model[0].weight[kept])
        small[0].bias.copy_(model[0].bias[kept])
        small[2].weight.copy_(model[2].weight[:, kept])
        small[2].bias.copy_(model[2].bias)
    optimizer, other = (OPTIMIZERS[name](m.parameters()) for m in (model, small))
    train(model, optimizer, range(3))
    train(small, other, range(3))
    parameters = list(model.parameters())
    apply(change_of(model, kept), model, optimizer=[optimizer])
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in parameters]
    train(model, optimizer, range(3, 6))
    train(small, other, range(3, 6))
    for one, two in zip(model.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_after_growth_kept_weights_are_updated_as_before(name: str) -> None:
    model, twin = network(), network()
    optimizer, other = (OPTIMIZERS[name](m.parameters()) for m in (model, twin))
    train(model, optimizer, range(3))
    train(twin, other, range(3))
    apply(change_of(model, list(range(HIDDEN)), 3), model, optimizer=[optimizer])
    train(model, optimizer, range(3, 4))  # new neurons act from the second step on
    train(twin, other, range(3, 4))
    torch.testing.assert_close(model[0].weight[:HIDDEN], twin[0].weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model[2].weight[:, :HIDDEN], twin[2].weight, rtol=1e-12, atol=1e-12)
    assert bool((model[2].weight[:, HIDDEN:] != 0).all())
    train(model, optimizer, range(4, 8))
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "key", "start"),
    [
        ("Adagrad", "sum", 0.3),
        ("Rprop", "step_size", 0.02),
        ("Rprop", "prev", 0.0),
        ("Adam", "exp_avg_sq", 0.0),
    ],
)
def test_new_entries_start_as_the_optimizer_starts(name: str, key: str, start: float) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, range(3))
    weight = model[0].weight
    before = optimizer.state[weight][key].clone()
    apply(change_of(model, [0, 5], 2), model, optimizer=[optimizer])
    after = optimizer.state[weight][key]
    assert torch.equal(after[:2], before[[0, 5]])
    assert torch.equal(after[2:], torch.full((2, 4), start, dtype=torch.float64))
    assert bool((optimizer.state[weight]["step"] == 3).all())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 2])
def test_undo_restores_what_it_remembers(name: str, steps: int) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, range(steps))
    before, remembered = snapshot(model), states(optimizer)
    change = change_of(model, [0, 1, 4], 2)
    edit = apply(change, model, optimizer=[optimizer])
    edit.undo()
    assert unchanged(model, before)
    assert same(states(optimizer), remembered)
    edit = apply(change, model, optimizer=[optimizer])
    train(model, optimizer, range(4, 6))
    edit.undo()
    changed = [id(p) for p in (model[0].weight, model[0].bias, model[2].weight)]
    got = states(optimizer)
    for parameter, now, then in zip(model.parameters(), got, remembered, strict=True):
        assert id(parameter) not in changed or same(now, then)
    train(model, optimizer, range(6, 7))


def test_lbfgs_is_refused_once_it_remembers_something() -> None:
    model = network()
    optimizer = optim.LBFGS(model.parameters(), 0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = (model(data(0)) - 1).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    edit = apply(change_of(model, [0, 1, 2]), model, optimizer=[optimizer])
    optimizer.step(closure)  # type: ignore[no-untyped-call]
    before = snapshot(model)
    change = change_of(model, [0, 1])
    with pytest.raises(EditError, match="LBFGS remembers past steps"):
        apply(change, model, optimizer=[optimizer])
    assert unchanged(model, before)
    del edit


def test_averaged_model_gets_the_same_change() -> None:
    model = network()
    average: Any = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    optimizer = optim.AdamW(model.parameters(), 0.01)
    for step in range(3):
        train(model, optimizer, range(step, step + 1))
        average.update_parameters(model)
    expected = average(data(9)).detach()
    before = snapshot(average)
    edit = apply(change_of(model, list(range(HIDDEN)), 4), model, optimizer=[optimizer, average])
    torch.testing.assert_close(average(data(9)), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(average.module[0].weight[HIDDEN:], model[0].weight[HIDDEN:])
    average.update_parameters(model)
    assert average.module[0].out_features == HIDDEN + 4
    edit.undo()
    assert average.module[0].out_features == HIDDEN
    assert snapshot(average).keys() == before.keys()


def test_all_or_nothing_when_one_of_several_cannot_follow() -> None:
    model = network()
    good = optim.Adam([model[0].weight], 0.01)
    bad = optim.SGD([model[2].weight], 0.01)
    train(model, good, range(2))
    bad.state[model[2].weight]["odd"] = torch.zeros(5)
    before, remembered = snapshot(model), states(good)
    change = change_of(model, [0, 1])
    with pytest.raises(EditError, match=r"SGD keeps 'odd' of shape \(5,\) for 2.weight"):
        apply(change, model, optimizer=[good, bad])
    assert unchanged(model, before)
    assert same(states(good), remembered)
    with pytest.raises(EditError, match="has none of the network's parameters"):
        apply(change, model, optimizer=[optim.SGD(network().parameters(), 0.1)])
    with pytest.raises(EditError, match="not Linear"):
        apply(change, model, optimizer=[model[0]])
    assert unchanged(model, before)


class Interrupted(dict[Any, Any]):
    """What an optimizer remembers, where an interrupt comes right after the n-th parameter's was replaced."""

    def __init__(self, states: Any, after: int) -> None:
        super().__init__(states)
        self.left = after

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupt_while_the_optimizer_follows_leaves_it_as_it_was(after: int) -> None:
    model = network()
    optimizer = optim.Adam(model.parameters(), 0.01)
    train(model, optimizer, range(2))
    before, remembered = snapshot(model), states(optimizer)
    optimizer.state = Interrupted(optimizer.state, after)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        apply(change_of(model, [0, 1]), model, optimizer=[optimizer])
    assert unchanged(model, before)
    assert same(states(optimizer), remembered)


def test_prune_takes_optimizers_along() -> None:
    model = network()
    optimizer = optim.Adam(model.parameters(), 0.01)
    train(model, optimizer, range(2))
    remembered = states(optimizer)
    edit = ng.prune(model, data(0), ratio=0.5, optimizer=optimizer)
    assert optimizer.state[model[0].weight]["exp_avg"].shape == (HIDDEN // 2, 4)
    train(model, optimizer, range(2, 3))
    edit.undo()
    assert same(states(optimizer)[0], remembered[0])


def test_row_and_column_state_follows_the_neurons() -> None:
    """Adafactor keeps a row and a column of each weight, told apart where a dimension has one index."""
    model = network()
    optimizer: optim.Optimizer = optim.Adafactor(model.parameters(), 0.01)
    train(model, optimizer, range(2))
    rows, columns = (optimizer.state[model[i].weight][k].clone() for i, k in ((0, "row_var"), (2, "col_var")))
    kept = [0, 2, 5]
    edit = apply(change_of(model, kept), model, optimizer=optimizer)
    assert torch.equal(optimizer.state[model[0].weight]["row_var"], rows[kept])
    assert torch.equal(optimizer.state[model[2].weight]["col_var"], columns[:, kept])
    train(model, optimizer, range(2, 3))
    edit.undo()
    train(model, optimizer, range(3, 4))
    apply(change_of(model, [1]), model, optimizer=optimizer)
    train(model, optimizer, range(4, 5))
    apply(change_of(model, [0], 4), model, optimizer=optimizer)
    train(model, optimizer, range(5, 7))
    assert all(bool(p.isfinite().all()) for p in model.parameters())


class Factored(optim.Optimizer):
    """An optimizer that keeps sums over one dimension, without the dimension."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter] = {"rows": parameter.detach().sum(-1)}


def test_state_without_a_dimension_follows_where_it_is_plain_which() -> None:
    model = network()
    optimizer = Factored([model[0].weight])
    optimizer.step()
    rows = optimizer.state[model[0].weight]["rows"]
    apply(change_of(model, [1, 6]), model, optimizer=optimizer)
    assert torch.equal(optimizer.state[model[0].weight]["rows"], rows[[1, 6]])
    square: Any = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    optimizer = Factored([square[0].weight])
    optimizer.step()
    with pytest.raises(EditError, match=r"keeps 'rows' of shape \(4,\) for 0.weight"):
        apply(change_of(square, [1, 2]), square, optimizer=optimizer)
