"""What runs in train mode only (a second head and its loss) follows an edit as all else does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.widths import constraints_of, relate
from tests.oracle import choose, counted_macs, snapshot, unchanged, zeroed


class TwoHeads(nn.Module):
    """A second head on the middle of the trunk, with a batch norm that wants more than one example."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.body = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, 5)
        self.aux_conv, self.aux_norm = nn.Conv2d(8, 6, 3), nn.BatchNorm1d(6)
        self.drop, self.aux_head = nn.Dropout(0.0), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        middle = F.relu(self.norm(self.stem(x)))
        out: Tensor = self.head(self.body(middle).mean((2, 3)))
        if not self.training:
            return out
        aux = self.drop(F.relu(self.aux_norm(self.aux_conv(middle).mean((2, 3)))))
        return out, self.aux_head(aux)


class SecondAttention(nn.Module):
    """A head of train mode with heads of its own, whose sizes the code reads from attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.trunk, self.head = 3, nn.Linear(6, 12), nn.Linear(12, 4)
        self.fused, self.out = nn.Linear(12, 36), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        x = self.trunk(x)
        if not self.training:
            return self.head(x)  # type: ignore[no-any-return]
        b, n, c = x.shape
        q, k, v = self.fused(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        return {"main": self.head(x), "other": self.out(y)}


class OtherAttention(nn.Module):
    """One attention in both modes; in train mode its query weights are used once more."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.out, self.aux = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = x[:, None]
        q = self.query(x)
        out: Tensor = self.out(F.scaled_dot_product_attention(q, self.key(x), self.value(x)))
        return (out, self.aux(q)) if self.training else out


NETWORKS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (TwoHeads, (1, 3, 8, 8)),
    (SecondAttention, (2, 5, 6)),
    (OtherAttention, (2, 5, 6)),
]


def outputs(net: nn.Module, x: Tensor) -> list[Tensor]:
    found = net(x)
    return list(found.values()) if isinstance(found, dict) else list(found)


