"""Widths that enter norms grow to any size, and the network computes the same as before."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.edits.plan.change import Change
from naivegraph.network import capture
from tests.machine.state import poisoned_memory
from tests.networks.plain import randomised
from tests.networks.streams import STREAMS, Stream, layer_norm
from tests.oracle import snapshot, unchanged

SEEDS = range(3)


def made(
    stream: Stream, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[nn.Module, tuple[Tensor, ...], int]:
    """A network of a random size, its inputs, and how many neurons to add."""
    rng = random.Random(f"{stream.name} {seed}")
    torch.manual_seed(rng.randrange(1 << 30))
    model = randomised(stream.build(2 * rng.randint(1, 6))).to(dtype)
    inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in stream.inputs())
    return model, inputs, stream.steps * rng.randint(1, 20)


def grown(model: nn.Module, inputs: tuple[Tensor, ...], vertex: str, more: int, **options: Any) -> ng.Edit:
    """Add neurons, with new memory poisoned."""
    graph = capture(model, inputs)
    size = graph.sizes[vertex]
    with poisoned_memory():
        edit = ng.resize(graph, {vertex: +more}, **options)
    assert graph.sizes[vertex] == size + more
    with torch.no_grad():
        assert torch.allclose(graph(*inputs), model(*inputs))
    return edit


def away(one: Tensor, two: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float((one - two).detach().abs().max() / one.detach().abs().max())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_the_function_is_kept(stream: Stream, seed: int) -> None:
    model, inputs, more = made(stream, seed)
    before, state = model(*inputs), snapshot(model)
    edit = grown(model, inputs, stream.vertex, more)
    assert away(before, model(*inputs)) <= 1e-12
    assert edit.function_kept
    assert "what the network computes is kept" in str(edit)
    edit.undo()
    unchanged(model, state)


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_the_function_is_kept_in_single_precision(stream: Stream) -> None:
    model, inputs, more = made(stream, 7, torch.float32)
    before = model(*inputs)
    grown(model, inputs, stream.vertex, more)
    assert away(before, model(*inputs)) <= 2e-6


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_new_weights_learn_each_its_own(stream: Stream) -> None:
    model, inputs, more = made(stream, 3)
    edit = grown(model, inputs, stream.vertex, more)
    weight = model.get_submodule(stream.vertex).weight
    assert isinstance(weight, Tensor)
    rows = weight.shape[0] if isinstance(model.get_submodule(stream.vertex), nn.Embedding) else 0
    out = model(*inputs)
    (out * torch.randn_like(out)).sum().backward()
    assert weight.grad is not None
    along = weight.grad.t() if rows else weight.grad.flatten(1)
    kept = [i for run in edit.sizes[stream.vertex].kept for i in run]
    fresh = [i for i in range(len(along)) if i >= len(kept)] if stream.steps == 1 else []
    norms = along[fresh].norm(dim=1)
    assert bool((norms > 0).all())
    for i in range(len(fresh)):
        for j in range(i):
            assert not torch.allclose(along[fresh[i]], along[fresh[j]], rtol=1e-6, atol=0)


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_a_replay_on_a_copy_and_a_file_give_the_same(stream: Stream, tmp_path: Path) -> None:
    model, inputs, more = made(stream, 5)
    other, third = copy.deepcopy(model), copy.deepcopy(model)
    edit = grown(model, inputs, stream.vertex, more)
    assert Change.from_json(edit.to_json()) == edit.change
    with poisoned_memory():
        ng.replay(other, edit.to_json())
    graph = capture(third, inputs)
    ng.replay(graph, edit)
    for each in (other, third):
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), each.parameters(), strict=True))
        assert torch.equal(model(*inputs), each(*inputs))
    assert torch.equal(graph(*inputs), capture(model, inputs)(*inputs))
    ng.save(model, tmp_path / "model.safetensors")
    fresh, _, _ = made(stream, 5)
    ng.load(fresh, tmp_path / "model.safetensors")
    assert torch.equal(model(*inputs), fresh(*inputs))


def test_training_goes_on_and_an_undo_keeps_it() -> None:
    model, inputs, more = made(STREAMS[0], 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = model(*inputs)
    before.square().sum().backward()
    optimizer.step()
    graph, trained = capture(model, inputs), model(*inputs)
    edit = ng.resize(graph, {"table": +more}, optimizer=optimizer)
    assert away(trained, model(*inputs)) <= 1e-12
    edit.undo(keep_training=True)
    assert away(trained, model(*inputs)) <= 1e-12


def test_a_function_fills_what_is_free() -> None:
    model, inputs, more = made(STREAMS[0], 2)
    before = model(*inputs)
    grown(model, inputs, "table", more, initialise=lambda tensor, name: nn.init.constant_(tensor, 0.25))
    assert away(before, model(*inputs)) <= 1e-12
    assert bool((model.get_submodule("blocks.0.qkv").weight[:, -more:] == 0.25).all())  # type: ignore[index]


# Those that cannot be


class PostNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.two = nn.Linear(4, 6), nn.LayerNorm(6), nn.LayerNorm(6)
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.first(x))
        return self.head(self.two(x + torch.relu(self.inner(x))))  # type: ignore[no-any-return]


def behind_a_function() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6), nn.Linear(6, 3))


def depthwise() -> nn.Module:
    """A convolution of each channel before a norm over the channels, as in a ConvNeXt."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.each, self.norm = (
                nn.Conv2d(3, 6, 2, 2),
                nn.Conv2d(6, 6, 3, padding=1, groups=6),
                layer_norm(6),
            )
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.each(self.first(x)).permute(0, 2, 3, 1)))  # type: ignore[no-any-return]

    return Net()


