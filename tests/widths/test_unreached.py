"""Modules that the example does not reach: they stay fit for what reaches them later."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Expert(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(size, hidden), nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(torch.relu(self.up(x)))
        return out


class Mixture(nn.Module):
    """Experts of which the ones given by `chosen` are called."""

    def __init__(self, *, keyed: bool = False) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        experts = [Expert(8, 6) for _ in range(4)]
        self.experts = (
            nn.ModuleDict({f"e{i}": e for i, e in enumerate(experts)}) if keyed else nn.ModuleList(experts)
        )
        self.chosen = [0, 1]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.stem(x)
        experts = (
            list(self.experts.values()) if isinstance(self.experts, nn.ModuleDict) else list(self.experts)
        )
        for i in self.chosen:
            hidden = hidden + experts[i](hidden)
        out: Tensor = self.head(hidden)
        return out


@pytest.mark.parametrize("keyed", [False, True])
def test_an_expert_that_the_example_does_not_reach_follows_its_siblings(keyed: bool) -> None:
    torch.manual_seed(0)
    net = Mixture(keyed=keyed)
    with torch.no_grad():  # the last three neurons of the stem do nothing, so that the network is as it was
        for name, parameter in net.named_parameters():
            if name.endswith("up.weight") or name == "head.weight":
                parameter[:, 5:] = 0
            elif name.startswith("stem") or name.endswith(("down.weight", "down.bias")):
                parameter[5:] = 0
    before, x = copy.deepcopy(net), torch.randn(3, 4)
    ng.resize(ng.capture(net, x), {"stem": -3})
    assert net.stem.out_features == 5
    for chosen in ([0, 1], [2], [3, 2, 0]):
        net.chosen = before.chosen = chosen
        torch.testing.assert_close(net(x), before(x))


def test_the_hidden_size_of_an_expert_is_its_own() -> None:
    net: Any = Mixture()
    edit = ng.resize(ng.capture(net, torch.randn(3, 4)), {"experts.0.up": -2})
    sizes = [expert.up.out_features for expert in net.experts]
    assert sizes == [4, 6, 6, 6]
    edit.undo()
    net.chosen = [3]
    assert net(torch.randn(3, 4)).shape == (3, 3)


class Heads(nn.Module):
    """Heads by name, of which the one in `chosen` is called."""

    def __init__(self, heads: nn.ModuleDict, *, maps: bool = False) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Conv2d(3, 8, 3, padding=1) if maps else nn.Linear(4, 8)
        self.mid: nn.Module = nn.Conv2d(8, 12, 1) if maps else nn.Linear(8, 12)
        self.back: nn.Module = nn.Conv2d(12, 8, 1) if maps else nn.Linear(12, 8)
        self.heads, self.chosen = heads, "a"

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.back(torch.relu(self.mid(x)))
        out: Tensor = self.heads[self.chosen](x)
        return out


class Depth(nn.Module):
    """A stack of layers of which the first few are called, as with layer-drop."""

    def __init__(self, *, residual: bool) -> None:
        super().__init__()
        self.stem, self.layers, self.head = (
            nn.Linear(4, 8),
            nn.ModuleList(nn.Linear(8, 8) for _ in range(5)),
            nn.Linear(8, 3),
        )
        self.residual, self.depth = residual, 3

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers[: self.depth]:
            x = x + torch.relu(layer(x)) if self.residual else torch.relu(layer(x))
        out: Tensor = self.head(x)
        return out


class Narrowing(nn.Module):
    """A chain of layers of different sizes, which a later call leaves later."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 16), nn.Linear(16, 8), nn.Linear(8, 6)])
        self.exits = nn.ModuleList([nn.Linear(16, 3), nn.Linear(8, 3), nn.Linear(6, 3)])
        self.depth = 2

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[: self.depth]:
            x = torch.relu(layer(x))
        out: Tensor = self.exits[self.depth - 1](x)
        return out


class InTraining(nn.Module):
    """A branch of its own in train mode, or where a flag says so."""

    def __init__(self, *, training: bool) -> None:
        super().__init__()
        self.stem, self.extra, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.wide, self.by_training, self.more = nn.Linear(8, 12), training, False

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        if self.training if self.by_training else self.more:
            x = x + self.extra(x)
        out: Tensor = self.head(x + self.wide(x).sum(1, keepdim=True))
        return out


