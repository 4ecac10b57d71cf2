"""Networks drawn from a trained autoencoder, for data of given meta-features if wished."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from naivegraph.tokens.meta_features import meta_features
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.repair import repair
from naivegraph.tokens.vae import NetworkVAE

__all__ = ["Sampled", "sample"]


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Networks that were drawn.

    Attributes:
        networks: The networks, all of them valid.
        valid_before: Which of them were valid without repair, `[n]` bool.
    """

    networks: Networks
    valid_before: Tensor


def sample(
    model: NetworkVAE,
    count: int = 1,
    *,
    like: tuple[Tensor, Tensor] | None = None,
    meta: Tensor | None = None,
    seed: int = 0,
    temperature: float = 1.0,
) -> Sampled:
    """Draw networks: latent vectors of a normal distribution, decoded, each repaired to the nearest one.

    Args:
        model: A trained model.
        count: The number of networks.
        like: Data, inputs `[samples, inputs]` and targets, whose meta-features the networks are to be for.
        meta: These meta-features themselves, `[condition]`, NaN where there is none. A model that takes some
            is told of average data if there is neither.
        seed: The seed.
        temperature: What deviations are multiplied by; 0 gives the most likely network.

    Raises:
        ValueError: A number is out of range, both `like` and `meta` are given, or the model takes none.

    Example:
        >>> from naivegraph.tokens.frame import Frame
        >>> from naivegraph.tokens.vae import VAESize
        >>> model = NetworkVAE(Frame("dense", 2, 1, depth=2, width=3), VAESize(latent=4, linear=2, dim=8))
        >>> drawn = sample(model, 5, seed=1)
        >>> len(drawn.networks), bool(drawn.networks.valid().all())
        (5, True)
    """
    if count < 1 or not 0 <= temperature < float("inf"):
        raise ValueError(f"count={count} is to be at least 1, and temperature={temperature} at least 0")
    told = _told(model, like, meta)
    if told is not None:
        told = told.expand(count, -1)
    noise = torch.randn(count, model.size.latent, generator=torch.Generator().manual_seed(seed))
    model.eval()
    with torch.no_grad():
        decoded = model.draw(temperature * noise, told)
        return Sampled(repair(model.frame, decoded.tokens()), decoded.networks().valid())


def _told(model: NetworkVAE, like: tuple[Tensor, Tensor] | None, meta: Tensor | None) -> Tensor | None:
    """The meta-features that are asked for."""
    if like is not None and meta is not None:
        raise ValueError("give like= or meta=, not both")
    if not model.condition:
        if like is not None or meta is not None:
            raise ValueError(
                "the model takes no meta-features: train it with meta=, or leave out what is asked"
            )
        return None
    if like is not None:
        shape, frame = tuple(like[0].shape[1:]), model.frame
        if len(shape) != (3 if frame.images else 1) or shape[0] != frame.inputs:
            raise ValueError(
                f"the data's inputs are {shape}, and the networks of this model take {frame.inputs} "
                f"{'channels of images' if frame.images else 'numbers'}"
            )
        meta = meta_features(*like)
    if meta is None:
        meta = torch.full((model.condition,), torch.nan)
    if tuple(meta.shape) != (model.condition,):
        raise ValueError(
            f"meta-features are {tuple(meta.shape)}, and the model takes {model.condition}: take those it "
            "was trained with"
        )
    return meta
