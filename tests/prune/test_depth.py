"""Branches left out together with neurons: what the network computes then, and the way back."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.calibration import Calibration
from naivegraph.errors import EditError
from naivegraph.prune.branch_values import branch_values
from naivegraph.prune.branches import find_branches
from naivegraph.utility.criteria import CriterionData
from tests.oracle import counted_macs, counted_params
from tests.prune.test_branches import Residual, Scaled, X
from tests.prune.test_depth_program import Blocks, Nested

BRANCHES: dict[str, Any] = {"at_least": 1.0, "depth": True}  # no width may change


class PostNorm(nn.Module):
    """A block as those of BERT: the norms come behind the sums, and its attention gives a tuple."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.out, self.norm1, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 16), nn.Linear(16, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        x = self.norm1(self.out(self.attend(x, x, x, need_weights=False)[0]) + x)
        return self.norm2(self.down(self.up(x).relu()) + x), None


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList([PostNorm(), PostNorm()]), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x, _ = layer(x, mask=None)
        out: Tensor = self.head(x)
        return out


class Raw(nn.Module):
    """A block whose code multiplies the branch by a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.gamma = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x + self.gamma * self.inner(x))
        return out


def convolved() -> nn.Module:
    return nn.Sequential(
        Residual(3, 4, 2), Residual(4, 4), Residual(4, 4), Residual(4, 6, 2), nn.Flatten(), nn.Linear(24, 3)
    )


def transformed() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), Scaled(), Scaled(), nn.Linear(8, 3))


# The network, an example, and the last layers of branches, which give nothing once their numbers are 0.
CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, str]]] = {
    "convolved": (
        convolved,
        X,
        {
            "0.add/0": "0.shortcut", "0.add/1": "0.last", "1.add/1": "1.last", "2.add/1": "2.last",
            "3.add/0": "3.shortcut", "3.add/1": "3.last",
        },
    ),
    "transformed": (
        transformed,
        torch.ones(2, 3, 8),
        {
            "1.add/1": "1.attend.out_proj", "1.add_1/1": "1.down",
            "2.add/1": "2.attend.out_proj", "2.add_1/1": "2.down",
        },
    ),
    "encoder": (
        Encoder,
        torch.ones(2, 3, 8),
        {
            "layers.0.add/0": "layers.0.out", "layers.0.add_1/0": "layers.0.down",
            "layers.1.add/0": "layers.1.out", "layers.1.add_1/0": "layers.1.down",
        },
    ),
}  # fmt: skip


def made(case: str, seed: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    make, example, _ = CASES[case]
    net = make().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return net, torch.randn_like(example)


def zeroed(case: str, net: nn.Module, x: Tensor, edit: ng.Edit) -> nn.Module:
    """A copy of a network whose branches that went give zeros."""
    again = copy.deepcopy(net)
    for branch in find_branches(ng.capture(again, x).widths):
        if branch.name in edit.dropped:
            layer = again.get_submodule(CASES[case][2][f"{branch.total}/{branch.place}"])
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    return again


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_the_network_gives_what_it_gave_without_the_branches(case: str, seed: int, share: float) -> None:
    net, x = made(case, seed)
    before, state = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    try:
        edit = ng.prune(net, x, params=share, **BRANCHES)
    except ng.InfeasibleError:
        pytest.skip("so few are left with all branches gone")
    assert edit.dropped
    assert not edit.change.widths
    assert edit.graph is None, "the class is the user's"
    torch.testing.assert_close(net(x), zeroed(case, before, x, edit)(x))
    assert counted_params(net) == edit.after.params <= share * edit.before.params
    assert f"left out {len(edit.dropped)} branch" in str(edit)
    edit.undo()
    assert list(net.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert str(net) == str(before)
    assert torch.equal(net(x), before(x))


@pytest.mark.parametrize("share", [0.05, 0.08, 0.3, 0.6, 0.9])
def test_neurons_go_with_branches(share: float) -> None:
    torch.manual_seed(0)
    net, x = Blocks(8, [6, 8, 10]), torch.randn(5, 3)
    before = copy.deepcopy(net)
    edit = ng.prune(net, x, macs=share, depth=True)
    kept = {width.name: width.kept for width in edit.change.widths.values()}
    with torch.no_grad():
        for name, module in before.named_modules():
            if isinstance(module, nn.Linear) and name in kept:
                module.weight[[n for n in range(module.out_features) if n not in kept[name]]] = 0
        gone = [n for n in range(8) if "stem" in kept and n not in kept["stem"]]
        for number, down in enumerate(before.down):
            assert isinstance(down, nn.Linear)
            down.weight[gone] = 0
            if f"up.{number}..down.{number}" in edit.dropped:
                nn.init.zeros_(down.weight)
    assert edit.dropped or share > 0.5
    assert kept or share > 0.1
    torch.testing.assert_close(net(x), before(x))


@pytest.mark.parametrize("case", ["convolved", "encoder"])
def test_budgets_are_kept_as_torch_counts(case: str) -> None:
    net, x = made(case, 0)
    edit = ng.prune(net, x, macs=0.5, depth=True)
    assert counted_macs(net, (x,)) == edit.after.macs <= edit.before.macs // 2
    assert counted_params(net) == edit.after.params


def test_a_block_becomes_the_identity() -> None:
    net, x = made("convolved", 0)
    edit = ng.prune(net, x, params=0.9, at_least=1.0, depth=["1", "2"])
    assert edit.dropped
    assert [type(net.get_submodule(name)) for name in edit.dropped] == [nn.Identity] * len(edit.dropped)


def test_optimizers_follow() -> None:
    net, x = made("convolved", 0)
    optimizer = torch.optim.AdamW(net.parameters())
    net(x).sum().backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    edit = ng.prune(net, x, macs=0.5, depth=True, optimizer=optimizer)
    assert edit.dropped
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in net.parameters()}
    assert optimizer.state.keys() == set(net.parameters())
    net(x).sum().backward()
    optimizer.step()
    edit.undo()
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, state in before["state"].items():
        assert all(torch.equal(state[key], after["state"][number][key]) for key in state)


@pytest.mark.parametrize("case", CASES)
def test_files_replays_and_copies(case: str, tmp_path: Path) -> None:
    net, x = made(case, 0)
    fresh = [copy.deepcopy(net) for _ in range(2)]
    first = ng.prune(net, x, macs=0.9)
    edit = ng.prune(net, x, macs=0.7, depth=True, at_least=0.5)
    assert edit.dropped
    assert edit.graph is None
    ng.save(net, tmp_path / "net.safetensors")
    loaded = ng.load(fresh[0], tmp_path / "net.safetensors")
    assert torch.equal(loaded(x), net(x))
    assert str(loaded) == str(net)
    again = ng.replay(fresh[1], [first, edit.to_json()])
    torch.testing.assert_close(fresh[1](x), net(x))
    again.undo()
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copied(x), net(x))
    assert pickle.loads(pickle.dumps(edit)) == edit
    third = ng.prune(net, x, macs=0.8)
    third.undo()
    edit.undo()
    first.undo()


def test_a_graph_is_left_without_them() -> None:
    net, x = made("convolved", 0)
    graph, before = ng.capture(net, x), copy.deepcopy(net)
    edit = ng.prune(graph, params=0.5, **BRANCHES)
    assert edit.graph is graph
    assert edit.dropped
    torch.testing.assert_close(graph(x), zeroed("convolved", before, x, edit)(x))
    torch.testing.assert_close(graph.to_module()(x), graph(x))
    assert graph.costs() == edit.after
    edit.undo()
    assert torch.equal(graph(x), before(x))
    assert torch.equal(net(x), before(x))


def test_code_that_cannot_do_without_them_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Raw(), torch.randn(3, 4)
    fresh, before = Raw(), copy.deepcopy(net)
    edit = ng.prune(net, x, macs=0.5, **BRANCHES)
    assert edit.dropped == ("inner",)
    assert edit.graph is not None
    assert any("left out of the graph alone: its code holds 4 parameters" in note for note in edit.notes)
    torch.testing.assert_close(edit.graph(x), before.head(x))
    assert edit.after.params == counted_params(edit.graph.to_module())
    with pytest.raises(EditError, match="does not know of the edit"):
        net(x)
    ng.save(edit.graph, tmp_path / "raw.safetensors")
    torch.testing.assert_close(ng.load(fresh, tmp_path / "raw.safetensors")(x), edit.graph(x))
    edit.undo()
    assert torch.equal(net(x), before(x))


def test_code_that_reads_attributes_of_what_goes() -> None:
    # The layer looks at numbers of its attention before it calls it.
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=True)
    net = nn.Sequential(nn.Linear(4, 16), nn.TransformerEncoder(layer, 3, enable_nested_tensor=False))
    x = torch.randn(2, 5, 4)
    before = copy.deepcopy(net.eval())
    edit = ng.prune(net, x, params=0.9, at_least=1.0, depth=["1.layers.*.self_attn"])
    assert edit.dropped
    assert edit.graph is None
    assert counted_params(net) == edit.after.params
    assert torch.isfinite(net(x)).all()
    edit.undo()
    assert torch.equal(net(x), before(x))


def test_costs_of_a_graph_are_told_for_each_budget() -> None:
    net, x = Raw().eval(), torch.randn(3, 4)
    edit = ng.prune(net, x, memory=1.0, training_memory=0.9, weight_bytes=0.8, **BRANCHES)
    assert edit.graph is not None
    for cost, share in (("memory", 1.0), ("training_memory", 0.9), ("weight_bytes", 0.8)):
        assert edit.after[cost] <= share * edit.before[cost]


def test_weights_that_several_branches_share() -> None:
    class Again(nn.Module):
        """One block, called three times."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.up, self.down = nn.Linear(3, 8), nn.Linear(8, 24), nn.Linear(24, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            for _ in range(3):
                x = x + self.down(self.up(x).relu())
            return x

    net, x = Again().eval(), torch.randn(2, 3)
    with pytest.raises(ng.InfeasibleError, match=r"the budget cannot be met: .* at least 448 params remain"):
        ng.prune(net, x, params=0.5, **BRANCHES)
    edit = ng.prune(net, x, macs=0.5, **BRANCHES)
    assert len(edit.dropped) == 2
    assert edit.after.params == counted_params(net) == 448


