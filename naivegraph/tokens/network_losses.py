"""The loss of an autoencoder of networks: of structure, numbers, outputs and the latent distribution."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from naivegraph.tokens.decoded import Decoded
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.token_numbers import number_mask
from naivegraph.tokens.vae import Posterior

__all__ = ["LossWeights", "Losses", "number_loss", "output_loss", "relative_errors", "structure_loss"]

_LEAST = 0.05  # added to the variance of outputs, so that networks that are all but constant do not rule


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the loss.

    Attributes:
        structure: Cross entropy of operators, presence, edges and skips.
        numbers: Squared error of standard numbers.
        outputs: Error of the outputs over their variance, as log(1 + error).
        latent: Kullback-Leibler divergence from a standard normal distribution, summed over latent numbers.
        ramp: The share of the steps over which the weight of outputs grows from 0; structure comes first.
        soft: Run decoded networks by their own shares of structure, not with the structure of the originals.
            Structure then learns from outputs, too, and suffers from it.
        by_sensitivity: Weigh numbers by the sensitivity of outputs to their neuron.
    """

    structure: float = 2.0
    numbers: float = 1.0
    outputs: float = 1.0
    latent: float = 1e-4
    ramp: float = 0.2
    soft: bool = False
    by_sensitivity: bool = False

    def __post_init__(self) -> None:
        for name in ("structure", "numbers", "outputs", "latent", "ramp"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name}={value!r} is to be a number of at least 0")

    def of_outputs(self, done: float) -> float:
        """The weight of outputs after this share of the steps."""
        return self.outputs * (min(1.0, done / self.ramp) if self.ramp else 1.0)


@dataclasses.dataclass(frozen=True)
class Losses:
    """The parts of a loss, each a tensor of no dimensions."""

    structure: Tensor
    numbers: Tensor
    outputs: Tensor
    latent: Tensor

    def total(self, weights: LossWeights, done: float) -> Tensor:
        """Their weighted sum after a share of the steps."""
        return (
            weights.structure * self.structure
            + weights.numbers * self.numbers
            + weights.of_outputs(done) * self.outputs
            + weights.latent * self.latent
        )

    @classmethod
    def of(
        cls,
        networks: Networks,
        decoded: Decoded,
        posterior: Posterior,
        inputs: Tensor,
        *,
        soft: bool = False,
        sensitivity: Tensor | None = None,
    ) -> Losses:
        """The losses of networks and what was decoded of them.

        Args:
            networks: The networks.
            decoded: As they were decoded.
            posterior: As they were encoded.
            inputs: What both are run on, `[b, inputs, ...]`.
            soft: See `LossWeights`.
            sensitivity: Weights of the neurons, `[n, tokens]`.
        """
        tokens = networks.tokens()
        mean, log_variance = posterior.mean, posterior.log_variance
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
        return cls(
            structure_loss(decoded, tokens),
            number_loss(decoded, tokens, sensitivity),
            output_loss(networks, decoded, inputs, soft=soft),
            divergence.mean(),
        )


def structure_loss(decoded: Decoded, tokens: Tensor) -> Tensor:
    """The cross entropy of structure, each kind of feature by its mean, added up.

    Args:
        decoded: The decoded networks.
        tokens: Those of the originals, `[n, tokens, features]`.
    """
    loss = decoded.numbers.new_zeros(())
    for name, part in decoded.frame.features.items():
        target = tokens[..., part]
        if name == "operator":
            loss = loss + F.cross_entropy(decoded.scores(name).flatten(0, 1), target.flatten(0, 1))
        elif name in ("presence", "edges", "skip"):
            loss = loss + F.binary_cross_entropy_with_logits(decoded.scores(name), target)
    return loss


def number_loss(decoded: Decoded, tokens: Tensor, sensitivity: Tensor | None = None) -> Tensor:
    """The mean squared error of the standard numbers that the originals have.

    Args:
        decoded: The decoded networks.
        tokens: Those of the originals, `[n, tokens, features]`.
        sensitivity: Weights of the neurons, `[n, tokens]`.
    """
    mask = number_mask(decoded.frame, tokens)
    target = decoded.scale.standard(tokens, decoded.frame)
    weight = mask if sensitivity is None else mask * sensitivity[..., None]
    return ((decoded.numbers - target).square() * weight).sum() / weight.sum().clamp_min(1e-9)


def output_loss(networks: Networks, decoded: Decoded, inputs: Tensor, *, soft: bool = False) -> Tensor:
    """The mean of log(1 + error over variance) of the decoded networks' outputs."""
    with torch.no_grad():
        expected = networks.run(inputs)
    run = decoded.networks(soft=True) if soft else decoded.with_structure_of(networks.tokens())
    return torch.log1p(relative_errors(run.run(inputs), expected, _LEAST)).mean()


def relative_errors(outputs: Tensor, expected: Tensor, least: float = 0.0) -> Tensor:
    """The squared error of each network's outputs over their variance, `[n]`.

    Args:
        outputs: `[n, b, outputs]`.
        expected: Those of the originals, the same shape.
        least: What is added to the variance.

    Example:
        >>> expected = torch.tensor([[[1.0], [3.0]]])
        >>> relative_errors(expected.mean(1, keepdim=True).expand_as(expected), expected).tolist()
        [1.0]
    """
    error = (outputs - expected).square().mean((1, 2))
    return error / (expected.var(1, unbiased=False).mean(1) + least)
