"""Batch norms folded into the layers before them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.ir.pytree import leaves
from naivegraph.network import capture
from tests.networks.plain import ALL, TRAPS, Network, randomised

fold_norms = ng.surgery.fold_norms


def pair(layer: nn.Module, norm: nn.Module) -> nn.Module:
    return randomised(nn.Sequential(layer, norm)).double()


PAIRS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: pair(nn.Linear(4, 6), nn.BatchNorm1d(6)), (5, 4)),
    "linear, no bias": (lambda: pair(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)), (5, 4)),
    "conv1d": (lambda: pair(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (5, 4, 8)),
    "conv2d": (lambda: pair(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)), (2, 4, 8, 8)),
    "conv3d": (lambda: pair(nn.Conv3d(2, 6, 2), nn.BatchNorm3d(6)), (2, 2, 4, 4, 4)),
    "grouped": (lambda: pair(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (2, 4, 8, 8)),
    "depthwise": (lambda: pair(nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.BatchNorm2d(8)), (2, 4, 8, 8)),
    "padded": (
        lambda: pair(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6)), (2, 4, 8, 8),
    ),
    "transposed": (lambda: pair(nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6)), (2, 4, 8, 8)),
    "transposed in groups": (
        lambda: pair(nn.ConvTranspose1d(4, 6, 3, groups=2, bias=False), nn.BatchNorm1d(6)), (2, 4, 8),
    ),
    "plain": (lambda: pair(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False)), (2, 4, 8, 8)),
    "synchronised": (lambda: pair(nn.Conv2d(4, 6, 3), nn.SyncBatchNorm(6)), (2, 4, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_one_layer_does_what_both_did(name: str) -> None:
    build, shape = PAIRS[name]
    net, x = build(), torch.randn(shape, dtype=torch.float64)
    expected, state = net(x), copy.deepcopy(net.state_dict())
    graph = capture(net, x)
    edit = fold_norms(graph)
    assert [vertex.name for vertex in graph] == ["input", "0"]
    assert dict(edit.asked["fold_norms"]) == {"1": "0"}
    module = graph.to_module()
    assert sorted(name for name, _ in module.named_parameters()) == ["0.bias", "0.weight"]
    for run in (graph, module):
        torch.testing.assert_close(run(x), expected, rtol=1e-12, atol=1e-12)
    edit.undo()
    assert net.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(net(x), expected)


class Functional(nn.Module):
    """The functions instead of the layers."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        shape = {"linear": (6, 4), "conv": (6, 4, 3, 3), "transposed": (4, 3, 3, 3)}[kind]
        self.weight, self.scale = nn.Parameter(torch.randn(shape)), nn.Parameter(torch.rand(6) + 0.5)
        self.register_buffer("mean", torch.randn(6))
        self.register_buffer("var", torch.rand(6) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "linear":
            x = F.linear(x, self.weight)
        elif self.kind == "conv":
            x = F.conv2d(x, self.weight, None, 2, 1)
        else:
            x = F.conv_transpose2d(x, self.weight, groups=2)
        return F.batch_norm(
            x, self.get_buffer("mean"), self.get_buffer("var"), self.scale, training=self.training, eps=0.1
        )


@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
def test_functions(kind: str) -> None:
    net = Functional(kind).double().eval()
    x = torch.randn((5, 4) if kind == "linear" else (2, 4, 8, 8), dtype=torch.float64)
    expected = net(x)
    graph = capture(net, x)
    edit = fold_norms(graph)
    assert len(graph) == 2
    assert [name for name, _ in graph.to_module().named_parameters()] == ["weight", "bias"]
    for run in (graph, graph.to_module(), copy.deepcopy(graph)):
        torch.testing.assert_close(run(x), expected, rtol=1e-12, atol=1e-12)
    edit.undo()
    assert torch.equal(net(x), expected)
    assert torch.equal(graph(x), expected)


@pytest.mark.parametrize("network", [*ALL, *TRAPS], ids=str)
def test_networks_of_all_kinds(network: Network) -> None:
    model, inputs = network.make(torch.float64)
    with torch.no_grad():
        expected = [leaf for leaf in leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    graph = capture(model, inputs, verify=False)
    before = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    try:
        edit = fold_norms(graph)
    except ng.EditError as error:
        assert "cannot be folded" in str(error) or "calls no batch norm" in str(error)  # noqa: PT017
        return
    after = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    assert after <= before - len(edit.asked["fold_norms"]) or str(network) == "Reused"  # of one norm
    graph.lint()
    with torch.no_grad():
        found = [leaf for leaf in leaves(graph(*inputs)) if isinstance(leaf, Tensor)]
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12 * float(two.abs().max()))
    edit.undo()
    with torch.no_grad():
        found = [leaf for leaf in leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    assert all(map(torch.equal, found, expected))


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
    )


def test_saved_loaded_replayed_and_pruned(tmp_path: Path) -> None:
    net, x = randomised(small()), torch.randn(2, 3, 8, 8)
    graph = capture(net, x)
    edit = fold_norms(graph)
    assert "folded 1 into 0, 4 into 3" in str(edit)
    assert "folded 1 into 0" in repr(edit)
    assert len(edit.notes) == 1  # of the old forward
    other = capture(randomised(small()), x)
    other.module.load_state_dict(capture(randomised(small()), x).module.state_dict())
    again = ng.replay(other, edit.to_json())
    assert again.change == edit.change
    ng.save(graph, tmp_path / "folded.safetensors")
    loaded = ng.load(small(), tmp_path / "folded.safetensors")
    assert torch.equal(loaded.eval()(x), graph(x))
    ng.prune(graph, ratio=0.5)
    assert graph.sizes["0"] == 3
    ng.save(graph, tmp_path / "folded.safetensors")
    loaded = ng.load(small(), tmp_path / "folded.safetensors")
    assert torch.equal(loaded.eval()(x), graph(x))


def test_optimizer_and_training() -> None:
    net, x = randomised(small()), torch.randn(2, 3, 8, 8)
    optimizer = torch.optim.AdamW(net.parameters())
    weight = net.get_parameter("0.weight")
    graph = capture(net, x)
    edit = fold_norms(graph, optimizer=optimizer)
    assert graph.module.get_parameter("0.weight") is weight
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert owned == {id(p) for p in graph.parameters()}
    with pytest.raises(
        ng.EditError, match="cannot be taken out of trained ones again: undo without keep_training"
    ):
        edit.undo(keep_training=True)
    graph(x).sum().backward()
    optimizer.step()
    edit.undo()
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert owned == {id(p) for p in net.parameters()}
    assert not optimizer.state


def test_chosen_norms() -> None:
    net, x = randomised(small()), torch.randn(2, 3, 8, 8)
    graph = capture(net, x)
    assert dict(fold_norms(graph, "4").asked["fold_norms"]) == {"4": "3"}
    assert dict(fold_norms(graph, ["?"]).asked["fold_norms"]) == {"1": "0"}
    with pytest.raises(ng.EditError, match="the network calls no batch norm that could be folded"):
        fold_norms(graph)
    with pytest.raises(ng.EditError, match="'x\\*' fits no batch norm of the graph"):
        fold_norms(graph, "x*")
    with pytest.raises(ng.EditError, match="'0' is no batch norm"):
        fold_norms(graph, "0")
    again = randomised(small())
    edit = fold_norms(again, x, graph_norms := "1")  # a network with its example
    assert edit.asked["fold_norms"][graph_norms] == "0"


class Trap(nn.Module):
    """Norms that cannot be folded."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3, track_running_stats=kind != "untracked")
        self.fc, self.over = nn.Linear(8, 8), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Any:
        norm, kind = self.norm, self.kind
        if kind == "twice":
            return norm(self.a(self.a(x)))
        if kind == "tied":
            y = F.conv2d(x, self.a.weight, padding=1)
            return norm(self.a(y))
        if kind == "used":
            y = self.a(x)
            return norm(y) + y
        if kind == "returned":
            y = self.a(x)
            return norm(y), y
        if kind == "first":
            return norm(x)
        if kind == "activation":
            return norm(self.a(x).relu())
        if kind == "computed":
            return norm(F.conv2d(x, self.a.weight * 2, padding=1))
        if kind == "scaled":
            return F.batch_norm(
                self.a(x), norm.running_mean, norm.running_var, self.b.weight.sum((1, 2, 3)).exp()
            )
        if kind == "features":
            return self.over(self.fc(x.reshape(x.shape[0], 6, -1)[:, :, :8]))
        return norm(self.a(x))


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("twice", r"'norm' cannot be folded: a\.weight of 'a_1' is shared by 'a'"),
        ("tied", r"'norm' cannot be folded: a\.weight of 'a' is shared by 'conv2d'"),
        ("used", "'norm' cannot be folded: 'add' uses what 'a' gives before it, too"),
        ("returned", "'norm' cannot be folded: the network returns what 'a' gives before it, too"),
        ("first", "'norm' cannot be folded: no layer comes before it"),
        ("activation", "'norm' cannot be folded: 'relu' comes before it, which is no linear layer"),
        ("computed", "'norm' cannot be folded: the weight of 'conv2d' is worked out by other calls"),
        ("scaled", "'batch_norm' cannot be folded: other calls compute its weight"),
        ("features", "'over' cannot be folded: its channels are not the features of 'fc', which come last"),
        (
            "untracked",
            "'norm' cannot be folded: it has no running statistics, so it normalises by each batch",
        ),
        ("training", r"'norm' cannot be folded: it is in train mode, .*; call eval\(\) first"),
        ("masked", "'norm' cannot be folded: the weight of 'a' is worked out from other parameters"),
    ],
)
def test_refusals(kind: str, match: str) -> None:
    net, x = Trap(kind).eval(), torch.randn(2, 3, 8, 8)
    if kind == "masked":
        nn.utils.prune.random_unstructured(net.a, "weight", 0.5)  # type: ignore[no-untyped-call]
    graph = capture(net, x)
    net.train(kind == "training")
    state, names = copy.deepcopy(net.state_dict()), [vertex.name for vertex in graph]
    with pytest.raises(ng.EditError, match=match):
        fold_norms(graph)
    norm = "batch_norm" if kind == "scaled" else "over" if kind == "features" else "norm"
    with pytest.raises(ng.EditError, match=match):
        fold_norms(graph, norm)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert [vertex.name for vertex in graph] == names
    assert not graph.rewired


def test_others_are_folded_and_the_reason_is_told() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.last = small(), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.body(x).relu())
            return out

    graph = capture(randomised(Both()), torch.randn(2, 3, 8, 8))
    edit = fold_norms(graph)
    assert len(edit.asked["fold_norms"]) == 2
    assert any("'last' cannot be folded: 'relu' comes before it" in note for note in edit.notes)


def test_hooks_that_change_the_result_are_found_out() -> None:
    net, x = randomised(small()), torch.randn(2, 3, 8, 8)
    hook = net.get_submodule("0").register_forward_hook(lambda module, args, out: out + 1)
    graph, state, expected = capture(net, x), copy.deepcopy(net.state_dict()), net(x)
    with pytest.raises(ng.EditError, match="is there a hook on a layer, or a value far too large"):
        fold_norms(graph, "1")
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(net(x), expected)
    hook.remove()