def test_all_or_nothing() -> None:
    net, x = made("convolved", 0)
    before = copy.deepcopy(net)

    def fail(module: nn.Module, args: Any) -> None:
        if any(isinstance(net.get_submodule(name), nn.Identity) for name in ("1", "2")):
            raise RuntimeError("no")

    handle = net.register_forward_pre_hook(fail)
    edit = ng.prune(net, x, params=0.7, at_least=1.0, depth=["1", "2"])
    handle.remove()
    assert edit.graph is not None, "the forward failed, so it is the graph that changed"
    edit.undo()
    assert str(net) == str(before)
    assert torch.equal(net(x), before(x))


def test_both_sides_of_a_sum_never_go() -> None:
    for seed in range(5):
        net, x = made("convolved", seed)
        graph = ng.capture(net, x)
        totals = {branch.name: branch.total for branch in find_branches(graph.widths)}
        with pytest.raises(ng.InfeasibleError):
            ng.prune(graph, macs=1, depth=True)
        edit = ng.prune(graph, macs=0.15, depth=True)
        gone = [totals[name] for name in edit.dropped]
        assert len(gone) == len(set(gone))


def test_values_by_data_are_the_measured_change() -> None:
    torch.manual_seed(0)
    net, data = Nested(6, 5, 4), torch.randn(300, 3)
    before = copy.deepcopy(net)
    with torch.no_grad():
        base = before(data)
        nn.init.zeros_(before.last.weight)
        change = 0.5 * float((before(data) - base)[:128].square().sum(1).mean())
    graph = ng.capture(net, data[:1])
    widths = graph.widths
    branches = [branch for branch in find_branches(widths) if branch.name.endswith("last")]
    worth, notes = branch_values(widths, branches, {}, "fisher", CriterionData(Calibration(graph, data)))
    assert worth == pytest.approx([change], rel=1e-5)
    assert notes == ()


