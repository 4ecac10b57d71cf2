"""The config a network was built from follows an edit where it can, and says so where it cannot."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng


@dataclasses.dataclass
class Inner:
    hidden: int = 24
    dropout: float = 0.0


@dataclasses.dataclass
class Config:
    vocabulary: int = 30
    size: int = 16
    heads: int = 4
    layers: int = 2
    widths: list[int] = dataclasses.field(default_factory=lambda: [12, 20])
    inner: Inner = dataclasses.field(default_factory=Inner)


class Block(nn.Module):
    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config = config
        self.heads, self.head_size = config.heads, config.size // config.heads
        self.scale = self.head_size**-0.5
        self.qkv, self.out = nn.Linear(config.size, 3 * config.size), nn.Linear(config.size, config.size)
        self.up, self.down = nn.Linear(config.size, width), nn.Linear(width, config.size)
        self.one, self.two = (
            nn.Linear(config.size, config.inner.hidden),
            nn.Linear(config.inner.hidden, config.size),
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, -1, self.head_size).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, -1))
        x = x + self.down(F.gelu(self.up(x)))
        return x + self.two(F.gelu(self.one(x)))  # type: ignore[no-any-return]


class Language(nn.Module):
    """Built from a config it keeps; no norms, so that removal can be compared."""

    def __init__(self, config: Config, bias: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.size)
        self.blocks = nn.ModuleList(Block(config, width) for width in config.widths)
        self.head = nn.Linear(config.size, config.vocabulary, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


TOKENS = (torch.arange(10).reshape(2, 5),)


def rebuilt(model: Language) -> Language:
    """What someone else makes of the config and the saved weights."""
    other = Language(copy.deepcopy(model.config)).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_the_config_builds_the_pruned_network_again() -> None:
    model = Language(Config()).eval()
    shared, before = model.config, copy.deepcopy(model.config)
    edit = ng.prune(model, TOKENS, ratio=0.5)
    assert model.config == Config(size=8, heads=2, widths=[6, 10], inner=Inner(12))
    assert torch.equal(rebuilt(model)(*TOKENS), model(*TOKENS))
    # One object before, one object after; the old one is as it was, for others may hold it.
    assert all(vars(block)["config"] is model.config for block in model.blocks)
    assert shared == before
    assert shared is not model.config
    edit.undo()
    assert model.config is shared
    assert all(vars(block)["config"] is shared for block in model.blocks)


@dataclasses.dataclass
class Stages:
    sizes: tuple[int, ...] = (12, 20)


class Staged(nn.Module):
    """Reads the sizes of its stages from a tuple in its config, in the forward as well."""

    def __init__(self, config: Stages) -> None:
        super().__init__()
        self.config = config
        self.first, self.second = nn.Linear(6, config.sizes[0]), nn.Linear(config.sizes[0], config.sizes[1])
        self.head = nn.Linear(config.sizes[1], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x)).reshape(-1, self.config.sizes[0])
        return self.head(self.second(x).reshape(-1, self.config.sizes[1]))  # type: ignore[no-any-return]


def test_a_tuple_in_the_config_follows() -> None:
    model, x = Staged(Stages()), torch.randn(4, 6)
    edit = ng.prune(model, x, ratio=0.5)
    assert model.config == Stages((6, 10))
    assert not edit.notes
    other = Staged(model.config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    edit.undo()
    assert model.config == Stages()


class Guarded(Config):
    """A field of it may be read of its layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head_size = 4

    def __getattribute__(self, name: str) -> object:
        if name == "head_size":
            raise RuntimeError("ask a layer")
        return super().__getattribute__(name)


def test_a_config_that_refuses_to_read_a_field_follows() -> None:
    model = Language(Guarded()).eval()
    ng.prune(model, TOKENS, ratio=0.5)
    assert (model.config.size, model.config.widths, vars(model.config)["head_size"]) == (8, [6, 10], 4)
    assert torch.equal(rebuilt(model)(*TOKENS), model(*TOKENS))


