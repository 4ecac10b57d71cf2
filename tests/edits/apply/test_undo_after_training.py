"""Undo restores everything whatever happened since; with `keep_training` kept neurons stay as trained."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import naivegraph as ng


class Residual(nn.Module):
    """A stem, a block behind a norm, and a head whose bias no edit touches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inner, self.inner_norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.outer = nn.Conv2d(12, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.outer(self.inner_norm(self.inner(x)).relu())
        out: Tensor = self.head(x.mean((2, 3)))
        return out


OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD with momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9),
    "AdamW": lambda p: optim.AdamW(p, 0.01),
    "AdamW with a tensor as lr": lambda p: optim.AdamW(p, torch.tensor(0.01), foreach=False),
    "fused Adam": lambda p: optim.Adam(p, 0.01, fused=True),
    "Adafactor": lambda p: optim.Adafactor(p, 0.01),
    "ASGD": lambda p: optim.ASGD(p, 0.01, t0=1),
}


class Training:
    """A network in training, with all that follows it."""

    def __init__(self, name: str = "AdamW", steps: int = 2) -> None:
        torch.manual_seed(0)
        self.model = Residual()
        self.optimizer = OPTIMIZERS[name](self.model.parameters())
        self.scheduler = optim.lr_scheduler.StepLR(self.optimizer, 1, 0.5)
        mean = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
        self.average: Any = AveragedModel(self.model, multi_avg_fn=mean, use_buffers=True)
        self.x = torch.randn(6, 3, 5, 5)
        self.train(steps)

    @property
    def followers(self) -> list[Any]:
        return [self.optimizer, self.scheduler, self.average]

    def train(self, steps: int, run: Callable[[Tensor], Tensor] | None = None) -> None:
        self.model.train()
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = (run or self.model)(self.x).square().mean()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            if run is None:
                self.average.update_parameters(self.model)

    def state(self) -> dict[str, Any]:
        """All of it, copied by torch's own means."""
        return copy.deepcopy({
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": self.average.state_dict(),
            "gradients": [p.grad for p in self.model.parameters()],
        })  # fmt: skip


def same(one: Any, two: Any) -> bool:
    """Whether two nests of tensors and numbers are equal bit for bit."""
    if isinstance(one, Tensor):
        equal = isinstance(two, Tensor) and one.dtype == two.dtype and one.shape == two.shape
        return equal and one.detach().numpy().tobytes() == two.detach().numpy().tobytes()
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