def within_groups() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 3, 3))


REFUSED = [
    (
        PostNorm,
        (3, 4),
        "first",
        "two, whose new entries would have to be the mean of the others, but (add|relu) at",
    ),
    (behind_a_function, (3, 4), "0", "a layer norm at 2, whose new entries .* but gelu at 1 does not"),
    (depthwise, (2, 3, 8, 8), "first", "norm, whose new entries .* but convolution at each"),
]


@pytest.mark.parametrize(("build", "shape", "vertex", "says"), REFUSED)
def test_a_note_says_why_not_and_whole_copies_are_exact(
    build: Callable[[], nn.Module], shape: tuple[int, ...], vertex: str, says: str
) -> None:
    torch.manual_seed(0)
    model = randomised(build()).double()
    x = torch.randn(*shape).double()
    before = model(x)
    edit = grown(model, (x,), vertex, 2)
    assert edit.function_kept is False
    assert len(edit.notes) == 1
    assert re.search(says, edit.notes[0])
    assert 'With initialise="duplicate" and a multiple of its 6 they do not.' in edit.notes[0]
    edit.undo()
    twice = grown(model, (x,), vertex, 6, initialise="duplicate")
    assert twice.function_kept
    assert not twice.notes
    assert away(before, model(x)) <= 1e-12
    twice.undo()
    more = grown(model, (x,), vertex, 7, initialise="duplicate")
    assert more.function_kept is False
    assert "enters a layer norm" in more.notes[0]
    assert away(before, model(x)) > 1e-6


def test_channels_within_the_groups_of_an_image() -> None:
    torch.manual_seed(0)
    model = randomised(within_groups()).double()
    x = torch.randn(2, 3, 8, 8).double()
    before = model(x)
    edit = grown(model, (x,), "0", 2)
    assert edit.function_kept is False
    assert "at 1, which is taken of more than one width or of all places of an image" in edit.notes[0]
    edit.undo()
    edit = grown(model, (x,), "0", 8)  # as many groups again, or twice as many channels in each
    assert edit.function_kept
    assert away(before, model(x)) <= 1e-12


class Literal(nn.Module):
    """A norm whose small number is written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight, self.head = nn.Linear(4, 6), nn.Parameter(torch.ones(6)), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3) * self.weight)  # type: ignore[no-any-return]


def test_a_number_in_the_code_is_told() -> None:
    torch.manual_seed(0)
    model = randomised(Literal()).double()
    x = torch.randn(3, 4).double()
    before = model(x)
    edit = grown(model, (x,), "first", 3)
    assert edit.function_kept is False
    assert "add adds a number that is written in the code" in edit.notes[0]
    assert 1e-12 < away(before, model(x)) < 1e-2


def test_neurons_that_go_are_no_growth() -> None:
    model, inputs, _ = made(STREAMS[0], 4)
    edit = ng.resize(model, inputs, {"table": -1})
    assert edit.function_kept is None
    assert not edit.change.fills


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda d: d["fills"][0].__setitem__(3, "two"), "'two' is nothing that"),
        (lambda d: d["fills"][0].__setitem__(2, "9"), "'9' is none of its widths"),
        (lambda d: d["fills"][0].__setitem__(1, 5), "names dimension 5"),
        (lambda d: d["attributes"][-1].__setitem__(4, float("nan")), "nan is no value of an attribute"),
    ],
)
def test_json_is_checked(wrong: Callable[[Any], None], says: str) -> None:
    model, inputs, more = made(STREAMS[0], 5)
    data = json.loads(grown(model, inputs, "table", more).to_json())
    wrong(data)
    with pytest.raises(ValueError, match=says):
        Change.from_data(data)
