"""Features that a forward keeps anywhere at all are outputs, whose neurons stay."""

from __future__ import annotations

import collections
import contextvars
import functools
import queue
import types
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng

SPACE = types.SimpleNamespace()
WORDS: Any = collections.UserDict()
VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("features")
LINE: Any = queue.Queue()
BY_OWNER: Any = weakref.WeakKeyDictionary()
CALLS: list[Any] = []


class Holder:
    """A class that keeps features itself."""

    kept: ClassVar[dict[str, Any]] = {}


class Keeping(nn.Module):
    """A network that hands hidden features to a function, which may keep them."""

    def __init__(self, keep: Callable[[Any, Tensor], object]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        self.keep(self, h)
        return cast(Tensor, self.c(self.b(h).relu()))


PLACES: dict[str, Callable[[Any, Tensor], object]] = {
    "a namespace": lambda net, h: setattr(SPACE, "h", h),
    "a dict of a class of its own": lambda net, h: WORDS.__setitem__("h", h),
    "a context variable": lambda net, h: VARIABLE.set(h),
    "a queue": lambda net, h: LINE.put(h),
    "a weak dict": lambda net, h: BY_OWNER.__setitem__(net, [h]),
    "its class": lambda net, h: setattr(type(net), "features", h),
    "another class": lambda net, h: Holder.kept.__setitem__("h", h),
    "a function": lambda net, h: setattr(Keeping.forward, "features", h),
    "a closure": lambda net, h: CALLS.append(lambda: h),
    "arguments of a function": lambda net, h: CALLS.append(functools.partial(print, h)),
    "a generator": lambda net, h: CALLS.append(each for each in [h]),
    "a stack of it": lambda net, h: CALLS.append((torch.stack([h, h]),)),
}


@pytest.mark.parametrize("place", PLACES)
def test_features_kept_anywhere_stay(place: str) -> None:
    net = Keeping(PLACES[place]).eval()
    ng.prune(net, torch.randn(2, 4), ratio=0.5)
    assert (net.a.out_features, net.b.out_features) == (8, 4)


def circle(net: Any, h: Tensor) -> None:
    loop: list[Any] = [h]
    loop.append(loop)


@pytest.mark.parametrize(
    "keep",
    [lambda net, h: None, circle, lambda net, h: h.view(-1).sum(), lambda net, h: [h, h.numpy().sum()]],
    ids=["nothing", "garbage in a circle", "views", "numpy"],
)
def test_what_is_not_kept_holds_nothing(keep: Callable[[Any, Tensor], object]) -> None:
    net = Keeping(keep).eval()
    ng.prune(net, torch.randn(2, 4), ratio=0.5)
    assert (net.a.out_features, net.b.out_features) == (4, 4)


def test_the_reason_names_what_keeps_them() -> None:
    net = Keeping(PLACES["another class"]).eval()
    assert "a dict with the key 'h'" in str(ng.inspect(net, torch.randn(2, 4)))
