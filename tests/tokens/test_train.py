"""Training: it learns, goes on bit by bit, and tells what is wrong with a folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from naivegraph.errors import EditError, LoadError
from naivegraph.tokens.conditioning import conditioning
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.network_losses import Losses, LossWeights
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.train import Trained, TrainSettings, split, train
from naivegraph.tokens.training_files import load_model
from naivegraph.tokens.vae import VAESize

FRAME = Frame("dense", inputs=2, outputs=1, depth=2, width=3, activations=("relu", "tanh"))
SMALL = VAESize(latent=24, linear=16, dim=16, layers=1, heads=2, probes=8)
SETTINGS = TrainSettings(steps=6, batch=8, every=2)
INPUTS = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def networks() -> Networks:
    return random_structure(FRAME, 40, seed=0)


@pytest.fixture(scope="module")
def meta() -> Tensor:
    """The meta-features of four data sets."""
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(2))[torch.arange(40) % 4]


def same(first: Trained, second: Trained) -> bool:
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_learns_structures_that_it_has_not_seen() -> None:
    made = random_structure(FRAME, 400, seed=3)
    untrained = random_structure(FRAME, 2000, seed=4)
    settings = TrainSettings(steps=400, every=200, loss=LossWeights(outputs=0.5))
    done = train(made, inputs=INPUTS, untrained=untrained, size=SMALL, settings=settings)
    first, last = done.history
    assert last["structure"] > 0.5
    assert last["loss_structure"] < first["loss_structure"]
    assert last["median_error"] < 0.6
    assert last["weights"] > 0.4


def test_a_stopped_training_comes_to_the_same_numbers(
    networks: Networks, meta: Tensor, tmp_path: Path
) -> None:
    whole = train(networks, meta, inputs=INPUTS, size=SMALL, settings=SETTINGS)
    train(networks, meta, inputs=INPUTS, size=SMALL, settings=SETTINGS, folder=tmp_path, until=3)
    torch.manual_seed(99)
    rest = train(networks, meta, inputs=INPUTS, size=SMALL, settings=SETTINGS, folder=tmp_path)
    assert same(whole, rest)
    assert rest.history == whole.history
    assert same(rest, dataclasses.replace(rest, model=load_model(tmp_path)))
    assert len((tmp_path / "training.log").read_text().splitlines()) == len(whole.history)
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".json", ".safetensors", ".log")]


def test_random_numbers_of_the_process_stay(networks: Networks) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(networks, inputs=INPUTS, size=SMALL, settings=SETTINGS)
    assert torch.equal(torch.rand(3), expected)


def test_another_training_in_the_folder_is_refused(networks: Networks, tmp_path: Path) -> None:
    train(networks, inputs=INPUTS, size=SMALL, settings=SETTINGS, folder=tmp_path, until=1)
    with pytest.raises(
        EditError, match=r"holds another training \(of other networks or data\): give another folder"
    ):
        train(networks[:30], inputs=INPUTS, size=SMALL, settings=SETTINGS, folder=tmp_path)
    with pytest.raises(EditError, match=r"holds another training \(rate [\d.]+, not 0\.5\)"):
        train(
            networks,
            inputs=INPUTS,
            size=SMALL,
            settings=dataclasses.replace(SETTINGS, rate=0.5),
            folder=tmp_path,
        )


def test_damaged_files_are_named(networks: Networks, tmp_path: Path) -> None:
    train(networks, inputs=INPUTS, size=SMALL, settings=SETTINGS, folder=tmp_path, until=1)
    (model,) = tmp_path.glob("model-*.safetensors")
    content = bytearray(model.read_bytes())
    content[-3] ^= 1
    model.write_bytes(content)
    with pytest.raises(LoadError, match=r"model-.*is damaged: its numbers are not those that were saved"):
        load_model(tmp_path)
    (checkpoint,) = tmp_path.glob("checkpoint-*.safetensors")
    checkpoint.unlink()
    with pytest.raises(LoadError, match=r"checkpoint\.json is damaged, or what it names is missing"):
        train(networks, inputs=INPUTS, size=SMALL, settings=SETTINGS, folder=tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(described)[:40])
    with pytest.raises(LoadError, match=r"model\.json is damaged"):
        load_model(tmp_path)
    with pytest.raises(LoadError, match=r"holds no model \(model\.json\): train one there"):
        load_model(tmp_path / "none")


def test_networks_held_out_are_apart_and_follow_the_seed() -> None:
    known, held = split(50, SETTINGS)
    assert len(held) == 10
    assert sorted([*known.tolist(), *held.tolist()]) == list(range(50))
    assert torch.equal(split(50, SETTINGS)[1], held)
    assert not torch.equal(split(50, dataclasses.replace(SETTINGS, seed=1))[1], held)


def test_sensitivity_weighs_neurons(networks: Networks) -> None:
    settings = dataclasses.replace(SETTINGS, loss=LossWeights(by_sensitivity=True))
    with pytest.raises(ValueError, match="by_sensitivity needs sensitivity="):
        train(networks, inputs=INPUTS, size=SMALL, settings=settings)
    with pytest.raises(ValueError, match=r"sensitivity is \(3, 3\), and is to be \(40, 7\)"):
        train(networks, inputs=INPUTS, size=SMALL, settings=settings, sensitivity=torch.ones(3, 3))
    weighed = train(networks, inputs=INPUTS, size=SMALL, settings=settings, sensitivity=torch.rand(40, 7))
    plain = train(networks, inputs=INPUTS, size=SMALL, settings=SETTINGS)
    assert not same(weighed, plain)
    ones = train(networks, inputs=INPUTS, size=SMALL, settings=settings, sensitivity=torch.ones(40, 7))
    assert same(ones, plain)


def test_arguments_are_checked(networks: Networks) -> None:
    with pytest.raises(ValueError, match="1 networks are left to train on of 1"):
        train(networks[:1], inputs=INPUTS, size=SMALL)
    with pytest.raises(ValueError, match=r"inputs are \(64, 3\), and networks take 2 each"):
        train(networks, inputs=torch.zeros(64, 3), size=SMALL)
    with pytest.raises(ValueError, match="steps=0 is to be a whole number"):
        TrainSettings(steps=0)
    with pytest.raises(ValueError, match=r"chimeras=1\.5 is to be from 0 to 1"):
        TrainSettings(chimeras=1.5)
    with pytest.raises(ValueError, match="noise=nan is to be a number"):
        TrainSettings(noise=float("nan"))
    broken = networks[:10].replaced(presence=networks.presence[:10].clone())
    broken.presence[4, -1, 0] = False
    with pytest.raises(ValueError, match=r"network 4 is none: .*an output is missing"):
        train(broken, inputs=INPUTS, size=SMALL)


def test_meta_features_that_tell_of_networks_make_these_likelier() -> None:
    made = random_structure(FRAME, 300, seed=5)
    meta = torch.randn(6, 2, generator=torch.Generator().manual_seed(3))[torch.arange(300) % 6]
    told = made.replaced(bias=made.bias.clone())
    told.bias[:, -1, 0] = 4 * meta[:, 0]
    settings = TrainSettings(steps=150, every=150)
    done = train(told, meta, inputs=INPUTS, size=SMALL, settings=settings)
    held = done.held_out
    found = conditioning(done.model, told[held], meta[held], INPUTS)
    assert found.matters
    assert found.log_density > found.log_density_shuffled + 1
    with pytest.raises(ValueError, match="nothing to shuffle"):
        conditioning(done.model, told[held[:3]], meta[:1].expand(3, -1), INPUTS)


def test_a_step_beyond_all_numbers_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = random_structure(FRAME, 40, seed=0)
    total, calls = Losses.total, list[int]()

    def endless(self: Losses, weights: LossWeights, done: float) -> Tensor:
        """The loss, once without end."""
        calls.append(len(calls))
        return total(self, weights, done) * (torch.inf if len(calls) == 3 else 1.0)

    monkeypatch.setattr(Losses, "total", endless)
    trained = train(networks, inputs=INPUTS, size=SMALL, settings=SETTINGS)
    assert len(calls) == SETTINGS.steps
    assert all(each.isfinite().all() for each in trained.model.parameters())
