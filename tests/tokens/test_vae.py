"""The autoencoder: networks do not see each other, sizes are measured, losses are what they say."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from naivegraph.errors import EditError
from naivegraph.tokens.chimeras import Chimeras
from naivegraph.tokens.decoded import Decoded
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.latent_prior import LatentPrior
from naivegraph.tokens.metrics import scores, structure_exact
from naivegraph.tokens.network_losses import (
    LossWeights,
    number_loss,
    output_loss,
    relative_errors,
    structure_loss,
)
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.token_numbers import number_mask, number_places, number_scale, structure_places
from naivegraph.tokens.vae import NetworkVAE, VAESize

FRAMES = {
    "dense": Frame("dense", inputs=3, outputs=2, depth=2, width=4),
    "convolutional": Frame("convolutional", inputs=1, outputs=2, depth=2, width=3, kernel=9, norm=True),
    "residual": Frame("residual", inputs=3, outputs=1, depth=3, width=4, norm=True),
}
SMALL = VAESize(latent=6, linear=4, dim=16, layers=1, heads=2, probes=5)


def inputs_of(frame: Frame, count: int = 7) -> Tensor:
    shape = (count, frame.inputs, 6, 6) if frame.images else (count, frame.inputs)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=FRAMES)
def networks(request: pytest.FixtureRequest) -> Networks:
    return random_structure(FRAMES[request.param], 12, seed=3)


def exact(networks: Networks, certain: float = 30.0) -> Decoded:
    """What a decoder without error would write."""
    frame, tokens = networks.frame, networks.tokens()
    scale = number_scale(frame, tokens)
    structure = (tokens[..., structure_places(frame)] * 2 - 1) * certain
    return Decoded(frame, structure, scale.standard(tokens, frame), scale)


def test_a_network_is_read_alike_alone_and_among_others(networks: Networks) -> None:
    model = NetworkVAE(networks.frame, SMALL).fitted(networks)
    for mode in (True, False):
        model.train(mode)
        together = model.encode(networks)
        alone = model.encode(networks[4])
        torch.testing.assert_close(together.mean[4:5], alone.mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.log_variance[4:5], alone.log_variance, atol=1e-5, rtol=1e-4)
        z = together.mean
        torch.testing.assert_close(
            model.decode(z).tokens()[4:5], model.decode(z[4:5]).tokens(), atol=1e-5, rtol=1e-4
        )


def test_train_and_eval_mode_agree_as_there_is_no_dropout(networks: Networks) -> None:
    model = NetworkVAE(networks.frame, SMALL).fitted(networks)
    with torch.no_grad():
        torch.testing.assert_close(
            model.train().encode(networks).mean, model.eval().encode(networks).mean, atol=1e-5, rtol=1e-4
        )


def test_a_decoder_without_error_gives_the_network_back(networks: Networks) -> None:
    decoded = exact(networks)
    found = decoded.networks()
    assert structure_exact(found, networks).all()
    x = inputs_of(networks.frame)
    torch.testing.assert_close(found.run(x), networks.run(x), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(decoded.networks(soft=True).run(x), networks.run(x), atol=1e-4, rtol=1e-3)
    assert float(structure_loss(decoded, networks.tokens())) < 1e-6
    assert float(number_loss(decoded, networks.tokens())) < 1e-9
    assert float(output_loss(networks, decoded, x)) < 1e-4


def test_numbers_with_a_mask_of_one_are_those_that_outputs_depend_on(networks: Networks) -> None:
    frame = networks.frame
    tokens = networks.tokens().requires_grad_()
    found = Networks.from_tokens(frame, tokens).run(inputs_of(frame))
    (slope,) = torch.autograd.grad(found.square().sum(), tokens)
    unused = slope[..., number_places(frame)][number_mask(frame, tokens.detach()) == 0]
    assert unused.abs().max() == 0


def test_the_structure_learns_nothing_from_outputs_unless_it_is_soft() -> None:
    networks = random_structure(FRAMES["dense"], 6, seed=0)
    decoded = exact(networks, certain=0.5)
    decoded.structure.requires_grad_()
    decoded.numbers.requires_grad_()
    x = inputs_of(networks.frame)
    shifted = dataclasses.replace(decoded, numbers=decoded.numbers + 0.1)
    torch.autograd.backward(output_loss(networks, shifted, x))
    assert decoded.structure.grad is None
    assert decoded.numbers.grad is not None
    (grad,) = torch.autograd.grad(output_loss(networks, shifted, x, soft=True), decoded.structure)
    assert grad.abs().max() > 0


def test_losses_are_those_of_torch() -> None:
    networks = random_structure(FRAMES["dense"], 4, seed=1)
    frame, tokens = networks.frame, networks.tokens()
    scale, generator = number_scale(frame, tokens), torch.Generator().manual_seed(0)
    structure = torch.randn(*tokens.shape[:2], len(structure_places(frame)), generator=generator)
    numbers = torch.randn(*tokens.shape[:2], len(number_places(frame)), generator=generator)
    decoded = Decoded(frame, structure, numbers, scale)
    expected = F.cross_entropy(
        decoded.tokens()[..., frame.features["operator"]].log().flatten(0, 1),
        tokens[..., frame.features["operator"]].argmax(-1).flatten(),
    )
    for name in ("presence", "edges"):
        part = frame.features[name]
        expected = expected + F.binary_cross_entropy(decoded.tokens()[..., part], tokens[..., part])
    torch.testing.assert_close(structure_loss(decoded, tokens), expected)
    mask = number_mask(frame, tokens).bool()
    squared = (numbers - scale.standard(tokens, frame))[mask].square()
    torch.testing.assert_close(number_loss(decoded, tokens), squared.mean())
    sensitivity = torch.rand(tokens.shape[:2], generator=generator)
    weights = sensitivity[..., None].expand_as(mask)[mask]
    torch.testing.assert_close(
        number_loss(decoded, tokens, sensitivity), (squared * weights).sum() / weights.sum()
    )


def test_the_output_error_of_the_mean_is_one_whatever_the_scale() -> None:
    expected = torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [0.01, 1.0, 100.0]
    ).reshape(3, 1, 1)
    mean = expected.mean(1, keepdim=True).expand_as(expected)
    torch.testing.assert_close(relative_errors(mean, expected), torch.ones(3))


def test_scores_of_a_model_that_knows_nothing() -> None:
    networks = random_structure(FRAMES["dense"], 40, seed=2)
    model = NetworkVAE(networks.frame, SMALL).fitted(networks)
    found = scores(model, networks, inputs_of(networks.frame, 64))
    assert found.structure < 0.5
    assert found.output_error > 0.3
    assert 0 <= found.edges <= 1
    assert -1 <= found.cosine <= 1
    assert scores(model, networks, inputs_of(networks.frame, 64), batch=7).row() == found.row()


def test_meta_features_without_a_value_and_constant_ones_count_for_nothing() -> None:
    networks = random_structure(FRAMES["dense"], 10, seed=2)
    meta = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    meta[:, 1] = 7.0
    model = NetworkVAE(networks.frame, SMALL, condition=3).fitted(networks, meta)
    standard = model.standard_meta(meta, 10)
    assert standard is not None
    assert standard[:, 1].abs().max() == 0
    torch.testing.assert_close(standard[:, 0].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    known = model.encode(networks, meta).mean
    other = meta.clone()
    other[:, 1] = torch.nan
    torch.testing.assert_close(model.encode(networks, other).mean, known)
    other[:, 0] += 1
    assert not torch.allclose(model.encode(networks, other).mean, known)


def test_the_width_of_meta_features_is_checked() -> None:
    networks = random_structure(FRAMES["dense"], 4, seed=2)
    model = NetworkVAE(networks.frame, SMALL, condition=3).fitted(networks, torch.randn(4, 3))
    with pytest.raises(ValueError, match=r"meta-features are \(4, 2\), and are to be \(4, 3\)"):
        model.encode(networks, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="meta-features are none"):
        model.encode(networks)


def test_networks_of_another_frame_are_refused() -> None:
    model = NetworkVAE(FRAMES["dense"], SMALL)
    with pytest.raises(EditError, match=r"the model reads networks of Frame.*make a model of that frame"):
        model.encode(random_structure(FRAMES["residual"], 2, seed=0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent": 0}, "latent=0 is to be a whole number"),
        ({"latent": 4, "linear": 5}, "linear=5 is more than there are latent numbers, 4"),
        ({"dim": 10, "heads": 4}, "dim=10 is to be a multiple of heads=4"),
    ],
)
def test_sizes_that_do_not_go_together(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **wrong)


def test_weights_of_losses_are_checked() -> None:
    with pytest.raises(ValueError, match="outputs=-1 is to be a number of at least 0"):
        LossWeights(outputs=-1)
    assert LossWeights(outputs=2, ramp=0.5).of_outputs(0.25) == 1.0
    assert LossWeights(outputs=2, ramp=0).of_outputs(0.0) == 2.0


def test_the_linear_way_starts_as_principal_components() -> None:
    networks = random_structure(FRAMES["dense"], 60, seed=4)
    model = NetworkVAE(networks.frame, dataclasses.replace(SMALL, latent=4)).fitted(networks)
    numbers = model.scale.standard(networks.tokens(), networks.frame).flatten(1)
    written = model.linear_write(model.linear_read(numbers)).detach()
    left, values, right = torch.linalg.svd(numbers, full_matrices=False)
    best = left[:, :4] * values[:4] @ right[:4]
    torch.testing.assert_close(written, best, atol=1e-3, rtol=1e-3)


def test_chimeras_are_networks_of_structures_drawn_anew(networks: Networks) -> None:
    untrained = random_structure(networks.frame, 30, seed=9)
    scale = number_scale(networks.frame, networks.tokens())
    chimeras = Chimeras(networks, untrained, scale, share=0.5, crossed=1.0, noise=0.2)
    made = chimeras.batch(torch.arange(12), torch.Generator().manual_seed(0))
    assert made.valid().all()
    assert structure_exact(made[:6], networks[:6]).all()
    known = {each.tobytes() for each in untrained.edges.numpy()}
    assert all(each.tobytes() in known for each in made[6:].edges.numpy())
    again = chimeras.batch(torch.arange(12), torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.tokens(), again.tokens(), rtol=0, atol=0)
    plain = Chimeras(networks, None, scale, crossed=0.0, noise=0.0)
    same = plain.batch(torch.arange(12), torch.Generator().manual_seed(0))
    torch.testing.assert_close(same.tokens(), networks.tokens(), rtol=0, atol=0)


def test_latent_vectors_are_drawn_as_they_were_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(0, 40, (4000,), generator=generator)
    condition = torch.randn(40, 2, generator=generator)[data]
    slopes = torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 1.0]])
    means = 5 + condition @ slopes + 0.5 * torch.randn(4000, 3, generator=generator)
    prior = LatentPrior(3, 2).fit(means, torch.full((4000, 3), 0.01), condition)
    torch.testing.assert_close(prior.slopes, slopes, atol=0.3, rtol=0)
    drawn = prior.drawn(torch.randn(4000, 3, generator=generator), condition)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(means.T), atol=0.3, rtol=0.05)
    normal = torch.distributions.MultivariateNormal(
        prior.mean(condition[:5], 5).double(), scale_tril=prior.factor.double()
    )
    torch.testing.assert_close(
        prior.log_density(means[:5], condition[:5]).double(),
        normal.log_prob(means[:5].double()),  # type: ignore[no-untyped-call]
        atol=1e-3,
        rtol=1e-4,
    )
