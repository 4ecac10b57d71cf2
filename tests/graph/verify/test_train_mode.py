"""What a network does in train mode alone, its graph and the module made of that do there, too."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph import Training
from naivegraph.graph.verify import train_mode as modes
from naivegraph.ir.pytree import leaves


class Attention(nn.Module):
    """Its dropout is a number given to a function, by its own flag."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.query, self.rest, self.out = nn.Linear(size, 8), nn.Linear(size, 16), nn.Linear(8, size)
        self.dropout = 0.4

    def forward(self, x: Tensor) -> Tensor:
        key, value = self.rest(x).chunk(2, -1)
        dropped = self.dropout if self.training else 0.0
        found: Tensor = self.out(
            F.scaled_dot_product_attention(self.query(x), key, value, dropout_p=dropped, is_causal=True)
        )
        return found


class Constants(nn.Module):
    """Parts with flags of their own, and a number, a flag, a word and nothing that depend on one."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(Attention(), nn.LayerNorm(8), Attention())
        self.up, self.head = nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, bool]:
        x = F.relu(self.up(self.backbone(x)))
        x = F.dropout(x, 0.3 if self.training else 0)
        x = F.dropout(x, 0.1, training=True) * (0.5 if self.training else 1.0)
        x = F.gelu(x, approximate="tanh" if self.training else "none")
        x = torch.clamp(x, -0.3, 0.2 if self.training else None)
        return self.head(x), self.training


class Operators(nn.Module):
    """Calls more in train mode, with no parameter that eval mode does not use, and returns another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention, self.head = nn.Linear(8, 6), Attention(6), nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros(()))
        self.seen: Tensor

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        x = self.first(x)
        if self.training:
            self.seen += 1
            x = x + 0.3 * torch.rand_like(x)
        y = self.head(self.attention(x))
        return {"out": y, "middle": x} if self.training else y


class Sizes(nn.Module):
    """Takes another number of things in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(x).topk(3 if self.training else 2).values
        return found


class Auxiliary(Operators):
    """A second head, with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        found = super().forward(x)
        if isinstance(found, dict):
            found["aux"] = F.dropout(self.aux(found.pop("middle")), 0.5, self.training)
        return found