EDITS: dict[str, Callable[[Training], ng.Edit]] = {
    "prune": lambda t: ng.prune(t.model, t.x, ratio=0.5, keep="stem", optimizer=t.followers),
    "grow": lambda t: ng.resize(ng.capture(t.model, t.x), {"inner": +4}, optimizer=t.followers),
    "both": lambda t: ng.resize(
        ng.capture(t.model, t.x), {"inner": -4, "stem": +2}, optimizer=t.followers
    ),
    "copies": lambda t: ng.resize(
        ng.capture(t.model, t.x), {"inner": +4}, optimizer=t.followers, initialise="duplicate"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("what", EDITS)
def test_undo_after_training_restores_network_optimizer_scheduler_and_average(what: str, name: str) -> None:
    training = Training(name)
    before = training.state()
    edit = EDITS[what](training)
    training.train(3)
    assert not same(training.state()["model"]["head.bias"], before["model"]["head.bias"])
    edit.undo()
    assert same(training.state(), before)
    training.train(1)


def test_what_follows_goes_on_as_if_there_had_been_no_edit() -> None:
    one, two = Training(), Training()
    edit = EDITS["prune"](one)
    one.train(2)
    edit.undo()
    one.train(2)
    two.train(2)
    assert same(one.state(), two.state())


@pytest.mark.parametrize("verb", ["insert", "remove"])
def test_undo_of_structure_after_training(verb: str) -> None:
    training = Training()
    before, names = training.state(), [n for n, _ in training.model.named_parameters()]
    graph = ng.capture(training.model, training.x)
    if verb == "insert":
        edit = ng.insert(graph, lambda n: nn.Conv2d(n, n, 1), after="inner", optimizer=training.optimizer)
    else:
        edit = ng.remove(graph, "inner_norm", optimizer=training.optimizer)
    training.train(3, graph)
    edit.undo()
    after = training.state()
    assert same({k: after[k] for k in ("model", "optimizer")}, {k: before[k] for k in ("model", "optimizer")})
    assert [n for n, _ in training.model.named_parameters()] == names


def _head_replaced(t: Training) -> None:
    t.model.head = nn.Linear(8, 7)
    t.optimizer.add_param_group({"params": t.model.head.parameters()})


def _parametrised(t: Training) -> None:
    parametrizations.weight_norm(t.model.inner)


def _reloaded(t: Training) -> None:
    t.optimizer.load_state_dict(copy.deepcopy(t.optimizer.state_dict()))
    t.train(1)


def _assigned(t: Training) -> None:
    t.model.load_state_dict({k: v + 1 for k, v in t.model.state_dict().items()}, assign=True)


SINCE: dict[str, Callable[[Training], object]] = {
    "cast": lambda t: t.model.half(),
    "head replaced": _head_replaced,
    "parametrised": _parametrised,
    "optimizer loaded": _reloaded,
    "parameters assigned": _assigned,
    "a buffer set": lambda t: setattr(t.model.norm, "running_mean", torch.ones(8)),
    "gradients gone": lambda t: t.optimizer.zero_grad(),
    "a layer gone": lambda t: delattr(t.model, "outer"),
    "state cleared": lambda t: t.optimizer.state.clear(),
    "masked": lambda t: torch.nn.utils.prune.random_unstructured(t.model.stem, "weight", 0.5),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("what", SINCE)
def test_undo_restores_whatever_was_done_by_hand(what: str) -> None:
    training = Training()
    before, ids = training.state(), [id(p) for p in training.model.parameters()]
    edit = EDITS["prune"](training)
    SINCE[what](training)
    edit.undo()
    assert same(training.state(), before)
    assert [id(p) for p in training.model.parameters()] == ids
    training.train(1)


def test_another_network_of_the_same_optimizer_keeps_its_training() -> None:
    torch.manual_seed(0)
    first, second, x = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), nn.Linear(4, 2), torch.randn(3, 4)
    optimizer = optim.Adam([*first.parameters(), *second.parameters()], 0.1)
    edit = ng.prune(first, x, ratio=0.5, optimizer=optimizer)
    (first(x) + second(x)).square().mean().backward()
    optimizer.step()
    trained = copy.deepcopy((second.state_dict(), optimizer.state[second.weight]))
    edit.undo()
    assert same((second.state_dict(), optimizer.state[second.weight]), trained)
    assert list(optimizer.state) == list(second.parameters())


def test_flags_and_hooks_stay_as_they_are() -> None:
    training = Training()
    edit = EDITS["prune"](training)
    training.model.eval()
    training.model.head.bias.requires_grad_(False)
    calls: list[int] = []
    training.model.head.register_forward_hook(lambda *_: calls.append(1))
    edit.undo()
    training.model(training.x)
    assert (training.model.training, training.model.head.bias.requires_grad, calls) == (False, False, [1])


def test_undo_without_training_and_with_it_kept_is_the_same() -> None:
    for what, make in EDITS.items():
        training = Training()
        before = training.state()
        make(training).undo(keep_training=True)
        assert same(training.state(), before), what


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_kept_where_neurons_stayed_and_the_rest_is_old(name: str) -> None:
    training = Training(name)
    before = training.state()
    edit = EDITS["prune"](training)
    (width,) = edit.change.widths.values()
    training.train(3)
    trained = training.state()
    edit.undo(keep_training=True)
    after = training.state()
    kept = torch.from_numpy(width.kept)
    gone = torch.tensor([i for i in range(width.before) if i not in width.kept])
    dims = {"inner.weight": 0, "inner.bias": 0, "outer.weight": 1} | {
        f"inner_norm.{n}": 0 for n in ("weight", "bias", "running_mean", "running_var")
    }
    for prefix, part in (("", "model"), ("module.", "average")):
        for key, now in after[part].items():
            dim = dims.get(key.removeprefix(prefix))
            then, old = trained[part][key], before[part][key]
            if dim is None:
                assert same(now, then), key
            else:
                assert same(now.index_select(dim, kept), then), key
                assert same(now.index_select(dim, gone), old.index_select(dim, gone)), key
    assert after["scheduler"] == trained["scheduler"]
    names = [n for n, _ in training.model.named_parameters()]
    for number, state in after["optimizer"]["state"].items():
        shape = training.model.get_parameter(names[number]).shape
        for key, now in state.items():
            then, old = trained["optimizer"]["state"][number][key], before["optimizer"]["state"][number][key]
            dim = dims.get(names[number])
            if dim is None or not isinstance(now, Tensor) or now.shape != shape:
                assert key in ("row_var", "col_var", "variance") or same(now, then), (names[number], key)
                assert not isinstance(now, Tensor) or now.shape == old.shape
            else:
                assert same(now.index_select(dim, kept), then)
                assert same(now.index_select(dim, gone), old.index_select(dim, gone))
    training.train(2)


@pytest.mark.parametrize("verb", ["insert", "remove"])
def test_training_is_kept_when_structure_goes_back(verb: str) -> None:
    training = Training()
    graph = ng.capture(training.model, training.x)
    before = training.state()
    if verb == "insert":
        edit = ng.insert(graph, lambda n: nn.Conv2d(n, n, 1), after="inner", optimizer=training.optimizer)
    else:
        edit = ng.remove(graph, "inner_norm", optimizer=training.optimizer)
    training.train(3, graph)
    trained = training.state()
    edit.undo(keep_training=True)
    after = training.state()
    for key, now in after["model"].items():
        gone = verb == "remove" and key.startswith("inner_norm")
        assert same(now, before["model"][key] if gone else trained["model"][key]), key
    assert list(after["model"]) == list(before["model"])
    assert [len(g["params"]) for g in after["optimizer"]["param_groups"]] == [12]
    training.train(1, graph)


def test_a_scaled_weight_is_scaled_back() -> None:
    class Attention(nn.Module):
        """One head whose scores are divided by the root of its size, which an edit makes up for."""

        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = nn.Linear(6, 8), nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:
            q, k = self.q(x), self.k(x)
            out: Tensor = nn.functional.scaled_dot_product_attention(q, k, x)
            return out

    torch.manual_seed(0)
    model, x = Attention().double(), torch.randn(2, 5, 6).double()
    before = copy.deepcopy(model.state_dict())
    edit = ng.prune(model, x, ratio=0.5)
    with torch.no_grad():
        model.k.bias.add_(1.0)
    edit.undo(keep_training=True)
    (width,) = edit.change.widths.values()
    stayed = torch.zeros(8, dtype=torch.bool)
    stayed[torch.from_numpy(width.kept)] = True
    assert same(model.q.weight, before["q.weight"])
    assert torch.equal(model.k.bias[~stayed], before["k.bias"][~stayed])
    assert bool((model.k.bias[stayed] > before["k.bias"][stayed] + 0.5).all())


def test_training_cannot_be_kept_of_a_layer_that_was_replaced() -> None:
    training = Training()
    edit = EDITS["prune"](training)
    training.model.inner = nn.Conv2d(8, training.model.inner.out_channels, 3, padding=1)
    state = training.state()["model"]
    with pytest.raises(ng.EditError, match=r"inner\.\w+, which the edit resized, was replaced since"):
        edit.undo(keep_training=True)
    assert same(training.state()["model"], state)
    edit.undo()


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(not __import__("os").path.exists("/proc/self/statm"), reason="it is told on Linux alone")
def test_an_edit_keeps_as_much_memory_as_the_network_took() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, 4096), nn.Linear(4096, 2048), nn.Linear(2048, 4096), nn.Linear(4096, 2)
    )
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    graph = ng.capture(model, torch.ones(1, 16), verify=False)
    ng.resize(graph, {"0": -1}).undo()
    gc.collect()
    before = _resident()
    edit = ng.resize(graph, {"0": -1})
    kept = _resident() - before
    assert 0.8 * size < kept < 1.3 * size, (kept, size)
    del edit
    gc.collect()
    assert _resident() - before < 0.3 * size