@pytest.mark.parametrize(("kind", "shape"), NETWORKS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("seed", range(3))
def test_the_function_of_train_mode_is_kept(
    kind: Callable[[], nn.Module], shape: tuple[int, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    net, x = kind().double(), torch.randn(shape).double()
    graph = capture(net, x)
    widths = relate(graph)
    constraints = constraints_of(widths)
    kept = choose(widths, constraints, seed)
    without = zeroed(net, widths, kept)
    apply(plan(widths, constraints, kept), net)
    x = torch.randn(4, *shape[1:]).double()
    for mode in (True, False):
        net.train(mode), without.train(mode)
        results = zip(outputs(net, x), outputs(without, x), strict=True) if mode else [(net(x), without(x))]
        for found, expected in results:
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_second_head_is_cut_and_trains() -> None:
    torch.manual_seed(0)
    net = TwoHeads()
    before, random = snapshot(net), torch.get_rng_state()
    edit = ng.prune(net, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), ratio=0.5)
    assert net.aux_conv.weight.shape == (3, 4, 3, 3)
    assert net.aux_norm.num_features == net.aux_head.in_features == 3
    assert not edit.notes
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(net.norm.running_mean, torch.zeros(4))  # type: ignore[arg-type]
    assert net.training
    sum(out.sum() for out in net(torch.randn(2, 3, 8, 8))).backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())
    net.zero_grad()
    net.norm.reset_running_stats()
    net.aux_norm.reset_running_stats()
    edit.undo()
    assert unchanged(net, before)


def test_costs_are_those_of_eval_mode() -> None:
    net, x = TwoHeads().eval(), torch.randn(1, 3, 8, 8)
    assert capture(net, x).macs == counted_macs(net, (x,))


def test_keep_names_what_runs_in_train_mode() -> None:
    net = TwoHeads()
    ng.prune(net, torch.randn(1, 3, 8, 8), ratio=0.5, keep="aux_conv")
    assert net.aux_conv.weight.shape == (6, 4, 3, 3)


def test_resizing_a_graph_again_and_again() -> None:
    torch.manual_seed(0)
    net, x = TwoHeads(), torch.randn(2, 3, 8, 8)
    graph = copy.deepcopy(ng.capture(net, x))
    net = graph.module  # type: ignore[assignment]
    before = [out.detach() for out in net.train()(x)]
    for change in (+2, -3, +4):
        ng.resize(graph, {"stem": change})
        graph.lint()
        assert net.aux_conv.in_channels == graph.sizes["stem"]
        found = net(x)
        if change == 2:
            torch.testing.assert_close(list(found), before)
    for same in (graph, graph.to_module()):
        torch.testing.assert_close(list(same(x)), list(net(x)))
    assert graph.to_module().eval()(x).shape == (2, 5)
    assert net.stem.out_channels == 11


class Failing(TwoHeads):
    """Its train mode wants more than the example."""

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        if self.training and target is None:
            raise ValueError("targets are needed in train mode")
        return super().forward(x)


def test_without_a_run_in_train_mode_its_layers_stay() -> None:
    net = Failing()
    edit = ng.prune(net, torch.randn(1, 3, 8, 8), ratio=0.5)
    assert net.aux_head.weight.shape == (5, 6)
    assert any("did not use them" in note and "aux_" in note for note in edit.notes)


class Written(nn.Module):
    """Train mode works with a size that eval mode does not."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.a(x)
        return (self.b(y), self.aux(y.view(-1, 2, 4))) if self.training else self.b(y)


def test_a_size_written_in_the_code_of_train_mode_stays() -> None:
    net = Written()
    ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert net.aux(net.a(torch.ones(3, 4)).view(-1, 2, 4)).shape == (3, 2, 2)


class Branching(nn.Module):
    """Fails in train mode once its hidden size falls below seven, which no number sees: a set finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.a(x)
        if not self.training:
            return self.b(y)  # type: ignore[no-any-return]
        return self.b(y), self.aux(y) if y.shape[-1] not in {4, 5, 6} else y


def test_another_shape_in_train_mode_is_refused() -> None:
    net = Branching()
    before = snapshot(net)
    with pytest.raises(ng.EditError, match=r"output\[1\] in train mode has shape \(1, 4\), not \(1, 2\)"):
        ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert unchanged(net, before)


class Regrouping(nn.Module):
    """Calls others in train mode on the same parameters, which there are seen in four rows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 24), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.training:
            y = (y.view(-1, 4, 6) * torch.rand(4, 1)).flatten(1)
        return self.b(y)  # type: ignore[no-any-return]


def test_a_module_made_of_both_modes_runs_in_both_after_an_edit() -> None:
    x = torch.randn(3, 4)
    net = capture(Regrouping(), x).to_module()
    edit = ng.prune(net, x, params=0.5)
    a, b = net.get_submodule("a"), net.get_submodule("b")
    rows, size = (net.get_submodule("naivegraph_sizes").__dict__[f"view_size_{n}"] for n in (0, 1))
    assert rows * size == len(net.get_parameter("a.weight")) < 24
    torch.manual_seed(0)
    found = net.train()(x)
    torch.manual_seed(0)
    assert torch.allclose(found, b(a(x) * torch.rand(rows, 1).expand(rows, size).flatten()), atol=1e-6)
    edit.undo()
    assert net(x).shape == (3, 2)


class Codes(nn.Module):
    """Features and the nearest codes to them; in train mode alone, running means make the codes."""

    codes: Tensor
    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 3)
        self.register_buffer("codes", torch.randn(10, 16))
        self.register_buffer("means", self.codes.clone())

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x)
        nearest = (hidden[:, None] - self.codes).square().sum(-1).argmin(-1)
        if self.training:
            chosen = nn.functional.one_hot(nearest, 10).to(x)
            self.means.mul_(0.9).add_(chosen.t() @ hidden.detach(), alpha=0.1)
            self.codes.copy_(self.means)
        out: Tensor = self.b(hidden + nn.functional.embedding(nearest, self.codes))
        return out


def test_running_means_that_train_mode_alone_uses_are_cut() -> None:
    torch.manual_seed(0)
    model, x = Codes().eval(), torch.randn(5, 8)
    other = copy.deepcopy(model)
    edit = ng.prune(model, x, ratio=0.5)
    kept = torch.isin(other.a.bias, model.a.bias)
    assert kept.sum() == 8
    with torch.no_grad():
        for tensor in (other.a.weight.T, other.a.bias, other.codes, other.means):
            tensor[..., ~kept] = 0
    for mode in (False, True, True, False):
        torch.testing.assert_close(model.train(mode)(x), other.train(mode)(x))
    torch.testing.assert_close(model.means, other.means[:, kept])
    edit.undo()
    assert model.means.shape == (10, 16)
    assert model.train()(x).shape == (5, 3)
