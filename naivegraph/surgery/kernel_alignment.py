"""Centred kernel alignment, from batches: estimators of the Hilbert-Schmidt independence criterion (HSIC)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from naivegraph.errors import EditError

__all__ = ["ESTIMATORS", "EstimatorName", "KernelAlignment"]

EstimatorName = Literal["gretton", "song", "lange"]

LEAST = 4  # samples in a batch, below which the estimators without bias are not defined
_ROUNDING = 1e-12  # of a Gram matrix: what is left of a layer that gives the same for all samples


def _centred(gram: torch.Tensor) -> torch.Tensor:
    """Gram matrices with rows and columns of mean zero."""
    rows = gram.mean(-1, keepdim=True)
    return gram - rows - rows.transpose(-1, -2) + rows.mean(-2, keepdim=True)


def _without_diagonal(gram: torch.Tensor) -> torch.Tensor:
    return gram - torch.diag_embed(gram.diagonal(dim1=-1, dim2=-2))


def _gretton(gram: torch.Tensor) -> torch.Tensor:
    """Divide centred matrices: the usual estimator, with a bias that small batches make large.

    Gretton, Bousquet, Smola and Schölkopf, "Measuring statistical dependence with Hilbert-Schmidt norms", ALT
    2005, definition 2.
    """
    return _centred(gram) / (gram.shape[-1] - 1)


def _song(gram: torch.Tensor) -> torch.Tensor:
    """Centre without the diagonal: the estimator without bias.

    Song, Smola, Gretton, Borgwardt and Bedo, "Supervised feature selection via dependence estimation", ICML
    2007, equation 5; as the product of U-centred matrices: Székely and Rizzo, "Partial distance correlation
    with methods for dissimilarities", Annals of Statistics 42, 2014, section 3.
    """
    count = gram.shape[-1]
    off = _without_diagonal(gram)
    rows = off.sum(-1, keepdim=True) / (count - 2)
    whole = off.sum((-1, -2), keepdim=True) / ((count - 1) * (count - 2))
    scale = math.sqrt(count * (count - 3))
    return _without_diagonal(off - rows - rows.transpose(-1, -2) + whole) / scale


def _lange(gram: torch.Tensor) -> torch.Tensor:
    """Centre, then leave the diagonal out.

    Lange, Kwok, Matelsky, Wang, Rolnick and Kording, "Neural networks as paths through the space of
    representations", 2022.
    """
    count = gram.shape[-1]
    return _without_diagonal(_centred(gram)) / math.sqrt(count * (count - 3))


# Of Gram matrices `[layers, samples, samples]`, matrices whose products, summed, are the HSIC of two layers.
ESTIMATORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gretton": _gretton,
    "song": _song,
    "lange": _lange,
}


class KernelAlignment:
    """Linear centred kernel alignment of every layer of one network with every layer of another.

    The HSIC of batches is averaged, and their ratio is taken in the end: Nguyen, Raghu and Kornblith, "Do
    wide and deep networks learn the same things?", ICLR 2021, section 3; batches count by their samples.

    Args:
        estimator: The estimator of the HSIC.
    """

    def __init__(self, estimator: str = "song") -> None:
        self._estimate = ESTIMATORS[estimator]
        self._between = self._one = self._other = torch.zeros(())
        self.samples = 0

    def add(self, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> None:
        """Add a batch.

        Args:
            first: What the layers of the first network gave, samples first.
            second: What those of the second gave.
        """
        count = len(first[0])
        if count < LEAST:
            return
        one, other = self._matrices(first), self._matrices(second)
        self._between = self._between + count * (one @ other.T)
        self._one = self._one + count * one.square().sum(1)
        self._other = self._other + count * other.square().sum(1)
        self.samples += count

    def _matrices(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Matrices of which products are taken, `[layers, samples * samples]`."""
        grams = torch.stack([_gram(value) for value in values])
        found = self._estimate(grams).flatten(1)
        size = grams.flatten(1).norm(dim=1, keepdim=True) / grams.shape[-1]
        return torch.where(found.norm(dim=1, keepdim=True) > _ROUNDING * size, found, 0.0)

    def values(self) -> torch.Tensor:
        """The alignment, `[layers of the first, layers of the second]`; 0 where one does not vary.

        Raises:
            EditError: No batch was large enough.
        """
        if not self.samples:
            raise EditError(f"data= gave no batch of {LEAST} samples or more, which an estimate needs")
        scale = torch.outer(self._one, self._other).sqrt()
        return torch.where(scale > 0, self._between / scale.clamp_min(torch.finfo(scale.dtype).tiny), 0.0)


def _gram(value: torch.Tensor) -> torch.Tensor:
    rows = value.detach().flatten(1).double()
    return rows @ rows.T
