"""What a run is recorded by: calls of modules, modes of torch, operators that write without saying so."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode

import naivegraph as ng
from naivegraph.graph.verify.verify import record_fake
from naivegraph.network import capture


class Dropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(x), 0.5, self.training)


# torch 2.14 looks at gradients of what is no leaf while it compiles.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("path", ["0", "1", "1.layer", ""])
def test_modules_compiled_in_place_are_seen_as_any(path: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 4), Dropped(), nn.Linear(6, 3)).eval(), torch.randn(2, 4)
    wanted, expected = [(v.name, v.kind) for v in capture(model, x)], model(x)
    compiled = model.get_submodule(path)
    compiled.compile(backend="eager")
    before = compiled._compiled_call_impl
    graph = capture(model, x)
    assert [(v.name, v.kind) for v in graph] == wanted
    assert torch.equal(graph(x), expected)
    assert compiled._compiled_call_impl is before is not None
    assert all(m is compiled or "_compiled_call_impl" not in vars(m) for m in model.modules())


@pytest.mark.parametrize("fake", [True, False])
def test_a_layer_that_is_interrupted_leaves_torch_and_the_classes_as_they_were(fake: bool) -> None:
    class Interrupted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    call, model, x = nn.Module._call_impl, nn.Sequential(Interrupted(4, 3)), torch.randn(2, 4)
    with pytest.raises(KeyboardInterrupt):
        record_fake(model, (x,), {}) if fake else capture(model, x)
    assert nn.Module._call_impl is call
    assert _get_current_function_mode() is None  # type: ignore[no-untyped-call]


def test_threads_record_one_after_the_other() -> None:
    class Slow(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.01)
            return super().forward(x)

    call, found = nn.Module._call_impl, list[list[str]]()

    def record() -> None:
        found.append([v.name for v in capture(nn.Sequential(Slow(4, 4), Slow(4, 4)), torch.randn(2, 4))])

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["input", "0.linear", "1.linear"]] * 3
    assert nn.Module._call_impl is call


def test_a_number_that_is_no_size_may_be_read() -> None:
    class Seeded(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seed = (x.sum() * 0).long() + 2**62
            return super().forward(x) * (2.0 if seed.item() > 1 else 1.0)

    model, x = nn.Sequential(Seeded(4, 3)), torch.randn(2, 4)
    assert torch.equal(capture(model, x)(x), model(x))


def test_what_a_forward_stores_of_fake_tensors_does_not_stay() -> None:
    class Storing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.cache = nn.Linear(4, 3), dict[str, Tensor]()

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.cache["last"] = self.layer(x)
            return self.layer(x)  # type: ignore[no-any-return]

    model = Storing()
    assert record_fake(model, (torch.randn(2, 4),), {}) is not None
    assert ("last" in vars(model), model.cache) == (False, {})


class State:
    last: Tensor | None = None


class Keeping(nn.Module):
    """Leaves what it computed where nobody puts it back."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)
        self.where, self.state = where, State()
        self.nested: dict[str, dict[str, Tensor]] = {"a": {}}
        self.queue: collections.deque[Tensor] = collections.deque(maxlen=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.where == "object":
            self.state.last = y
        elif self.where == "dict":
            self.nested["a"]["last"] = y
        else:
            self.queue.append(y)
        return self.second(y)  # type: ignore[no-any-return]

    def kept(self) -> Tensor | None:
        return {"object": self.state.last, "dict": self.nested["a"].get("last")}.get(
            self.where, self.queue[-1] if self.queue else None
        )


@pytest.mark.parametrize("where", ["object", "dict", "queue"])
def test_what_a_forward_keeps_elsewhere_is_no_fake_tensor(where: str) -> None:
    model, x = Keeping(where).eval(), torch.randn(2, 4)
    ng.prune(model, x, ratio=0.5)
    kept = model.kept()
    assert type(kept) is Tensor
    assert torch.equal(kept, model.first(x))


def test_statistics_of_weights_are_not_updated_on_fake_tensors() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4))
            self.register_buffer("mean", torch.zeros(4))
            self.register_buffer("var", torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            mean, var = self.get_buffer("mean"), self.get_buffer("var")
            return x @ nn.functional.batch_norm(self.weight, mean, var, training=True).T

    model, x = Standardised().eval(), torch.randn(2, 4)
    assert record_fake(model, (x,), {}) is None
    assert torch.equal(model.get_buffer("mean"), torch.zeros(4))
    assert torch.equal(model.get_buffer("var"), torch.ones(4))
    assert [v.name for v in capture(model, x)][1:] == ["batch_norm", "T", "matmul"]


class Auxiliary(nn.Module):
    """A head that train mode alone uses, and a batch norm that writes into its statistics there."""

    def __init__(self, see: Callable[[bool, str], None]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
        self.head, self.aux, self.see = nn.Linear(6, 3), nn.Linear(6, 3), see

    def forward(self, x: Tensor) -> Tensor:
        self.see(self.training, type(x).__name__)
        y = self.body(x)
        return self.head(y) + self.aux(y) if self.training else self.head(y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch", [1, 3])
def test_train_mode_is_recorded_on_fake_tensors_and_leaves_the_statistics(batch: int) -> None:
    seen = set()
    model, x = Auxiliary(lambda training, kind: seen.add((training, kind))).eval(), torch.randn(batch, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = capture(model, x, fake=True)
    assert graph.training is not None
    assert seen == {(False, "FakeTensor"), (True, "FakeTensor")}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
