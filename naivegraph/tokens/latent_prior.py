"""The distribution that latent vectors are drawn of, given the meta-features of data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["LatentPrior"]

_RIDGE = 1.0


class LatentPrior(nn.Module):
    """A normal distribution whose mean is a linear function of meta-features.

    It is fitted to the latent vectors of the networks that were trained on, after training. As the
    divergence counts little in the loss, these are not spread as a standard normal distribution would have
    it, and what is drawn of that would say no networks (Dai and Wipf, "Diagnosing and enhancing VAE models",
    ICLR 2019, fit a second autoencoder there). The mean is a ridge regression, of one row for each data set.

    Args:
        latent: The numbers of a latent vector.
        condition: The meta-features.

    Example:
        >>> prior = LatentPrior(latent=2, condition=0)
        >>> _ = prior.fit(torch.tensor([[0.0, 1.0], [2.0, 5.0]]), torch.full((2, 2), 1e-6), None)
        >>> prior.mean(None, 1).tolist()
        [[1.0, 3.0]]
    """

    centre: Tensor
    slopes: Tensor
    factor: Tensor

    def __init__(self, latent: int, condition: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(latent))
        self.register_buffer("slopes", torch.zeros(condition, latent))
        self.register_buffer("factor", torch.eye(latent))

    def fit(self, means: Tensor, variances: Tensor, condition: Tensor | None) -> LatentPrior:
        """Fit it to posteriors.

        Args:
            means: `[n, latent]`.
            variances: `[n, latent]`.
            condition: Standard meta-features, `[n, condition]`, the same for all networks of a data set.
        """
        means, variances = means.double(), variances.double()
        centre = means.mean(0)
        left = means - centre
        if condition is not None:
            rows, member = torch.unique(condition.double(), dim=0, return_inverse=True)
            counts = torch.bincount(member).double()[:, None]
            by_data = torch.zeros(len(rows), means.shape[1], dtype=means.dtype).index_add(0, member, left)
            gram = rows.mT @ rows + _RIDGE * torch.eye(rows.shape[1], dtype=rows.dtype)
            slopes = torch.linalg.solve(gram, rows.mT @ (by_data / counts))
            left = left - condition.double() @ slopes
            self.slopes.copy_(slopes)
        covariance = left.mT @ left / max(len(means), 1) + torch.diag(variances.mean(0))
        self.centre.copy_(centre)
        self.factor.copy_(torch.linalg.cholesky(covariance))
        return self

    def mean(self, condition: Tensor | None, count: int) -> Tensor:
        """The means for standard meta-features `[count, condition]`, `[count, latent]`."""
        centre = self.centre.expand(count, -1)
        return centre if condition is None else centre + condition @ self.slopes

    def drawn(self, noise: Tensor, condition: Tensor | None) -> Tensor:
        """Latent vectors from standard normal noise, `[n, latent]`."""
        return self.mean(condition, len(noise)) + noise @ self.factor.mT

    def log_density(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """The logarithm of the density of latent vectors, `[n]`."""
        left = z - self.mean(condition, len(z))
        standard = torch.linalg.solve_triangular(self.factor, left.mT, upper=False)
        size = z.shape[1] * math.log(2 * math.pi) / 2 + self.factor.diagonal().log().sum()
        density: Tensor = -standard.square().sum(0) / 2 - size
        return density
