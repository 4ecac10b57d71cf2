"""Stitches: the networks around them are the donors', the layer is fitted, stages train what they say."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import naivegraph as ng


class Convolutions(nn.Module):
    """A stem with a norm and an activation in place, a residual block that may halve maps, and a head."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(width, width, 3, stride, 1)
        self.block, self.head = nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, 8, 8) to (batch, 4)."""
        x = self.relu(self.norm(self.stem(x)))
        x = self.down(x)
        x = self.relu(x + self.block(x))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """An encoder of tokens with a mask, of which a head reads the first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.one, self.two = Attend(width), Attend(width)
        self.head = nn.Linear(width, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, length) and a mask of that shape to (batch, 3)."""
        bias = (1.0 - mask[:, None].float()) * -1e4
        return self.head(self.two(self.one(self.embed(ids), bias), bias)[:, 0])  # type: ignore[no-any-return]


class Attend(nn.Module):
    """Attention with one head, and a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.norm = nn.Linear(width, 3 * width), nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map (batch, length, width) to the same."""
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.norm(x + (q @ k.transpose(1, 2) / 4 + bias).softmax(-1) @ v)  # type: ignore[no-any-return]


IMAGES = torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(48) % 4


def donors(strides: tuple[int, int] = (1, 1)) -> tuple[ng.Graph, ng.Graph]:
    nets = Convolutions(6, strides[0]).eval(), Convolutions(8, strides[1]).eval()
    for net in nets:
        with torch.no_grad():
            net.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    first, second = (ng.capture(net, IMAGES[:2]) for net in nets)
    return first, second


def rows(value: Tensor) -> Any:
    return value.detach().double().movedim(1, -1).flatten(0, -2).numpy()


FITS = ["ridge", "least_squares", "procrustes", "permutation", ng.surgery.rank(3)]


@pytest.mark.parametrize("fit", FITS, ids=str)
def test_the_joined_network_is_front_layer_and_back(fit: Any) -> None:
    a, b = donors()
    expected = a(IMAGES), b(IMAGES)
    s = ng.surgery.stitch(a, "down", b, "down", data=IMAGES, fit=fit)
    hidden = s.module.get_submodule("stitch")(a.run(IMAGES, ["down"])["down"])
    assert torch.equal(s(IMAGES), b.run({"down": hidden}, ["head"])["head"])
    assert torch.equal(s.module(IMAGES), s(IMAGES))
    assert torch.equal(s.to_module()(IMAGES), s(IMAGES))
    assert s.stage == "regression"
    assert s.explained is not None
    assert torch.equal(a(IMAGES), expected[0])
    assert torch.equal(b(IMAGES), expected[1])
    assert [v.name for v in s][:4] == ["x", "front.stem", "front.norm", "front.relu"]
    assert s.checks["another batch"] == s.checks["train mode"] == "equal"


def test_the_fit_is_that_of_numpy_on_all_the_data_at_once() -> None:
    a, b = donors()
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=7, shuffle=True)
    s = ng.surgery.stitch(a, "relu", b, "relu", data=loader, fit="least_squares")
    x, y = rows(a.run(IMAGES, ["relu"])["relu"]), rows(b.run(IMAGES, ["relu"])["relu"])
    expected = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y, rcond=None)[0]
    layer: Any = s.module.get_submodule("stitch")
    np.testing.assert_allclose(layer.weight.detach()[:, :, 0, 0].T, expected[:-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.bias.detach(), expected[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strides", [(1, 2), (2, 1)])
def test_maps_of_other_sizes_are_resized_bilinearly(strides: tuple[int, int]) -> None:
    a, b = donors(strides)
    s = ng.surgery.stitch(a, "down", b, "down", data=IMAGES, fit="least_squares")
    hidden, wanted = a.run(IMAGES, ["down"])["down"], b.run(IMAGES, ["down"])["down"]
    small = F.interpolate(hidden, wanted.shape[2:], mode="bilinear", align_corners=False)
    x, y = rows(small), rows(wanted)
    expected = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y, rcond=None)[0]
    given = s.module.get_submodule("stitch")(hidden)
    np.testing.assert_allclose(rows(given), x @ expected[:-1] + expected[-1], rtol=1e-3, atol=1e-4)
    assert s(IMAGES).shape == (48, 4)


def test_a_network_stitched_to_itself_computes_what_it_did() -> None:
    _, b = donors()
    for name in ("stem", "relu", "down", "relu_1"):
        s = ng.surgery.stitch(b, name, b, name, data=IMAGES, fit="procrustes")
        torch.testing.assert_close(s(IMAGES), b(IMAGES), rtol=1e-4, atol=1e-5)


def test_tokens_are_joined_by_a_linear_layer_and_masks_come_along() -> None:
    ids = torch.randint(0, 20, (16, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(16, 5)
    mask[::2, 3:] = 0
    a, b = (ng.capture(Tokens(width).eval(), (ids[:2], mask[:2])) for width in (8, 12))
    s = ng.surgery.stitch(a, "one.norm", b, "one.norm", data=[(ids[:8], mask[:8]), (ids[8:], mask[8:])])
    assert [vertex.name for vertex in s.inputs] == ["ids", "mask"]
    assert isinstance(s.module.get_submodule("stitch"), nn.Linear)
    hidden = s.module.get_submodule("stitch")(a.run((ids, mask), ["one.norm"])["one.norm"])
    expected = b.run({"one.norm": hidden, "ids": ids, "mask": mask}, ["head"])["head"]
    torch.testing.assert_close(s(ids, mask), expected)


def test_parameters_are_those_of_the_donors_and_a_copy_s_are_not() -> None:
    a, b = donors()
    s = ng.surgery.stitch(a, "down", b, "down", data=IMAGES)
    mine = dict(s.module.named_parameters())
    assert mine["front.stem.weight"] is a.module.get_parameter("stem.weight")
    assert mine["back.head.weight"] is b.module.get_parameter("head.weight")
    stitched = mine["stitch.weight"]
    s.fit(IMAGES, "procrustes")
    assert s.module.get_parameter("stitch.weight") is stitched
    expected = a(IMAGES), b(IMAGES)
    apart = ng.surgery.stitch(a, "down", b, "down", data=IMAGES, fit="procrustes", copy=True)
    assert torch.equal(apart(IMAGES), s(IMAGES))
    ng.prune(apart, macs=0.6)
    assert torch.equal(a(IMAGES), expected[0])
    assert torch.equal(b(IMAGES), expected[1])
    ng.prune(s, macs=0.6)
    assert a.module.get_submodule("stem") is s.module.get_submodule("front.stem")
    small = sum(p.numel() for p in s.module.parameters())
    assert small == sum(p.numel() for p in apart.module.parameters())
    assert s(IMAGES).shape == (48, 4)


def state(graph: ng.Graph) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in graph.module.state_dict().items()}


def test_stages_train_what_they_say_and_nothing_else() -> None:
    a, b = donors()
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=16)
    s = ng.surgery.stitch(a, "down", b, "down", fit="random")
    assert str(s.stage) == "random"
    assert s.explained is None
    s.fit(loader)
    assert str(s.stage) == "regression"
    before, flags = state(s), [m.training for m in s.module.modules()]
    losses = s.train(loader, epochs=4, lr=0.01)
    assert str(s.stage) == "trained stitch"
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    changed = {name for name, value in state(s).items() if not torch.equal(value, before[name])}
    assert changed == {"stitch.weight", "stitch.bias"}
    assert [m.training for m in s.module.modules()] == flags
    assert all(p.requires_grad for p in s.module.parameters())
    before = state(s)
    more = s.train(loader, downstream=True, epochs=4, lr=0.01)
    assert str(s.stage) == "trained stitch and downstream"
    assert more[-1] < losses[-1]
    changed = {name for name, value in state(s).items() if not torch.equal(value, before[name])}
    assert changed == {n for n in before if n.startswith(("stitch.", "back."))}
    assert "trained stitch and downstream" in repr(s)


def test_labels_of_dicts_and_losses_of_one_s_own() -> None:
    a, b = donors()
    s = ng.surgery.stitch(a, "down", b, "down", data=IMAGES)
    seen: list[Any] = []

    def loss(output: Tensor, labels: Any) -> Tensor:
        seen.append(labels)
        return F.mse_loss(output, labels["target"])

    target = b(IMAGES).detach()
    before = F.mse_loss(s(IMAGES), target)
    s.train([{"x": IMAGES, "target": target}], loss=loss, epochs=30, lr=0.003)
    assert F.mse_loss(s(IMAGES), target) < before
    assert [*seen[0]] == ["target"]


def test_a_norm_downstream_measures_what_comes_from_the_stitch() -> None:
    a, b = donors()
    s = ng.surgery.stitch(a, "stem", b, "stem", fit="random", copy=True)
    mean = s.module.get_buffer("back.norm.running_mean").clone()
    s.train([(IMAGES, LABELS)], epochs=2)
    assert torch.equal(s.module.get_buffer("back.norm.running_mean"), mean)
    s.train([(IMAGES, LABELS)], downstream=True, epochs=2)
    assert not torch.equal(s.module.get_buffer("back.norm.running_mean"), mean)


def test_a_stitch_is_frozen_saved_and_copied(tmp_path: Path) -> None:
    a, b = donors()
    s = ng.surgery.stitch(a, "down", b, "down", data=IMAGES, copy=True)
    with ng.surgery.frozen(s, except_="stitch"):
        assert [n for n, p in s.module.named_parameters() if p.requires_grad] == [
            "stitch.weight",
            "stitch.bias",
        ]
    twin = copy.deepcopy(s)
    assert isinstance(twin, ng.surgery.Stitch)
    assert (twin.stage, twin.explained) == (s.stage, s.explained)
    ng.prune(s, macs=0.7)
    ng.save(s, tmp_path / "stitch.safetensors")
    fresh = ng.surgery.stitch(a, "down", b, "down", fit="random", copy=True)
    loaded = ng.load(fresh.module, tmp_path / "stitch.safetensors")
    assert torch.equal(loaded(IMAGES), s(IMAGES))
    twin.fit(IMAGES, "procrustes")
    assert twin.explained != s.explained


def one_batch() -> Iterator[Tensor]:
    yield IMAGES


def test_a_generator_and_a_stack_are_data() -> None:
    a, b = donors()
    found = [
        ng.surgery.stitch(a, "down", b, "down", data=data).module.get_parameter("stitch.weight")
        for data in (IMAGES, one_batch(), [(IMAGES[:40], LABELS[:40]), (IMAGES[40:], LABELS[40:])])
    ]
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-4, atol=1e-6)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"first": "dwn"}, r"the graph has no vertex 'dwn'; did you mean 'down'"),
    ({"second": "haed"}, r"the graph has no vertex 'haed'; did you mean .*'head'"),
    ({"first": "head"}, r"'head' gives \(2, 4\), 'down' \(2, 8, 8, 8\).*joined with their like alone"),
    (
        {"second": "block"},
        r"what follows 'block' takes more than what that gives: 'down', made with the param",
    ),
    ({"data": []}, r"data= gave no batches: give a tensor of samples"),
    ({"data": None}, r"data= holds no data"),
    ({"data": [LABELS]}, r"batch 1 of data=: the input 'x' is of int64"),
    ({"fit": "rdge"}, r"fit='rdge': give one of .*did you mean 'ridge'"),
    (
        {"data": IMAGES[:1, :, :1, :2], "fit": "least_squares"},
        r"fit='least_squares' has no single answer: 2 rows",
    ),
    ({"fit": ng.surgery.rank(9)}, "fit=rank 9: a map between these has rank 6 at most"),
]


@pytest.mark.parametrize(("other", "message"), WRONG, ids=[str(w[0])[:30] for w in WRONG])
def test_what_cannot_be_stitched_is_told(other: dict[str, Any], message: str) -> None:
    a, b = donors()
    before = a(IMAGES), b(IMAGES), state(a), state(b)
    given: dict[str, Any] = {"first": "down", "second": "down", "data": IMAGES, "fit": "ridge", **other}
    with pytest.raises(ng.EditError, match=message):
        ng.surgery.stitch(a, given["first"], b, given["second"], given["data"], fit=given["fit"])
    assert torch.equal(a(IMAGES), before[0])
    assert torch.equal(b(IMAGES), before[1])
    assert all(torch.equal(value, before[2][name]) for name, value in state(a).items())
    assert all(torch.equal(value, before[3][name]) for name, value in state(b).items())


def test_what_cannot_be_trained_is_told() -> None:
    a, b = donors()
    s = ng.surgery.stitch(a, "down", b, "down", data=IMAGES)
    before = state(s)
    with pytest.raises(ng.EditError, match="batch 1 of data= has no labels: give tuples"):
        s.train(IMAGES)
    with pytest.raises(ng.EditError, match="epochs must be a whole number from 1 up"):
        s.train([(IMAGES, LABELS)], epochs=0)
    with pytest.raises(ng.EditError, match="the loss of batch 1 is nan: take a lower learning rate"):
        s.train([(IMAGES, LABELS)], loss=lambda output, labels: output.sum() * float("nan"))
    with pytest.raises(
        ng.EditError, match="the stitch has layers of 6 to 8 neurons, and what is fitted needs"
    ):
        s.fit(IMAGES, ng.surgery.rank(2))
    assert all(torch.equal(value, before[name]) for name, value in state(s).items())
    assert all(p.requires_grad for p in s.module.parameters())
    with pytest.raises(
        ng.EditError, match=r"stitch takes graphs, ng\.capture\(model, x\), not a Convolutions"
    ):
        ng.surgery.stitch(a.module, "down", b, "down", data=IMAGES)  # type: ignore[arg-type]


def test_sequences_of_different_length_are_told() -> None:
    graphs = [
        ng.capture(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(2, length, 4))
        for length in (5, 7)
    ]
    with pytest.raises(ng.EditError, match="sequences of different length cannot be joined"):
        ng.surgery.stitch(graphs[0], "1", graphs[1], "1", fit="random")


class TwoOutputs(nn.Module):
    """What the first layer gives is returned, too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, 4) to (batch, 6) and (batch, 3)."""
        h = self.a(x)
        return h, self.b(h.tanh())


def test_an_output_that_the_end_cannot_make_is_told_with_the_way_out() -> None:
    graph, x = ng.capture(TwoOutputs(), torch.randn(2, 4)), torch.randn(32, 4)
    with pytest.raises(
        ng.EditError, match=r"'a' does not depend on 'tanh'.*cut the network to what is wanted"
    ):
        ng.surgery.stitch(graph, "tanh", graph, "tanh", data=x)
    part = ng.surgery.cut(graph, ["x"], ["b"])
    stitched = ng.surgery.stitch(part, "tanh", part, "tanh", data=x)
    torch.testing.assert_close(stitched(x), part(x), atol=1e-2, rtol=1e-2)
