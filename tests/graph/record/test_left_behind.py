"""Tensors that a forward keeps for others are outputs, too: a loss may read them after an edit as before."""

from __future__ import annotations

import collections
import copy
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng


class Keeping(nn.Module):
    """A body of 16, a router of 6 whose logits are kept somewhere, and a head that reads the body."""

    def __init__(self, keep: Callable[[Any, Tensor, Tensor], None]) -> None:
        super().__init__()
        self.body, self.router, self.head = nn.Linear(4, 16), nn.Linear(16, 6), nn.Linear(16, 2)
        self.features: dict[str, Tensor] = {}
        self.steps: list[Tensor] = []
        self.record = types.SimpleNamespace(logits=None)
        self.queue: collections.deque[Tensor] = collections.deque(maxlen=2)
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.body(x))
        self.keep(self, hidden, self.router(hidden))
        out: Tensor = self.head(hidden)
        return out


def in_list(net: Any, hidden: Tensor, logits: Tensor) -> None:
    net.steps = [logits * 2]


KEPT: dict[str, Callable[[Any, Tensor, Tensor], None]] = {
    "attribute": lambda net, hidden, logits: setattr(net, "logits", logits),
    "detached": lambda net, hidden, logits: setattr(net, "logits", logits.detach()),
    "dict": lambda net, hidden, logits: net.features.update(logits=logits.softmax(-1)),
    "list": in_list,
    "namespace": lambda net, hidden, logits: setattr(net.record, "logits", logits),
    "queue": lambda net, hidden, logits: net.queue.append(logits),
    "submodule": lambda net, hidden, logits: setattr(net.router, "last", logits),
}


@pytest.mark.parametrize("how", KEPT)
def test_what_is_kept_in_a_module_keeps_its_size(how: str) -> None:
    model = Keeping(KEPT[how]).eval()
    ng.prune(model, torch.randn(3, 4), ratio=0.5)
    assert (model.body.out_features, model.router.out_features) == (8, 6)


def test_features_of_a_distillation_keep_their_size() -> None:
    """The hidden layer is kept by a hook in a dict of the user's."""
    features: dict[str, Tensor] = {}
    model = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2)).eval()
    handle = model[1].register_forward_hook(lambda module, args, output: features.update(hidden=output))
    ng.prune(model, torch.randn(3, 4), ratio=0.5)
    assert [len(model[0].weight), len(model[2].weight)] == [12, 5]  # type: ignore[arg-type]
    model(torch.randn(3, 4))
    assert features["hidden"].shape == (3, 12)
    handle.remove()
    ng.prune(model, torch.randn(3, 4), ratio=0.5)
    assert model[0].out_features == 6


class OnlyInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 12), nn.Linear(12, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x).relu()
        if self.training:
            self.hidden = hidden
        out: Tensor = self.head(self.two(hidden).relu())
        return out


def test_what_is_kept_in_train_mode_alone_keeps_its_size() -> None:
    model = OnlyInTraining().eval()
    ng.prune(model, torch.randn(3, 4), ratio=0.5)
    assert (model.one.out_features, model.two.out_features) == (12, 5)
    model.train()(torch.randn(3, 4)).sum().backward()
    assert model.hidden.shape == (3, 12)


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.bias, self.two = nn.Linear(4, 12), nn.Parameter(torch.zeros(12)), nn.Linear(12, 2)
        self.cache: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if "bias" not in self.cache:
            self.cache["bias"] = self.bias * 2
        out: Tensor = self.two(self.one(x) + self.cache["bias"])
        return out


def test_a_cache_of_what_parameters_alone_give_is_no_output() -> None:
    model = Cached().eval()
    ng.prune(model, torch.randn(3, 4), ratio=0.5)
    assert model.one.out_features == 6
    model.cache.clear()
    assert model(torch.randn(3, 4)).shape == (3, 2)


@pytest.mark.parametrize("how", KEPT)
def test_a_copy_of_the_graph_knows_what_is_kept(how: str) -> None:
    model = Keeping(KEPT[how]).eval()
    copied = copy.deepcopy(ng.capture(model, torch.randn(3, 4)))
    assert ng.prune(copied, ratio=0.5)
    assert {name: copied.sizes[name] for name in ("body", "router")} == {"body": 8, "router": 6}
    assert model.body.out_features == 16


def test_the_report_says_where_it_is_kept() -> None:
    report = str(ng.inspect(Keeping(KEPT["attribute"]), torch.randn(3, 4)))
    assert "kept in Keeping.logits" in report


FEATURES: dict[str, Any] = {}
LATEST: Tensor | None = None
BOARD = types.SimpleNamespace(logits=None)


class Board:
    logits: Tensor


OBJECT = Board()


def in_global(net: Any, hidden: Tensor, logits: Tensor) -> None:
    global LATEST
    LATEST = logits


def in_default(net: Any, hidden: Tensor, logits: Tensor, store: list[Tensor] = []) -> None:  # noqa: B006
    store.append(logits)


def keeper() -> Callable[[Any, Tensor, Tensor], None]:
    last: Tensor | None = None

    def keep(net: Any, hidden: Tensor, logits: Tensor) -> None:
        nonlocal last
        last = logits

    return keep


SHARED: dict[str, Callable[[Any, Tensor, Tensor], None]] = {
    "dict": lambda net, hidden, logits: FEATURES.update(logits=logits),
    "list in a dict": lambda net, hidden, logits: FEATURES.setdefault("all", []).append(logits),
    "variable": in_global,
    "namespace": lambda net, hidden, logits: setattr(BOARD, "logits", logits),
    "object": lambda net, hidden, logits: setattr(OBJECT, "logits", logits),
    "default": in_default,
    "closure": keeper(),
}


@pytest.mark.parametrize("how", SHARED)
def test_what_is_kept_in_variables_that_the_code_shares_keeps_its_size(how: str) -> None:
    keep = SHARED[how]

    class Sharing(Keeping):
        """Keeps the logits by its own code."""

        def tell(self, hidden: Tensor, logits: Tensor) -> None:
            keep(self, hidden, logits)

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.relu(self.body(x))
            self.tell(hidden, self.router(hidden))
            out: Tensor = self.head(hidden)
            return out

    model = Sharing(keep).eval()
    ng.prune(model, torch.randn(3, 4), ratio=0.5)
    assert (model.body.out_features, model.router.out_features) == (8, 6)


class Storing(nn.Module):
    """Stores its features in what it is given for that."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 16), nn.Linear(16, 16)
        self.c = nn.Linear(16, 2)

    def forward(self, x: Tensor, store: Any) -> Tensor:
        features = self.a(x).tanh()
        if isinstance(store, dict):
            store["features"] = features
        else:
            store.append(features)
        out: Tensor = self.c(self.b(features).relu())
        return out


@pytest.mark.parametrize("kind", [dict, list])
def test_what_is_stored_in_an_argument_keeps_its_size(kind: type) -> None:
    model, x, example, store = Storing().eval(), torch.randn(3, 4), kind(), kind()
    ng.prune(model, (x, example), ratio=0.5)
    assert (model.a.out_features, model.b.out_features) == (16, 8)
    assert not example
    model(x, store)
    (features,) = store.values() if isinstance(store, dict) else store
    assert features.shape == (3, 16)
    assert torch.equal(ng.capture(model, (x, kind()))(x, kind()), model(x, kind()))
