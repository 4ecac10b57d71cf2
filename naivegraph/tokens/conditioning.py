"""A test that the meta-features of data matter to an autoencoder of networks."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from naivegraph.tokens.metrics import scores
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.vae import NetworkVAE

__all__ = ["Conditioning", "conditioning"]


@dataclasses.dataclass(frozen=True)
class Conditioning:
    """Networks as they look to a model with the meta-features of their data, and with those of other data.

    Attributes:
        log_density: The mean logarithm of the density of the latent vectors, given the right meta-features.
        log_density_shuffled: The same with those of other data.
        output_error: The output error, given the right ones; see `Scores`.
        output_error_shuffled: The same with those of other data.
    """

    log_density: float
    log_density_shuffled: float
    output_error: float
    output_error_shuffled: float

    @property
    def matters(self) -> bool:
        """True if networks are likelier with the meta-features of their own data."""
        return self.log_density > self.log_density_shuffled

    def row(self) -> dict[str, float]:
        """The figures by name, rounded."""
        return {name: round(value, 3) for name, value in vars(self).items()}


def conditioning(
    model: NetworkVAE, networks: Networks, meta: Tensor, inputs: Tensor, *, seed: int = 0
) -> Conditioning:
    """Compare networks with the meta-features of their data, and with those of the data of others.

    Args:
        model: A model that takes meta-features.
        networks: Networks that it has not seen.
        meta: The meta-features of their data, `[n, condition]`.
        inputs: What networks are run on.
        seed: The seed of the shuffling.

    Raises:
        ValueError: The model takes none, or all networks are of data with the same.
    """
    if not model.condition:
        raise ValueError("the model takes no meta-features: train it with meta=")
    other = _shuffled(meta, seed)
    with torch.no_grad():
        z = model.encode(networks, meta).mean
        densities = [
            float(model.prior.log_density(z, model.standard_meta(each, len(z))).mean())
            for each in (meta, other)
        ]
    errors = [scores(model, networks, inputs, meta, told=each).output_error for each in (meta, other)]
    return Conditioning(*densities, *errors)


def _shuffled(meta: Tensor, seed: int) -> Tensor:
    """For each network the meta-features of other data."""
    rows, member = torch.unique(meta.nan_to_num(0.0), dim=0, return_inverse=True)
    count = len(rows)
    if count < 2:
        raise ValueError("all networks are of data with the same meta-features: there is nothing to shuffle")
    first = torch.stack([(member == number).nonzero()[0, 0] for number in range(count)])
    away = torch.randint(1, count, (len(meta),), generator=torch.Generator().manual_seed(seed))
    return meta[first[(member + away) % count]]