def test_the_config_follows_growth_and_what_is_saved(tmp_path: object) -> None:
    model = Language(Config()).eval()
    graph = ng.capture(model, TOKENS)
    assert ng.resize(graph, {"blocks.0.up": +4})
    assert model.config.widths == [16, 20]
    ng.save(model, f"{tmp_path}/x.safetensors")
    fresh = Language(Config()).eval()
    ng.load(fresh, f"{tmp_path}/x.safetensors")
    assert fresh.config.widths == [16, 20]
    assert torch.equal(rebuilt(fresh)(*TOKENS), model(*TOKENS))


def test_a_config_of_which_layers_differ_stays_and_the_edit_says_so() -> None:
    model = Language(Config()).eval()
    edit = ng.prune(model, TOKENS, ratio=0.5, keep=["blocks.1.one"])
    assert model.config == Config()
    (note,) = [note for note in edit.notes if "config" in note]
    assert "inner.hidden would have to be 12 for blocks.0.one.weight and 24 for blocks.1.one.weight" in note
    assert "use ng.save and ng.load" in note


def test_a_network_changed_since_it_was_built_is_not_described_by_its_config() -> None:
    model = Language(Config()).eval()
    model.head = nn.Linear(16, 7)
    ng.prune(model, TOKENS, ratio=0.5)
    assert model.config == Config()


def test_building_again_leaves_random_numbers_and_warnings_alone(recwarn: pytest.WarningsRecorder) -> None:
    model = Language(Config()).eval()
    state = torch.get_rng_state()
    ng.prune(model, TOKENS, ratio=0.5)
    assert torch.equal(state, torch.get_rng_state())
    assert not recwarn.list


class Scaled(Language):
    """The scale comes from the config anew, and the head size from nowhere else: only heads may go."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.scale = config.size**-0.5


def test_a_number_of_the_code_that_would_differ_holds_the_config() -> None:
    model = Scaled(Config()).eval()
    before = model(*TOKENS)
    edit = ng.prune(model, TOKENS, ratio=0.5)
    assert model.config == Config()
    assert before.shape == model(*TOKENS).shape
    (note,) = edit.notes
    assert "size would have to be 8 for embed.weight and 16 for blocks.0.scale" in note


@dataclasses.dataclass
class Wide:
    size: int = 16
    times: int = 2


class Multiple(nn.Module):
    """A size that is the product of two numbers of the config."""

    def __init__(self, config: Wide) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(3, config.size)
        self.up = nn.Linear(config.size, config.times * config.size)
        self.down = nn.Linear(config.times * config.size, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(self.first(x)))  # type: ignore[no-any-return]


def test_what_would_contradict_one_number_alone_may_be_met_by_two() -> None:
    model = Multiple(Wide()).eval()
    edit = ng.prune(model, torch.ones(1, 3), ratio=0.5, keep=["up"])
    assert model.up.weight.shape == (32, 8)
    assert model.config == Wide(size=8, times=4)
    assert not [note for note in edit.notes if "config" in note]


def test_a_contradiction_is_found_by_three_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Language(Config()).eval()
    built = []
    make = Language.__init__

    def counted(self: Language, config: Config, bias: bool = True) -> None:
        built.append(config)
        make(self, config, bias)

    monkeypatch.setattr(Language, "__init__", counted)
    edit = ng.prune(model, TOKENS, ratio=0.5, keep=["blocks.1.one"])
    assert any("inner.hidden would have to be" in note for note in edit.notes)
    assert len(built) == 3
    built.clear()
    edit.undo()
    ng.prune(model, TOKENS, ratio=0.5)
    assert model.config == Config(size=8, heads=2, widths=[6, 10], inner=Inner(12))
    assert len(built) == 5, "all together, without heads and layers, either of these, the one found"
