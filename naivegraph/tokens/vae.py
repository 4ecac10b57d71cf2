"""A variational autoencoder of networks: a transformer reads their tokens, another writes them.

Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014; conditioned as by Sohn, Lee and Yan,
"Learning structured output representation using deep conditional generative models", NeurIPS 2015.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import torch
from torch import Tensor, nn

from naivegraph.errors import EditError
from naivegraph.tokens.decoded import Decoded
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.latent_prior import LatentPrior
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.token_numbers import NumberScale, number_places, number_scale, structure_places

__all__ = ["NetworkVAE", "Posterior", "VAESize"]

_START = -4.0  # of the logarithm of variances, so that the first steps are not all noise
_SMALL = 0.1  # what layers beside the linear way start with, as a share of torch's


@dataclasses.dataclass(frozen=True)
class VAESize:
    """The sizes of a variational autoencoder of networks.

    Attributes:
        latent: The numbers of a latent vector.
        linear: Those of them that weights have a linear way to and from, which starts as their principal
            components; the others are left to structure and function.
        dim: The numbers of a token within the transformers.
        layers: The layers of each of both.
        heads: The heads of each.
        probes: The inputs that the encoder is told a network's outputs of.
        side: Their height and width, where they are images.
    """

    latent: int = 128
    linear: int = 96
    dim: int = 64
    layers: int = 1
    heads: int = 4
    probes: int = 48
    side: int = 6

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or value < (0 if name == "linear" else 1):
                raise ValueError(f"{name}={value!r} is to be a whole number of at least 1")
        if self.linear > self.latent:
            raise ValueError(f"linear={self.linear} is more than there are latent numbers, {self.latent}")
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} is to be a multiple of heads={self.heads}")


@dataclasses.dataclass(frozen=True)
class Posterior:
    """The normal distributions of the latent vectors of networks.

    Attributes:
        mean: `[n, latent]`.
        log_variance: `[n, latent]`.
    """

    mean: Tensor
    log_variance: Tensor

    def drawn(self, noise: Tensor) -> Tensor:
        """Latent vectors, from standard normal noise `[n, latent]`."""
        return self.mean + noise * (self.log_variance / 2).exp()


class NetworkVAE(nn.Module):
    """Reads networks of a frame into latent vectors, and writes networks from these.

    Encoder: each token, at its place, and the network's outputs of the probe inputs, then a transformer; an
    embedding; with the meta-features of the data, the mean and variance of the latent vector. Decoder: the
    latent vector and the meta-features as tokens at their places, a transformer, then heads for structure and
    for numbers. Numbers also go a linear way, which starts as their principal components. No dropout, and no
    norm over the batch: a network's embedding does not depend on the others of its batch.

    Args:
        frame: The frame.
        size: The sizes.
        condition: The number of meta-features; 0 if there are none.

    Example:
        >>> frame = Frame("dense", inputs=2, outputs=1, depth=1, width=3)
        >>> networks = Networks.empty(frame, 5)
        >>> model = NetworkVAE(frame, VAESize(latent=4, linear=2, dim=8, probes=6)).fitted(networks)
        >>> z = model.encode(networks).mean
        >>> z.shape, model.decode(z).tokens().shape == networks.tokens().shape
        (torch.Size([5, 4]), True)
    """

    scale_centre: Tensor
    scale_spread: Tensor
    probes: Tensor
    output_centre: Tensor
    output_spread: Tensor
    condition_centre: Tensor
    condition_spread: Tensor

    def __init__(self, frame: Frame, size: VAESize | None = None, condition: int = 0) -> None:
        super().__init__()
        self.frame, self.size, self.condition = frame, size or VAESize(), condition
        dim, latent, tokens = self.size.dim, self.size.latent, len(frame.places)
        numbers, outputs = len(number_places(frame)), self.size.probes * frame.outputs
        image = (self.size.side,) * 2 if frame.images else ()
        for name, shape in (
            ("scale_centre", (tokens, numbers)),
            ("probes", (self.size.probes, frame.inputs, *image)),
            ("output_centre", (outputs,)),
            ("condition_centre", (condition,)),
        ):
            self.register_buffer(name, torch.zeros(shape))
        for name, shape in (
            ("scale_spread", (tokens, numbers)),
            ("output_spread", ()),
            ("condition_spread", (condition,)),
        ):
            self.register_buffer(name, torch.ones(shape))
        self.read = nn.Linear(frame.size, dim)
        self.read_place = _places(tokens, dim)
        self.read_outputs = nn.Linear(outputs, dim)
        self.encoder = _transformer(self.size)
        self.embedding = nn.Linear(tokens * dim, 2 * latent)
        self.embedding_of_outputs = nn.Sequential(
            nn.Linear(outputs, 2 * latent), nn.GELU(), nn.Linear(2 * latent, 2 * latent)
        )
        self.posterior = nn.Linear(2 * latent + condition, 2 * latent)
        self.write_place = _places(tokens, dim)
        self.write = nn.Linear(latent + condition, tokens * dim)
        self.decoder = _transformer(self.size)
        self.structure_head = nn.Linear(dim, len(structure_places(frame)))
        self.number_head = nn.Linear(dim, numbers)
        self.linear_read = nn.Linear(tokens * numbers, self.size.linear, bias=False)
        self.linear_write = nn.Linear(self.size.linear, tokens * numbers, bias=False)
        self.prior = LatentPrior(latent, condition)
        with torch.no_grad():
            for layer in (self.number_head, self.embedding, self.posterior):
                layer.weight.mul_(_SMALL)

    def fitted(
        self,
        networks: Networks,
        meta: Tensor | None = None,
        *,
        inputs: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Measure on networks what the model takes as given; that is no training.

        These are the spread of weights, outputs and meta-features, the probe inputs, and the principal
        components of weights.

        Args:
            networks: Those to train on.
            meta: The meta-features of their data, `[n, condition]`; NaN where there is none.
            inputs: What probe inputs are drawn of, `[b, inputs, ...]`; normal numbers if None.
            generator: Draws the probe inputs.

        Raises:
            ValueError: There are no networks, or inputs or meta-features are of another shape.
        """
        if not len(networks):
            raise ValueError("there are no networks to measure weights on")
        if inputs is None:
            self.probes.copy_(torch.randn(self.probes.shape, generator=generator))
        elif inputs.shape[1:] != self.probes.shape[1:] or not len(inputs):
            raise ValueError(
                f"inputs are {tuple(inputs.shape)}, and each is to be {tuple(self.probes.shape[1:])}"
            )
        else:
            self.probes.copy_(inputs[torch.randint(len(inputs), (self.size.probes,), generator=generator)])
        with torch.no_grad():
            tokens = networks.tokens()
            scale = number_scale(self.frame, tokens)
            self.scale_centre.copy_(scale.centre)
            self.scale_spread.copy_(scale.spread)
            outputs = networks.run(self.probes).flatten(1)
            self.output_centre.copy_(outputs.mean(0))
            self.output_spread.copy_(outputs.std(unbiased=False).clamp_min(1e-6))
            if self.condition:
                self._fit_condition(self._checked(meta, len(networks)))
            self._fit_components(scale.standard(tokens, self.frame).flatten(1))
        return self

    def embed(self, networks: Networks) -> Tensor:
        """The embeddings of networks, which know nothing of meta-features, `[n, 2 latent]`."""
        tokens = networks.tokens()
        outputs = (networks.run(self.probes).flatten(1) - self.output_centre) / self.output_spread
        structure = tokens[..., structure_places(self.frame)]
        numbers = self.scale.standard(tokens, self.frame)
        h = self.read(torch.cat([structure, numbers], -1)) + self.read_place
        h = self.encoder(h + self.read_outputs(outputs)[:, None])
        found: Tensor = self.embedding(h.flatten(1)) + self.embedding_of_outputs(outputs)
        linear = self.linear_read(numbers.flatten(1))
        return found + torch.nn.functional.pad(linear, (0, found.shape[1] - self.size.linear))

    def encode(self, networks: Networks, meta: Tensor | None = None) -> Posterior:
        """The distributions of the latent vectors of networks.

        Args:
            networks: n networks of the frame.
            meta: `[n, condition]`, NaN where there is none.

        Raises:
            EditError: They are of another frame.
            ValueError: The meta-features are of another shape.
        """
        if networks.frame != self.frame:
            raise EditError(
                f"the model reads networks of {self.frame}, and these are of {networks.frame}: make a model "
                "of that frame"
            )
        embedding = self.embed(networks)
        given = torch.cat([embedding, *self._given(meta, len(networks))], 1)
        mean, log_variance = self.posterior(given).chunk(2, 1)
        return Posterior(mean + embedding[:, : self.size.latent], log_variance + _START)

    def decode(self, z: Tensor, meta: Tensor | None = None) -> Decoded:
        """Networks that the latent vectors `[n, latent]` say, for data of these meta-features."""
        tokens = len(self.frame.places)
        h = self.write(torch.cat([z, *self._given(meta, len(z))], 1)).unflatten(1, (tokens, -1))
        h = self.decoder(h + self.write_place)
        numbers = self.number_head(h)
        numbers = numbers + self.linear_write(z[:, : self.size.linear]).unflatten(1, (tokens, -1))
        return Decoded(self.frame, self.structure_head(h), numbers, self.scale)

    def fit_prior(self, networks: Networks, meta: Tensor | None = None, *, batch: int = 256) -> None:
        """Fit the distribution that latent vectors are drawn of to networks; see `LatentPrior`."""
        with torch.no_grad():
            found = [
                self.encode(networks[rows], None if meta is None else meta[rows])
                for rows in torch.split(torch.arange(len(networks)), batch)
            ]
        self.prior.fit(
            torch.cat([each.mean for each in found]),
            torch.cat([each.log_variance.exp() for each in found]),
            self.standard_meta(meta, len(networks)),
        )

    def draw(self, noise: Tensor, meta: Tensor | None = None) -> Decoded:
        """Networks that standard normal noise says, `[n, latent]`, for data of these meta-features."""
        return self.decode(self.prior.drawn(noise, self.standard_meta(meta, len(noise))), meta)

    @property
    def scale(self) -> NumberScale:
        """The spread of numbers."""
        return NumberScale(self.scale_centre, self.scale_spread)

    def standard_meta(self, meta: Tensor | None, count: int) -> Tensor | None:
        """The meta-features as the model takes them, 0 where there is none; None if it takes none.

        Raises:
            ValueError: They are of another shape than `[count, condition]`.
        """
        if not self.condition:
            return None
        standard = (self._checked(meta, count) - self.condition_centre) / self.condition_spread
        return standard.nan_to_num(0.0).clamp(-5.0, 5.0)

    def _given(self, meta: Tensor | None, count: int) -> list[Tensor]:
        """The numbers given beside a vector."""
        standard = self.standard_meta(meta, count)
        return [] if standard is None else [standard]

    def _checked(self, meta: Tensor | None, count: int) -> Tensor:
        """Meta-features of the right shape."""
        if meta is None or tuple(meta.shape) != (count, self.condition):
            told = "none" if meta is None else tuple(meta.shape)
            raise ValueError(f"meta-features are {told}, and are to be {(count, self.condition)}")
        return meta.to(self.condition_centre)

    def _fit_condition(self, meta: Tensor) -> None:
        """Measure the spread of the meta-features; one that is constant says nothing, and becomes 0."""
        known = meta.isfinite()
        count = known.sum(0).clamp_min(1)
        filled = torch.where(known, meta, 0.0)
        centre = filled.sum(0) / count
        spread = ((filled - centre).square() * known).sum(0).div(count).sqrt()
        self.condition_centre.copy_(centre)
        self.condition_spread.copy_(torch.where(spread > 1e-9, spread, torch.inf))

    def _fit_components(self, numbers: Tensor) -> None:
        """Start the linear way as the principal components of the numbers, with deviation 1."""
        count = min(self.size.linear, *numbers.shape)
        _, values, rows = torch.linalg.svd(numbers, full_matrices=False)
        deviations = (values[:count] / len(numbers) ** 0.5).clamp_min(1e-3)
        self.linear_read.weight.zero_()
        self.linear_write.weight.zero_()
        self.linear_read.weight[:count] = rows[:count] / deviations[:, None]
        self.linear_write.weight[:, :count] = (rows[:count] * deviations[:, None]).mT


def _places(tokens: int, dim: int) -> nn.Parameter:
    """Numbers learned of each place."""
    return nn.Parameter(torch.randn(tokens, dim) * _SMALL)


def _transformer(size: VAESize) -> nn.TransformerEncoder:
    """Layers of attention among tokens, with norms in front, and without dropout."""
    layer = nn.TransformerEncoderLayer(
        size.dim, size.heads, 2 * size.dim, 0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, size.layers, enable_nested_tensor=False)
