"""An edit changes sizes and nothing else, and its undo changes everything back, bit for bit."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.edits.apply import change_module
from naivegraph.edits.apply.give import give
from naivegraph.graph.export.history import history_of
from tests.networks.plain import ALL, Network, by_name
from tests.oracle import snapshot, unchanged


def with_gradients(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    model(*inputs).square().sum().backward()


@pytest.mark.parametrize("network", ALL, ids=str)
def test_undo_restores_bit_for_bit(network: Network) -> None:
    model, inputs = network.make()
    with_gradients(model, inputs)
    expected = model(*inputs)
    before = snapshot(model)
    edit = ng.prune(model, inputs, ratio=0.6)
    assert unchanged(model, before) == (not edit)
    edit.undo()
    assert unchanged(model, before)
    assert history_of(model) == []
    assert torch.equal(model(*inputs), expected)


def test_two_edits_are_undone_the_last_one_first() -> None:
    model, inputs = by_name("Residual").make()
    states = [snapshot(model)]
    first = ng.prune(model, inputs, macs=0.7)
    states.append(snapshot(model))
    second = ng.prune(model, inputs, macs=0.7)
    after = snapshot(model)
    with pytest.raises(ng.EditError, match="edited again since: undo the later edits first"):
        first.undo()
    assert unchanged(model, after)
    second.undo()
    assert unchanged(model, states[1])
    with pytest.raises(ng.EditError, match="undone already"):
        second.undo()
    first.undo()
    assert unchanged(model, states[0])
    with pytest.raises(ng.EditError, match="undone already"):
        first.undo()


def test_the_same_edit_twice_is_still_undone_in_order() -> None:
    model, inputs = by_name("mlp").make()
    first = ng.prune(model, inputs, ratio=0.5)
    first.undo()
    again = ng.prune(model, inputs, ratio=0.5)
    with pytest.raises(ng.EditError, match="undone already"):
        first.undo()
    assert again.to_json() == first.to_json()
    again.undo()
    assert model.get_submodule("0").out_features == 20


@pytest.mark.parametrize("network", ["Residual", "Block", "TiedEmbeddings", "OneD"])
def test_objects_flags_and_hooks_stay(network: str) -> None:
    model, inputs = by_name(network).make()
    first = next(model.parameters())
    first.requires_grad_(False)
    model.train()
    next(model.children()).eval()
    flags = [m.training for m in model.modules()]
    tensors = {name: (id(p), p.requires_grad) for name, p in model.named_parameters(remove_duplicate=False)}
    buffers = {name: id(b) for name, b in model.named_buffers()}
    modules = [id(m) for m in model.modules()]
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    ng.prune(model, inputs, ratio=0.5)
    assert [m.training for m in model.modules()] == flags
    assert {n: (id(p), p.requires_grad) for n, p in model.named_parameters(remove_duplicate=False)} == tensors
    assert {name: id(b) for name, b in model.named_buffers()} == buffers
    assert [id(m) for m in model.modules()] == modules
    calls.clear()
    model.eval()(*inputs)
    assert calls == [1]
    handle.remove()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("network", ["Residual", "Block", "Grouped"])
def test_other_precisions(network: str, dtype: torch.dtype) -> None:
    model, inputs = by_name(network).make(dtype)
    edit = ng.prune(model, inputs, params=0.6)
    assert edit.after.params <= 0.6 * edit.before.params
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model(*inputs).dtype == dtype


@pytest.mark.parametrize("network", ALL, ids=str)
def test_trains_after_pruning(network: Network) -> None:
    model, inputs = network.make()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    ng.prune(model, inputs, ratio=0.5)
    model.train()
    before = [p.detach().clone() for p in model.parameters()]
    model(*inputs).square().mean().backward()
    optimizer.step()
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.shape == parameter.shape
        assert parameter.shape == old.shape
    assert any(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("network", ["Residual", "SeparateAttention", "TiedEmbeddings"])
def test_copies_after_pruning_are_whole_and_apart(network: str) -> None:
    model, inputs = by_name(network).make()
    edit = ng.prune(model, inputs, ratio=0.5)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(*inputs), model(*inputs))
    assert history_of(twin) == history_of(model)
    smaller = model(*inputs)
    edit.undo()
    assert torch.equal(twin(*inputs), smaller)
    ng.prune(twin, inputs, ratio=0.5)


def test_gradients_follow_the_neurons() -> None:
    model: Any
    model, inputs = by_name("mlp").make(torch.float64)
    with_gradients(model, inputs)
    full = model[0].weight.grad.clone()
    edit = ng.prune(model, inputs, ratio=0.5)
    (width,) = edit.change.widths.values()
    assert torch.equal(model[0].weight.grad, full[torch.from_numpy(width.kept)])


def test_attributes_that_the_forward_reads_follow() -> None:
    model: Any
    model, inputs = by_name("Attributes").make()
    ng.prune(model, inputs, ratio=0.5)
    sizes = {"hidden": model.first.out_features, "parts": 3}
    assert {name: getattr(model, name) for name in sizes} == {"hidden": 9, "parts": model.parts}
    assert model.second.in_features == model.hidden == model.first.weight.shape[0]


def test_a_shared_config_is_not_written_to() -> None:
    network = by_name("SeparateAttention")
    model, inputs = network.make()
    other, _ = network.make()
    other.config = model.config
    shared = model.config
    ng.prune(model, inputs, params=0.7)
    assert shared.heads == 3  # type: ignore[union-attr]
    assert other(*inputs).shape == model(*inputs).shape


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("after", [0, 3, 7])
def test_an_interrupt_in_the_middle_leaves_everything_as_it_was(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], after: int
) -> None:
    model, inputs = by_name("Residual").make()
    with_gradients(model, inputs)
    before = snapshot(model)
    calls = []

    def interrupted(*args: Any) -> None:
        calls.append(args)
        give(*args)
        if len(calls) == after + 1:
            raise error

    monkeypatch.setattr(change_module, "give", interrupted)
    with pytest.raises(error):
        ng.prune(model, inputs, ratio=0.5)
    assert len(calls) == 2 * (after + 1), "each given and put back"
    monkeypatch.undo()
    assert unchanged(model, before)
    assert ng.prune(model, inputs, ratio=0.5)


def test_an_interrupt_while_the_result_is_checked_undoes_the_edit() -> None:
    model, inputs = by_name("mlp").make()
    before, few = snapshot(model), frozenset(range(20))

    def interrupt(module: Any, args: Any) -> None:
        if module.get_submodule("0").out_features in few:  # a set compares no numbers
            raise KeyboardInterrupt

    handle = model.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        ng.prune(model, inputs, ratio=0.5)
    handle.remove()
    assert unchanged(model, before)


def test_an_edit_prints_what_changed() -> None:
    model, inputs = by_name("Residual").make()
    edit = ng.prune(model, inputs, ratio=0.5)
    text = str(edit)
    assert f"{edit.before.macs:,}" in text
    assert f"{edit.after.macs:,}" in text
    assert "2 widths changed" in text
    assert [w.name for w in edit.change.widths.values()] == ["stem.0", "first.0"]
    assert all(w.name in text for w in edit.change.widths.values())


def test_a_copy_of_an_edited_network_remembers_the_edit_as_text() -> None:
    model, inputs = by_name("mlp").make()
    first = ng.prune(model, inputs, ratio=0.5)
    copied = copy.deepcopy(model)
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    loaded = torch.load(stored, weights_only=False)
    ng.prune(model, inputs, ratio=0.5)
    for other in (copied, loaded):
        assert history_of(other) == [first.to_json()]
    assert history_of(model)[0] == first.to_json()
    assert len(history_of(model)) == 2


def test_large_tensors_cut_in_parts_are_those_of_indexing() -> None:
    torch.manual_seed(0)
    middle = nn.Linear(600, 900)
    model = nn.Sequential(nn.Linear(7, 600), nn.ReLU(), middle, nn.ReLU(), nn.Linear(900, 3))
    before = middle.weight.detach().clone()
    edit = ng.prune(model, torch.ones(1, 7), ratio=0.37)
    rows, columns = (width.kept for width in sorted(edit.change.widths.values(), key=lambda w: -w.before))
    assert before.numel() > 1 << 18
    assert torch.equal(middle.weight, before[rows][:, columns])
    edit.undo()
    assert torch.equal(middle.weight, before)
