"""What one run in eval mode does not show must not be changed, and what it keeps must not be stale."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Table(nn.Module):
    """A table of positions of which only the first are used, and a layer used in neither mode."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.places = nn.Parameter(torch.randn(1, 100, 16))
        self.inner, self.outer = nn.Linear(16, 32), nn.Linear(32, 4)
        self.other = nn.Linear(12, 9)
        self.register_buffer("numbers", torch.arange(100)[None])

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        y = self.tokens(x) + self.places[:, :n] + self.get_buffer("numbers")[:, :n, None]
        result: Tensor = self.outer(torch.relu(self.inner(y)))
        return result


def test_the_rest_of_a_table_stays() -> None:
    torch.manual_seed(0)
    net = Table().eval()
    edit = ng.prune(net, torch.ones(1, 7, dtype=torch.long), ratio=0.5)
    assert net.places.shape == (1, 100, 8)
    assert net.get_buffer("numbers").shape == (1, 100)
    assert net(torch.ones(2, 90, dtype=torch.long)).shape == (2, 90, 4)
    assert any("did not use them" in note for note in edit.notes)


def test_a_layer_of_no_mode_stays() -> None:
    net = Table().train()
    ng.prune(net, torch.ones(1, 7, dtype=torch.long), params=0.6)
    assert net.other.weight.shape == (9, 12)
    assert net.other.bias.shape == (9,)
    assert net(torch.ones(2, 5, dtype=torch.long)).shape == (2, 5, 4)


class Branching(nn.Module):
    """Does something else once its hidden size falls below seven, which no number sees: a set finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.a(x)
        result: Tensor = self.b(hidden)
        return result if hidden.shape[-1] not in {4, 5, 6} else result * 2


def test_another_branch_for_another_size_is_refused() -> None:
    torch.manual_seed(0)
    net = Branching()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ng.EditError, match="does something else than before"):
        ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Store:
    """What a network hands back to itself: no container torch knows."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


class Storing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, store: Store | None = None) -> tuple[Tensor, Store]:
        hidden = self.a(x)
        return self.b(hidden if store is None else hidden + store.value), Store(hidden)


def test_what_a_network_hands_back_to_itself_may_change() -> None:
    net = Storing()
    ng.prune(net, torch.ones(1, 4), ratio=0.5)
    output, store = net(torch.ones(1, 4))
    assert output.shape == (1, 2)
    assert store.value.shape == (1, 4)
    net(torch.ones(1, 4), store)


class Caching(nn.Module):
    """Keeps a tensor in a dict from one run to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)
        self.bias = nn.Parameter(torch.randn(8))
        self.cache: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if "bias" not in self.cache:
            self.cache["bias"] = self.bias * 2
        result: Tensor = self.b(self.a(x) + self.cache["bias"])
        return result


def test_no_stale_cache_is_left() -> None:
    net = Caching()
    edit = ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert net.cache == {}
    assert net(torch.ones(1, 4)).shape == (1, 2)
    net.cache.clear()
    edit.undo()
    assert net(torch.ones(1, 4)).shape == (1, 2)


@pytest.mark.parametrize("sizes", [(3, 1), (3, 3), (1, 1)])
def test_a_group_cut_by_a_concatenation_never_multiplies(sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    total = sum(sizes)
    x = ng.input_node("x", example=torch.randn(2, 3, 4, 4).double())
    parts = [ng.layer(nn.Conv2d(3, n, 1).double(), x, name=f"p{i}") for i, n in enumerate(sizes)]
    joined = ng.concat(*parts, name="joined")
    grouped = ng.layer(nn.Conv2d(total, total // 2, 1, groups=total // 2).double(), joined, name="grouped")
    graph = ng.Graph([x], [ng.layer(nn.Conv2d(total // 2, 2, 1).double(), grouped, name="out")])
    images = torch.randn(2, 3, 4, 4).double()
    before = graph(images)
    with warnings.catch_warnings():  # some of these cannot grow, and say so
        warnings.simplefilter("ignore")
        ng.resize(graph, {"p0": +1})
    assert torch.allclose(graph(images), before, rtol=0, atol=1e-9)


class Recording(nn.Module):
    """Installs its hooks during its first forward and remembers that it did, as transformers does."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 8)])
        self.heads = nn.ModuleList([nn.Linear(6, 3), nn.Linear(8, 3)])
        self.installed = False

    def forward(self, x: Tensor) -> Tensor:
        self.seen: list[Tensor] = []
        if not self.installed:
            self.installed = True
            for stage in self.stages:
                stage.register_forward_hook(lambda module, inputs, output: self.seen.append(output))
        for stage in self.stages:
            x = torch.relu(stage(x))
        outputs, self.seen = self.seen, []
        return torch.stack([head(y) for head, y in zip(self.heads, outputs, strict=True)]).sum(0)


def test_hooks_that_the_first_forward_installs_are_not_there_twice() -> None:
    net = Recording().eval()
    edit = ng.prune(net, torch.ones(1, 4), ratio=0.5)
    assert [stage.out_features for stage in net.stages] == [3, 4]
    assert net(torch.ones(2, 4)).shape == (2, 3)
    assert [len(stage._forward_hooks) for stage in net.stages] == [1, 1]
    edit.undo()
    assert net(torch.ones(2, 4)).shape == (2, 3)


class Places(nn.Module):
    """Works out a table of places for the size of its input and keeps it, as convit does."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.score, self.last = nn.Linear(4, 6), nn.Linear(3, 1), nn.Linear(6, 2)
        self.register_buffer("table", torch.zeros(0, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.table) != x.shape[1]:
            places = torch.arange(x.shape[1], dtype=x.dtype)
            self.table = torch.stack([places, places**2, torch.ones_like(places)], 1)
        return self.last(torch.relu(self.first(x)) + self.score(self.table))  # type: ignore[no-any-return]


def test_a_table_that_the_forward_works_out_keeps_its_size() -> None:
    net = Places().eval()
    net(torch.ones(1, 5, 4))  # from now on the table is there, and not worked out in the run that is captured
    edit = ng.prune(net, torch.ones(1, 5, 4), ratio=0.5)
    assert [w.name for w in edit.change.widths.values()] == ["first"]
    assert net(torch.ones(1, 7, 4)).shape == (1, 7, 2)
    (reason,) = [f.reason for f in ng.inspect(net, torch.ones(1, 7, 4)).fixed if "itself" in f.reason]
    assert reason == "the network works out table itself"