@pytest.mark.parametrize("utility", ["fisher", "taylor", "reconstruction", "activation"])
def test_with_calibration_data(utility: str) -> None:
    net, x = made("convolved", 1)
    data = torch.randn(64, *x.shape[1:])
    before = copy.deepcopy(net)
    edit = ng.prune(net, x, macs=0.5, depth=True, utility=utility, calibration=data)
    assert edit.refit is not None
    assert edit.certificate is not None
    assert np.isfinite(edit.certificate.value)
    assert edit.certificate.gap < 2e-3
    edit.undo()
    assert torch.equal(net(x), before(x))


@pytest.mark.parametrize("seed", range(6))
def test_the_refit_makes_up_for_branches_alone(seed: int) -> None:
    torch.manual_seed(seed)
    net, data = Blocks(8, [6, 8, 10]), torch.randn(256, 3)
    before = copy.deepcopy(net)

    def error(refit: bool) -> float:
        edit = ng.prune(net, data[:1], macs=0.7, calibration=data, refit=refit, **BRANCHES)
        assert edit.dropped
        assert not edit.change.widths
        found = float((net(data) - before(data)).detach().square().mean())
        edit.undo()
        return found

    assert error(refit=True) < 0.9 * error(refit=False)


@pytest.mark.parametrize("case", CASES)
def test_a_refit_afterwards(case: str) -> None:
    net, x = made(case, 0)
    before, data = copy.deepcopy(net), torch.randn(128, *x.shape[1:])
    edit = ng.prune(net, x, params=0.8, **BRANCHES)
    assert edit.dropped

    def error() -> float:
        return float((net(data) - before(data)).detach().square().mean())

    pruned = error()
    again = ng.reconstruct(net, before, data)
    assert error() < pruned
    again.undo()
    assert error() == pruned