class Bag(nn.Module):
    """Layers kept in a dict, which are no alternatives, and one that only another call reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {"in": nn.Linear(4, 8), "mid": nn.Linear(8, 12), "out": nn.Linear(12, 3), "aux": nn.Linear(20, 3)}
        )
        self.aux = False

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.parts["in"](x))
        y = torch.relu(self.parts["mid"](x))
        out: Tensor = self.parts["out"](y)
        return out + self.parts["aux"](torch.cat([x, y], 1)) if self.aux else out


def _switch(net: Any, name: str, values: list[Any]) -> Any:
    """Reach what the example did not, one after the other."""
    for value in values:
        setattr(net, name, value)
        yield value


def _heads(b: nn.Module, *, maps: bool = False) -> nn.ModuleDict:
    if maps:
        first = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        return nn.ModuleDict({"a": first, "b": b})
    return nn.ModuleDict({"a": nn.Linear(8, 3), "b": b})


NETS: dict[str, tuple[Any, str, list[Any]]] = {
    "a head of another size": (lambda: Heads(_heads(nn.Linear(8, 5))), "chosen", ["b"]),
    "a head of another class": (
        lambda: Heads(_heads(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5)))), "chosen", ["b"],
    ),
    "a head that flattens": (
        lambda: Heads(_heads(nn.Sequential(nn.Flatten(), nn.Linear(200, 5)), maps=True), maps=True),
        "chosen", ["b"],
    ),
    "a head of maps": (
        lambda: Heads(_heads(nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)), maps=True), maps=True),
        "chosen", ["b"],
    ),
    "a head of depthwise maps": (
        lambda: Heads(_heads(nn.Conv2d(8, 8, 3, groups=8), maps=True), maps=True), "chosen", ["b"],
    ),
    "layers of a residual stack": (lambda: Depth(residual=True), "depth", [5, 1, 0]),
    "layers of other sizes": (Narrowing, "depth", [1, 3]),
    "layers of a chain": (lambda: Depth(residual=False), "depth", [5, 1, 0]),
    "a branch in train mode": (lambda: InTraining(training=True), "training", [True]),
    "experts": (Mixture, "chosen", [[2], [3, 2, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("how", ["ratio", "params", "resize"])
def test_what_the_example_does_not_reach_runs_after_an_edit(name: str, how: str) -> None:
    build, attribute, values = NETS[name]
    net = build().eval()
    maps = isinstance(next(net.children()), nn.Conv2d)
    x = torch.randn(3, 3, 5, 5) if maps else torch.randn(3, 4)
    expected = {}
    for value in _switch(net, attribute, values):
        expected[repr(value)] = net(x).shape
    net = build().eval()
    if how == "resize":
        graph = ng.capture(net, x)
        for vertex in [v.name for v in graph if v.kind == "layer" and not v.name.startswith("head")]:
            if ng.can(graph, "resize", {vertex: -1}):
                ng.resize(graph, {vertex: -1})
    elif how == "ratio":
        ng.prune(net, (x,), ratio=0.5)
    else:
        before = sum(p.numel() for p in net.parameters())
        try:
            ng.prune(net, (x,), params=int(0.9 * before))
        except ng.InfeasibleError:
            pytest.skip("all of it is held")
    for value in _switch(net, attribute, values):
        assert net(x).shape == expected[repr(value)]


def test_sizes_around_what_is_not_reached_say_why_they_are_held() -> None:
    graph = ng.capture(Heads(_heads(nn.Sequential(nn.Linear(8, 6)))), torch.randn(3, 4))
    with pytest.raises(ng.InfeasibleError, match=r"does not reach heads[.]b, which may use it"):
        ng.resize(graph, {"stem": -2}, strategy=ng.strategy.Raise())
    ng.resize(graph, {"mid": -3})  # only what the head could take is held
    assert graph.sizes["mid"] == 9


@pytest.mark.parametrize(
    ("build", "name", "layer"),
    [(Bag, "parts.aux.weight", "parts.mid"), (lambda: InTraining(training=False), "extra.weight", "wide")],
)
def test_what_nothing_says_the_use_of_is_told_of(build: Any, name: str, layer: str) -> None:
    edits = [ng.prune(build(), torch.randn(3, 4), ratio=0.5)]
    edits.append(ng.resize(ng.capture(build(), torch.randn(3, 4)), {layer: -1}))
    for edit in edits:
        assert any(name in note and "check that it still runs there" in note for note in edit.notes)


class Domains(nn.Module):
    """Norms and heads of which the call says which one runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        norms: list[list[nn.Module]] = [
            [nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.InstanceNorm2d(8, affine=True)]
            for _ in range(3)
        ]
        self.norms = nn.ModuleList(nn.Sequential(*each) for each in norms)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.PReLU(8), nn.Linear(8, 2)) for _ in range(3)
        )
        self.ends = nn.ModuleList(nn.ConvTranspose2d(8, 2, 2) for _ in range(2))

    def forward(self, x: Tensor, which: int = 0) -> Any:
        h = self.norms[which](self.stem(x)).relu()
        return self.heads[which](h.mean((2, 3))), self.ends[which % 2](h)


@pytest.mark.parametrize("change", [-3, +2])
def test_attributes_of_layers_that_are_not_reached_follow_their_parameters(change: int) -> None:
    net, x = Domains().eval(), torch.randn(2, 3, 5, 5)
    edit = ng.resize(net, x, {"stem": change})
    size = 8 + change
    assert not [note for note in edit.notes if "stay as they are" in note]
    for norms, head in zip(net.norms, net.heads, strict=True):
        batch, depthwise, instance = list(norms.children())
        norm, activation, linear = list(head.children())
        assert batch.num_features == instance.num_features == depthwise.groups == size
        assert depthwise.in_channels == depthwise.out_channels == size
        assert norm.normalized_shape == (size,)
        assert activation.num_parameters == linear.in_features == size
    assert [end.in_channels for end in net.ends] == [size, size]
    for which in range(3):
        net(x, which)


def test_only_modules_that_share_no_size_are_told_of() -> None:
    class Extra(Domains):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(3, 3)

    edit = ng.resize(Extra().eval(), torch.randn(2, 3, 5, 5), {"stem": -2})
    (note,) = [note for note in edit.notes if "stay as they are" in note]
    assert note.startswith("2 parameters (unused.weight, ...)")
