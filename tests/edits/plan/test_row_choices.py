"""Edits in which every head keeps its own indices: chosen, told, undone, replayed, saved, with optimizers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.plan import plan
from naivegraph.errors import EditError
from naivegraph.utility import OfWidths, utilities
from naivegraph.widths import Width, Widths, constraints_of, relate
from tests.machine.random_graphs import Attention
from tests.oracle import snapshot, unchanged

HEADS, SIZE = 3, 4
Floats = npt.NDArray[np.float64]


def build() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), Attention(8, HEADS, SIZE, fused=True), nn.Linear(8, 2)).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.7)
    return net


def example() -> Tensor:
    return torch.randn(2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def told(seed: int = 0) -> Floats:
    """What the indices inside each head are worth."""
    return np.random.default_rng(seed).normal(size=(HEADS, SIZE)) ** 2


def by_head(seed: int = 0) -> dict[str, Floats]:
    """The same, told of the vertex at which heads are side by side: what the output projection takes."""
    return {"1.reshape_1": told(seed).reshape(-1)}


def inner(widths: Widths) -> Width:
    (atom,) = widths.outer
    return widths.by_atom[atom]


def two_fewer(graph: ng.Graph, **more: Any) -> ng.Edit:
    """Every head keeps two of its four."""
    return ng.resize(graph, {"1.reshape": -2}, utility=by_head(), **more)


def expected() -> npt.NDArray[np.int64]:
    """The two best of each head, which are not the same in all."""
    return np.sort(np.argsort(-told(), axis=1)[:, :2], axis=1)


def test_every_head_keeps_the_best_of_its_own() -> None:
    graph = ng.capture(build(), example())
    before = graph.module.get_parameter("1.qkv.weight").detach().view(3, HEADS, SIZE, 8).clone()
    edit = two_fewer(graph)
    (change,) = edit.change.widths.values()
    np.testing.assert_array_equal(change.kept, expected())
    now = graph.module.get_parameter("1.qkv.weight").view(3, HEADS, 2, 8)
    for head, stay in enumerate(expected()):
        # The queries make up for the scale, which torch works out from the size of heads.
        assert torch.equal(now[1:, head], before[1:, head, stay])


def test_what_stayed_is_told_by_head_where_a_vertex_has_heads_side_by_side() -> None:
    edit = two_fewer(ng.capture(build(), example()))
    sizes = {name: size for name, size in edit.sizes.items() if name in ("1.qkv", "1.reshape_1")}
    places = [SIZE * head + int(i) for head, stay in enumerate(expected()) for i in stay]
    kept = {name: [i for run in size.kept for i in run] for name, size in sizes.items()}
    assert kept == {
        "1.qkv": [part * HEADS * SIZE + i for part in range(3) for i in places],
        "1.reshape_1": places,
    }
    assert not any(size.by_row for size in sizes.values())
    inside = edit.sizes["1.getitem"]
    assert (inside.before, inside.after, inside.new, inside.by_row) == (4, 2, 0, True)
    assert [i for run in inside.kept for i in run] == sorted(set(expected().flatten().tolist()))
    assert "in each row its own" in " ".join(str(edit).split())


def test_more_utility_is_kept_than_with_the_same_indices_everywhere() -> None:
    widths = relate(ng.capture(build(), example()))
    values = utilities(widths, "l2")[inner(widths)]
    alike = np.sort(values.sum(0))[2:].sum()
    edit = ng.resize(ng.capture(build(), example()), {"1.reshape": -2}, utility="l2")
    (change,) = edit.change.widths.values()
    own = np.take_along_axis(values, change.kept, axis=1).sum()
    assert change.kept.shape == (HEADS, 2)
    assert own == pytest.approx(np.sort(values, axis=1)[:, 2:].sum())
    assert own > alike


def test_a_function_of_the_widths_may_tell_rows_or_not() -> None:
    widths = relate(ng.capture(build(), example()))
    which = inner(widths)

    def utility(values: Any) -> Floats:
        return utilities(
            widths, OfWidths(lambda found: {w.name: values if w is which else np.ones(w.size) for w in found})
        )[which]

    np.testing.assert_array_equal(utility(told()), told())
    np.testing.assert_allclose(utility(np.arange(4.0)), np.tile(np.arange(4.0) / HEADS, (HEADS, 1)))
    with pytest.raises(EditError, match=rf"has shape \(2, 4\), not \({HEADS}, 4\)"):
        utility(np.ones((2, 4)))


def test_undone_replayed_saved_and_loaded(tmp_path: Path) -> None:
    net = build()
    before = snapshot(net)
    edit = two_fewer(ng.capture(net, example()))
    small = {name: value.clone() for name, value in net.state_dict().items()}
    ng.save(net, tmp_path / "small.safetensors")
    others = [build(), build()]
    ng.replay(others[0], edit.to_json())
    ng.load(others[1], tmp_path / "small.safetensors")
    for other in others:
        assert all(torch.equal(value, small[name]) for name, value in other.state_dict().items())
        assert torch.equal(other(example()), net(example()))
    edit.undo()
    assert unchanged(net, before)


def test_optimizers_and_averages_follow() -> None:
    net = build()
    average, optimizer = AveragedModel(net), torch.optim.Adam(net.parameters())
    net(example()).sum().backward()
    optimizer.step()
    for parameter, state in optimizer.state.items():
        state["exp_avg"].copy_(parameter.detach())
    for mine, theirs in zip(net.parameters(), average.module.parameters(), strict=True):
        theirs.data.copy_(mine.detach())
    edit = two_fewer(ng.capture(net, example()), optimizer=[optimizer, average])
    assert next(iter(edit.change.widths.values())).kept.ndim == 2
    for parameter, other in zip(net.parameters(), average.module.parameters(), strict=True):
        scaled = 2 * HEADS if len(parameter) == 6 * HEADS else 0  # the queries, see above
        assert torch.equal(optimizer.state[parameter]["exp_avg"][scaled:], parameter[scaled:])
        assert torch.equal(other, parameter)
    optimizer.step()
    assert torch.equal(average.module(example()).isfinite(), torch.ones(2, 6, 2) > 0)


@pytest.mark.parametrize("initialise", ["layer", "duplicate"])
def test_new_heads_and_new_indices_come_behind_what_every_head_kept(initialise: str) -> None:
    nets = [build(), build()]
    for number, net in enumerate(nets):
        widths = relate(ng.capture(net, example()))
        own = inner(widths)
        heads = widths.by_atom[widths.outer[own.atom]]
        new = {own: 2, heads: 1} if number else None
        kept = {own: expected(), heads: np.array([0, 2])}
        apply(plan(widths, constraints_of(widths), kept, new, initialise=initialise), net)
    few, more = (
        net.get_parameter("1.out.weight").view(8, -1, size) for net, size in zip(nets, (2, 4), strict=True)
    )
    assert more.shape == (8, 3, 4)
    if initialise == "layer":
        assert torch.equal(more[:, :2, :2], few)
        assert not more[:, 2:].any()
    torch.testing.assert_close(nets[1](example()), nets[0](example()), rtol=1e-9, atol=1e-9)


def test_heads_that_go_take_their_choice_along() -> None:
    net = build()
    full = copy.deepcopy(net)
    widths = relate(ng.capture(net, example()))
    own = inner(widths)
    heads = widths.by_atom[widths.outer[own.atom]]
    apply(plan(widths, constraints_of(widths), {own: expected(), heads: np.array([2])}), net)
    rows = torch.from_numpy(2 * SIZE + expected()[2])
    assert torch.equal(net.get_parameter("1.out.weight"), full.get_parameter("1.out.weight")[:, rows])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.pop(), "a place of 3"),
        (lambda rows: rows[0].append([3, 4]), "do not keep equally many"),
        (lambda rows: rows[0].__setitem__(0, [0, 9]), "not sorted runs within 4"),
    ],
)
def test_json_that_makes_no_sense(spoil: Any, message: str) -> None:
    edit = two_fewer(ng.capture(build(), example()))
    data = json.loads(edit.change.to_json())
    assert Change.from_json(json.dumps(data)).to_json() == edit.change.to_json()
    data["widths"]["0"]["rows"][0] = [[0, 2]]
    spoil(data["widths"]["0"]["rows"])
    with pytest.raises(ValueError, match=message):
        Change.from_json(json.dumps(data))
