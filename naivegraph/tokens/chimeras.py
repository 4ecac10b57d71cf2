"""Networks to train on without end: structures that were drawn anew, with the weights of trained networks."""

from __future__ import annotations

import torch
from torch import Tensor

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.token_numbers import NumberScale, number_mask, number_places

__all__ = ["Chimeras"]


class Chimeras:
    """Makes batches of trained networks and of chimeras, which keep an autoencoder from learning by heart.

    A trained network's neurons may get the weights of another's at their place, and noise; a chimera has the
    structure of a network that was never trained, the weights that a trained network has there, and normal
    numbers of the same spread elsewhere. Its outputs are its own, so it is as good an example of how weights
    make outputs as any.

    Args:
        trained: Trained networks, in canonical order.
        untrained: Networks of structures as they are made, in canonical order; there can be none.
        scale: How numbers spread.
        share: The share of chimeras in a batch.
        crossed: The probability that a network gets neurons of another.
        noise: The most noise, in standard deviations.
    """

    def __init__(
        self,
        trained: Networks,
        untrained: Networks | None,
        scale: NumberScale,
        *,
        share: float = 0.5,
        crossed: float = 0.5,
        noise: float = 0.3,
    ) -> None:
        self._frame, self._scale = trained.frame, scale
        self._trained = trained.tokens()
        self._untrained = None if untrained is None or not len(untrained) else untrained.tokens()
        self._share, self._crossed, self._noise = share, crossed, noise

    def batch(self, which: Tensor, generator: torch.Generator) -> Networks:
        """Networks made of these trained ones, `[n]` their numbers; the last of them as chimeras."""
        frame, tokens = self._frame, self._trained[which]
        partners = self._trained[which[torch.randperm(len(which), generator=generator)]]
        given = _crossed(frame, tokens, partners, self._crossed, generator)
        if self._noise:
            size = self._noise * torch.rand(len(which), 1, 1, generator=generator)
            noise = torch.randn(given[..., number_places(frame)].shape, generator=generator)
            given[..., number_places(frame)] += size * noise * self._scale.spread * number_mask(frame, tokens)
        count = self.count(len(which))
        if self._untrained is not None and count:
            rows = torch.randint(len(self._untrained), (count,), generator=generator)
            given[-count:] = self._with_structure(self._untrained[rows], given[-count:], generator)
        return Networks.from_tokens(frame, given)

    def count(self, batch: int) -> int:
        """The number of chimeras in a batch of a size."""
        return 0 if self._untrained is None else int(batch * self._share)

    def _with_structure(self, structure: Tensor, weights: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens with the structure of some, and the numbers of others where these have them."""
        places = number_places(self._frame)
        drawn = torch.randn(structure[..., places].shape, generator=generator)
        known = number_mask(self._frame, weights) > 0
        numbers = torch.where(known, weights[..., places], self._scale.restored(drawn))
        found = structure.clone()
        found[..., places] = numbers * number_mask(self._frame, structure)
        return found


def _crossed(
    frame: Frame, tokens: Tensor, partners: Tensor, probability: float, generator: torch.Generator
) -> Tensor:
    """Tokens, of which some have the numbers of their partner where both have them."""
    count, places, _ = tokens.shape
    rate = 0.5 * torch.rand(count, 1, 1, generator=generator)
    rate = rate * (torch.rand(count, 1, 1, generator=generator) < probability)
    taken = torch.rand(count, places, 1, generator=generator) < rate
    both = number_mask(frame, tokens) * number_mask(frame, partners) > 0
    found, numbers = tokens.clone(), number_places(frame)
    found[..., numbers] = torch.where(taken & both, partners[..., numbers], tokens[..., numbers])
    return found
