"""Sizes that a network keeps in containers and classes of any kind follow an edit and its undo."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph.record.symbolic_int import SymbolicInt, symbolic_ints


class Attributes(dict[str, Any]):
    """A dict whose entries are attributes as well, without a fallback for anything else."""

    __getattr__ = dict.__getitem__


class Shared(dict[str, Any]):
    """A dict that is its own `__dict__`."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(entries)
        self.__dict__ = self


class Slots:
    __slots__ = ("__own", "width")

    def __init__(self, width: int) -> None:
        self.width = self.__own = width

    @property
    def own(self) -> int:
        return self.__own


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    width: int


Pair = collections.namedtuple("Pair", "first width")

CASES: dict[str, tuple[Any, Callable[[Any], int]]] = {
    "list": ([3, 16], lambda c: c[1]),
    "torch.Size": (torch.Size([3, 16]), lambda c: c[1]),
    "named tuple": (Pair(3, 16), lambda c: c.width),
    "namespace of argparse": (argparse.Namespace(width=16), lambda c: c.width),
    "dict": ({"width": 16}, lambda c: c["width"]),
    "deque": (collections.deque([3, 16], maxlen=4), lambda c: c[1]),
    "read-only dict": (types.MappingProxyType({"width": 16}), lambda c: c["width"]),
    "deque of read-only dicts": (
        collections.deque([types.MappingProxyType({"width": 16})]),
        lambda c: c[0]["width"],
    ),
    "dict by numbers": ({0: 3, 1: 16}, lambda c: c[1]),
    "ordered dict": (collections.OrderedDict(depth=2, width=16), lambda c: list(c.values())[1]),
    "default dict": (collections.defaultdict(int, width=16), lambda c: c["width"]),
    "nested dict": ({"encoder": {"widths": [3, 16]}}, lambda c: c["encoder"]["widths"][-1]),
    "attributes": (Attributes(width=16), lambda c: c.width),
    "attributes that are the dict": (Shared(width=16), lambda c: c.width),
    "namespace": (types.SimpleNamespace(width=16), lambda c: c.width),
    "namespace of dicts": (types.SimpleNamespace(at={"width": 16}), lambda c: c.at["width"]),
    "slots": (Slots(16), lambda c: c.width),
    "private slots": (Slots(16), lambda c: c.own),
    "frozen slots": (Frozen(16), lambda c: c.width),
    "numpy": (np.prod([2, 8]), lambda c: c),
    "numpy in a list": ([np.int32(16)], lambda c: c[0]),
    "numpy and a number": ({"less": np.int64(12)}, lambda c: c["less"] + np.int64(4)),
    "half of numpy": ({"twice": np.int64(32)}, lambda c: c["twice"].item() // 2),
}


class Net(nn.Module):
    def __init__(self, config: Any, read: Callable[[Any], int]) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 16), nn.Linear(16, 2)
        self.config, self.read = config, read

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.two(torch.relu(self.one(x)).reshape(x.shape[0], self.read(self.config)))
        return hidden


def halved(model: Any) -> Any:
    """Prune the half of the neurons that have no effect: oracle for what is computed afterwards."""
    inputs = torch.randn(3, 4)
    with torch.no_grad():
        for tensor in (model.one.weight, model.one.bias):
            tensor[1::2] = 0
    before = model(inputs)
    edit = ng.prune(model, inputs, ratio=0.5)
    assert model.one.out_features == 8, edit.notes
    torch.testing.assert_close(model(inputs), before)
    return edit


@pytest.mark.parametrize("name", CASES)
def test_a_size_follows_wherever_the_code_reads_it(name: str) -> None:
    torch.manual_seed(0)
    config, read = CASES[name]
    model = Net(config, read).eval()
    edit = halved(model)
    assert read(model.config) == 8
    assert type(model.config) is type(config)
    assert read(config) == 16, "the object is the user's, who may use it for another network"
    edit.undo()
    assert model.config is config
    copied = Net(config, read).eval()
    ng.replay(copied, edit.to_json())
    assert read(copied.config) == 8


def test_an_attribute_of_the_class_is_set_on_the_object() -> None:
    class Narrow(Net):
        width = 16

        def forward(self, x: Tensor) -> Tensor:
            hidden: Tensor = self.two(torch.relu(self.one(x)).reshape(-1, self.width))
            return hidden

    torch.manual_seed(0)
    model = Narrow(None, lambda c: 0).eval()
    edit = halved(model)
    assert (model.width, Narrow.width) == (8, 16)
    edit.undo()
    assert "width" not in vars(model)


def test_what_the_forward_writes_into_a_dict_stays() -> None:
    class Counting(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.config["calls"] += 1
            self.config["last"] = x.shape[0]
            return super().forward(x)

    model = Counting({"width": 16, "calls": 0}, lambda c: c["width"]).eval()
    config = model.config
    ng.capture(model, torch.ones(3, 4), verify=False)
    assert model.config is config
    assert {type(value) for value in config.values()} == {int}
    assert config["width"] == 16


def test_two_attributes_with_one_dict_both_follow() -> None:
    class Both(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.one(x)).reshape(-1, self.config["width"])
            out: Tensor = self.two(x.reshape(-1, self.read["width"]))  # type: ignore[index]
            return out

    torch.manual_seed(0)
    sizes: Any = {"width": 16}
    model = Both(sizes, sizes).eval()
    halved(model)
    assert [vars(model)[name] for name in ("config", "read")] == [{"width": 8}, {"width": 8}]


def test_numpy_computes_with_symbolic_integers() -> None:
    with symbolic_ints() as escapes:
        size = SymbolicInt(12, 12)
        from_the_left = [size * np.int64(2), size + np.int32(12)]
        # Scalars of numpy 1 take any integer for a plain one, and the result is a number of the code's.
        modern = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
        from_the_right = [np.int64(2) * size, np.int64(36) - size] if modern else []
        for found in (*from_the_left, *from_the_right):
            assert type(found) is SymbolicInt
            assert found == 24
        del escapes[:]
        assert float(np.sqrt(size * 3)) == 6.0
        assert [how for *_, how in escapes] == ["numpy's sqrt"]
