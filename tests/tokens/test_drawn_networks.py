"""Networks that are drawn: all valid, the same by seed, for the data asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from naivegraph.errors import LoadError
from naivegraph.tokens.drawn_networks import sample
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.meta_features import meta_features
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.training_files import load_networks, save_networks
from naivegraph.tokens.vae import NetworkVAE, VAESize

FRAMES = [
    Frame("dense", inputs=3, outputs=2, depth=2, width=4),
    Frame("convolutional", inputs=1, outputs=2, depth=2, width=3, kernel=9, norm=True),
    Frame("residual", inputs=3, outputs=1, depth=3, width=4),
]
SMALL = VAESize(latent=6, linear=4, dim=16, layers=1, heads=2, probes=5)


def model_of(frame: Frame, condition: int = 0) -> NetworkVAE:
    networks = random_structure(frame, 30, seed=1)
    meta = torch.randn(30, condition, generator=torch.Generator().manual_seed(0)) if condition else None
    torch.manual_seed(0)
    model = NetworkVAE(frame, SMALL, condition).fitted(networks, meta)
    model.fit_prior(networks, meta)
    return model


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.kind)
def test_networks_that_an_untrained_model_draws_are_repaired_and_run(frame: Frame) -> None:
    drawn = sample(model_of(frame), 12, seed=3)
    assert not drawn.valid_before.all()
    assert drawn.networks.valid().all()
    x = torch.randn(4, frame.inputs, 6, 6) if frame.images else torch.randn(4, frame.inputs)
    outputs = drawn.networks.run(x)
    assert outputs.isfinite().all()
    for number in range(3):
        torch.testing.assert_close(drawn.networks.module(number)(x), outputs[number], atol=1e-4, rtol=1e-4)


def test_the_seed_says_which() -> None:
    model = model_of(FRAMES[0])
    first, again, other = (sample(model, 5, seed=seed).networks.tokens() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    cold = sample(model, 2, seed=1, temperature=0.0).networks.tokens()
    torch.testing.assert_close(cold[0], cold[1])


def test_data_change_what_is_drawn() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = x @ torch.ones(3, 1)
    model = model_of(FRAMES[0], condition=len(meta_features(x, y)))
    like = sample(model, 3, like=(x, y), seed=1).networks.tokens()
    told = sample(model, 3, meta=meta_features(x, y), seed=1).networks.tokens()
    assert torch.equal(like, told)
    assert not torch.equal(like, sample(model, 3, seed=1).networks.tokens())


def test_what_cannot_be_asked_is_told() -> None:
    plain, told = model_of(FRAMES[0]), model_of(FRAMES[0], condition=2)
    data = (torch.randn(10, 3), torch.randn(10, 1))
    with pytest.raises(ValueError, match="the model takes no meta-features: train it with meta="):
        sample(plain, like=data)
    with pytest.raises(
        ValueError, match=r"the data's inputs are \(9,\), and the networks of this model take"
    ):
        sample(told, like=(torch.randn(20, 9), torch.randn(20)))
    with pytest.raises(ValueError, match="give like= or meta=, not both"):
        sample(told, like=data, meta=torch.zeros(2))
    with pytest.raises(ValueError, match=r"meta-features are \(3,\), and the model takes 2"):
        sample(told, meta=torch.zeros(3))
    with pytest.raises(ValueError, match="count=0 is to be at least 1"):
        sample(plain, 0)
    with pytest.raises(ValueError, match="temperature=-1"):
        sample(plain, temperature=-1)


def test_drawn_networks_are_kept(tmp_path: Path) -> None:
    networks = sample(model_of(FRAMES[2]), 4).networks
    save_networks(networks, tmp_path)
    assert torch.equal(load_networks(tmp_path).tokens(), networks.tokens())
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(LoadError, match="is damaged"):
        load_networks(tmp_path)
    with pytest.raises(LoadError, match="holds no drawn networks"):
        load_networks(tmp_path / "none")