class Dropping(nn.Module):
    """Hands its own flag to a function, between calls of other functions."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.inside(x), 0.5, self.training)


class Counting(nn.Module):
    """Does something in train mode as often as it has neurons, and has a part with a flag of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.drop, self.head = nn.Linear(8, 6), Dropping(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        if self.training:
            for _ in range(self.up.out_features):
                x = x + 1
        found: Tensor = self.head(self.drop(x))
        return found


class Heads(nn.Module):
    """Another kind of output in train mode, in which it has a second head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(8, 6), nn.Linear(6, 3), nn.Linear(6, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = F.dropout(F.relu(self.body(x)), 0.3, self.training)
        out: Tensor = self.head(x)
        return (out, self.aux(self.drop(x))) if self.training else out


KINDS: list[type[nn.Module]] = [Constants, Operators, Sizes, Auxiliary, Counting, Heads]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def check_same(net: nn.Module, run: Callable[..., Any]) -> None:
    """Both give the same outputs, and change the network's buffers alike."""
    x = torch.randn(3, 5, 8)
    found, changed = [], []
    for each in (net, run):
        owner = each.module if isinstance(each, ng.Graph) else each
        assert isinstance(owner, nn.Module)
        before = {name: buffer.clone() for name, buffer in owner.named_buffers()}
        torch.manual_seed(1)
        found.append(each(x))
        changed.append({name: owner.get_buffer(name) - before[name] for name in before})
    assert type(found[0]) is type(found[1])
    for one, two in zip(leaves(found[0]), leaves(found[1]), strict=True):
        torch.testing.assert_close(two, one)
    torch.testing.assert_close(changed[1], changed[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verify", [True, False])
def test_a_graph_does_what_its_network_does_in_either_mode(kind: type[nn.Module], verify: bool) -> None:
    net = kind()
    graph = ng.capture(net, torch.randn(2, 5, 8), verify=verify)
    for mode in (True, False, True):
        net.train(mode)
        check_same(net, graph)
        check_same(net, copy.deepcopy(graph.to_module()))
    assert graph.checks["train mode"] == "equal"
    check_same(net, copy.deepcopy(graph))
    graph.lint()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_compared_is_exported_right(kind: type[nn.Module]) -> None:
    net = kind()
    graph = ng.capture(net, torch.randn(2, 5, 8), verify="recorded", fake=True)
    assert "train mode" not in graph.checks
    check_same(net.train(), graph.to_module())


def test_constants_follow_the_flag_of_the_innermost_module() -> None:
    net = Constants()
    graph = ng.capture(net, torch.randn(2, 5, 8))
    attention = graph["backbone.2.scaled_dot_product_attention"]
    assert attention.kwargs["dropout_p"] == Training("backbone.2", 0.4, 0.0)
    assert graph.output[1] == Training("")
    assert graph["gelu"].kwargs["approximate"] == Training("", "tanh", "none")
    assert "Training(path='', on='tanh', off='none')" in repr(graph["gelu"].kwargs)
    assert graph.train_replay is graph.training is None


@pytest.mark.parametrize("frozen", ["backbone", "backbone.0", "backbone.2"])
def test_a_frozen_part_stays_frozen(frozen: str) -> None:
    net = Constants()
    graph = ng.capture(net, torch.randn(2, 5, 8))
    made = graph.to_module()
    for root in (True, False):
        for module in (net, made):
            module.train(root)
            module.get_submodule(frozen).train(not root)
        check_same(net, graph)
        check_same(net, made)
        check_same(net, graph.to_module())


def test_a_frozen_part_of_a_network_that_calls_others_in_train_mode() -> None:
    net = Counting()
    graph = ng.capture(net, torch.randn(2, 5, 8))
    made = graph.to_module()
    for module in (net, made):
        module.train().get_submodule("drop").eval()
    check_same(net, graph)
    check_same(net, made)


def test_sizes_take_no_turns() -> None:
    graph = ng.capture(Sizes(), torch.randn(2, 5, 8))
    assert graph["topk"].args[1] == 2
    assert graph.train_replay is not None
    assert graph.train_replay["topk"].args[1] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_change_and_train_mode_follows(kind: type[nn.Module]) -> None:
    net = kind()
    graph = ng.capture(net, torch.randn(2, 5, 8))
    name = {
        "Constants": "up",
        "Counting": "up",
        "Operators": "attention.out",
        "Auxiliary": "attention.out",
    }.get(kind.__name__)
    if name is not None:
        ng.resize(graph, {name: -2})
        assert graph.sizes[name] in (4, 10)
    graph.refresh()
    net.train()
    check_same(net, graph)
    check_same(net, graph.to_module())
    graph.lint()


def test_a_pruned_network_captured_again() -> None:
    for kind in (Constants, Operators, Auxiliary):
        net = kind()
        ng.prune(net, torch.randn(2, 5, 8), ratio=0.5)
        check_same(net.train(), ng.capture(net, torch.randn(2, 5, 8), fake=True).to_module())


@pytest.mark.parametrize("verify", [True, False])
def test_constants_still_follow_after_the_structure_changed(verify: bool) -> None:
    net = Constants()
    graph = ng.capture(net, torch.randn(2, 5, 8), verify=verify)
    before = copy.deepcopy(net)
    ng.insert(graph, after="up", layer=lambda size: nn.Identity())
    check_same(before.train(), graph.to_module().train())


@pytest.mark.parametrize(
    ("kind", "only"),
    [(Operators, ""), (Auxiliary, ", without the 2 parameters (aux.bias, ...) that train mode alone used")],
)
@pytest.mark.parametrize("layer", [nn.Identity, nn.LayerNorm])  # without parameters of its own and with some
def test_other_calls_are_left_behind_when_the_structure_changes(kind: Any, only: str, layer: Any) -> None:
    net = kind()
    graph = ng.capture(net, torch.randn(2, 5, 8))
    edit = ng.insert(graph, after="first", layer=layer)
    assert graph.checks["train mode"] == (
        "differs: since its structure was edited, the graph calls in train mode what it calls in eval mode"
        f"{only}; before that the network called other functions there"
    )
    assert isinstance(graph.to_module().train()(torch.randn(2, 5, 8)), Tensor)
    edit.undo()
    assert graph.checks["train mode"] == "equal"
    check_same(net.train(), graph)


class Literal(nn.Module):
    """Sizes written in the code, of which one is another one in train mode; with a second head or without."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 12), nn.Linear(12, 4)
        self.aux = nn.Linear(12, 2) if second else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        rows, size = (4, 3) if self.training else (3, 4)
        x = self.first(x).view(-1, rows, size).mul(2).view(-1, 5, 12)
        out: Tensor = self.last(x)
        return (out, self.aux(x)) if self.training and self.aux is not None else out


@pytest.mark.parametrize("second", [True, False])
def test_sizes_written_in_the_code_of_either_mode(second: bool) -> None:
    net = Literal(second)
    made = ng.capture(net, torch.randn(2, 5, 8)).to_module()
    for mode in (True, False):
        check_same(net.train(mode), made.train(mode))


class Storing(nn.Module):
    """Keeps what a layer computes, for train mode to use."""

    def __init__(self) -> None:
        super().__init__()
        self.noise, self.head = Noise(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.noise(x)
        found: Tensor = self.head(x) + (self.noise.drawn.mean() if self.training else 0)
        return found


class Noise(nn.Module):
    drawn: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.drawn = torch.rand_like(x) if self.training else x
        return x + self.drawn.mean()


class Leaking(torch.autograd.Function):
    """Keeps what it computes inside."""

    kept: list[Tensor] = []  # noqa: RUF012

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        Leaking.kept[:] = [x * 2]
        return x + 1


class Leaks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = Leaking.apply(x)  # type: ignore[no-untyped-call]
        found: Tensor = self.head(x) + (Leaking.kept[0].mean() if self.training else 0)
        return found


def test_what_a_layer_keeps_for_train_mode_is_recorded() -> None:
    """The layer is looked into: in train mode others use a tensor that it computes inside."""
    net = Storing()
    made = ng.capture(net, torch.randn(2, 8)).to_module()
    for mode in (True, False):
        check_same(net.train(mode), made.train(mode))


def test_train_mode_that_cannot_be_recorded_is_said() -> None:
    found = ng.capture(Leaks(), torch.randn(2, 8)).checks["train mode"]
    assert found.startswith("differs: ")
    assert "in train mode cannot be recorded: " in found
    assert "computed inside 'Leaking', which does not return it" in found


class Layers(nn.Module):
    """Differs in train mode, and its eval capture is right there."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.5), nn.Linear(6, 3))
        self.attention = nn.MultiheadAttention(3, 1, dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.net(x), 0.2, self.training)
        found: Tensor = self.attention(x, x, x)[0]
        return found


def test_nothing_is_recorded_where_the_graph_is_right_already(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("recorded without need")

    monkeypatch.setattr(modes, "record_in_train_mode", fail)
    net = Layers()
    assert ng.capture(net, torch.randn(2, 5, 8)).checks["train mode"] == "equal"
    monkeypatch.setattr(modes, "compare", fail)
    graph = ng.capture(Constants().train(), torch.randn(2, 5, 8), verify="recorded", fake=True)
    graph.refresh()
    ng.prune(Constants().train(), torch.randn(2, 5, 8), ratio=0.5)


def test_networks_in_train_mode_keep_flags_numbers_and_seed() -> None:
    net = Operators()
    net.attention.eval()
    graph = ng.capture(net, torch.randn(2, 5, 8), verify=False)
    before, seed = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    graph.to_module()
    assert torch.equal(torch.get_rng_state(), seed)
    assert [module.training for module in (net, net.first, net.attention)] == [True, True, False]
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_modules_of_two_modes_are_copied_pickled_and_exported() -> None:
    net, x = Heads(), torch.randn(2, 5, 8)
    made = ng.capture(net, x).to_module()
    assert {name for name, _ in made.named_parameters()} == {name for name, _ in net.named_parameters()}
    again = pickle.loads(pickle.dumps(made))
    for each in (copy.copy(made), copy.deepcopy(made), again, copy.deepcopy(again)):
        for mode in (True, False):
            each.train(mode), net.train(mode)
            check_same(net, each)
    exported = torch.export.export(made.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), net.eval()(x))
    captured = ng.capture(made, x)
    check_same(net.train(), captured.to_module().train())


@pytest.mark.parametrize("kind", [Constants, Operators, Auxiliary])
def test_saved_modules_train_as_they_did(kind: type[nn.Module], tmp_path: Path) -> None:
    net, x = kind(), torch.randn(2, 5, 8)
    fresh = copy.deepcopy(net)
    graph = ng.capture(net, x)
    ng.resize(graph, {"head": 0} if kind is Constants else {"attention.out": -2})
    made = graph.to_module()
    ng.save(made, tmp_path / "made.safetensors")
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    loaded = ng.load(fresh, tmp_path / "made.safetensors")
    check_same(net.train(), loaded.train())
    check_same(net.eval(), loaded.eval())