def test_with_a_loss() -> None:
    net, x = made("convolved", 1)
    data = [(torch.randn(8, *x.shape[1:]), torch.arange(8) % 3)]

    def loss(network: Any, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(network(batch[0]), batch[1])

    edit = ng.prune(net, x, macs=0.5, depth=True, calibration=data, loss=loss)
    assert any("measured on 8 samples" in note for note in edit.notes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth": 3}, "depth= takes True, or module paths"),
        ({"depth": []}, "depth= takes True, or module paths"),
        ({"depth": [3]}, "depth= takes module paths, glob patterns and modules, not 3"),
        ({"depth": True, "macs": None, "ratio": 0.5}, "depth= goes with budgets"),
        ({"depth": True, "uniform": True}, "Sequential has no list of layers that its config counts"),
    ],
)
def test_nonsense(options: dict[str, Any], says: str) -> None:
    net, x = made("convolved", 0)
    with pytest.raises(EditError, match=says):
        ng.prune(net, x, **{"macs": 0.5, **options})


@pytest.mark.parametrize("case", CASES)
def test_undo_that_keeps_training(case: str) -> None:
    net, x = made(case, 0)
    before = copy.deepcopy(net)
    edit = ng.prune(net, x, macs=0.6, depth=True, at_least=0.7)
    assert edit.dropped
    names = {name for name, _ in net.named_parameters()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    edit.undo(keep_training=True)
    assert str(net) == str(before)
    for (name, one), two in zip(net.named_parameters(), before.parameters(), strict=True):
        moved = (one - two).detach()
        assert bool((moved.abs().minimum((moved - 1).abs()) < 1e-5).all()), "trained, or as it was"
        assert name in names or torch.equal(one, two)


def test_in_rounds() -> None:
    net, x = made("convolved", 0)
    before = copy.deepcopy(net)
    trained: list[int] = []
    edits = ng.prune_gradually(
        net, x, train=lambda network: trained.append(counted_params(network)), rounds=3, macs=0.4, depth=True
    )
    assert any(edit.dropped for edit in edits)
    assert counted_macs(net, (x,)) <= 0.4 * counted_macs(before, (x,))
    for edit in reversed(edits):
        edit.undo()
    assert torch.equal(net(x), before(x))


def test_averages_follow() -> None:
    net, x = made("convolved", 0)
    average = torch.optim.swa_utils.AveragedModel(net)
    before = copy.deepcopy(average)
    edit = ng.prune(net, x, macs=0.5, depth=True, optimizer=average)
    assert edit.dropped
    assert edit.graph is None
    torch.testing.assert_close(average(x), net(x))
    average.update_parameters(net)
    edit.undo()
    assert torch.equal(average(x), before(x))
