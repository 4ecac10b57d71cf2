"""Output of a decoder: scores of structure, and numbers."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.token_numbers import NumberScale, number_places, structure_places

__all__ = ["Decoded"]

_OF_LAYERS = ("operator", "skip")


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Networks as a decoder writes them.

    Attributes:
        frame: The frame.
        structure: Scores of the structure's features, `[n, tokens, features]`; shares after a softmax over
            operators and a sigmoid elsewhere.
        numbers: Standard numbers, `[n, tokens, numbers]`.
        scale: How numbers spread.
    """

    frame: Frame
    structure: Tensor
    numbers: Tensor
    scale: NumberScale

    def scores(self, name: str) -> Tensor:
        """The scores of a feature, `[n, tokens, features]`; those of a layer are the mean over its tokens."""
        places = structure_places(self.frame)
        part = self.frame.features[name]
        found = self.structure[..., (places >= part.start) & (places < part.stop)]
        if name not in _OF_LAYERS:
            return found
        layers = self.frame.places[:, 0]
        member = torch.nn.functional.one_hot(layers).to(found)
        means = torch.einsum("nts,tl->nls", found, member / member.sum(0))
        return means[:, layers]

    def tokens(self) -> Tensor:
        """The tokens, `[n, tokens, features]`, with shares as structure, for `Networks.from_tokens`."""
        found = self.numbers.new_zeros(*self.structure.shape[:2], self.frame.size)
        for name, part in self.frame.features.items():
            if name == "operator":
                found[..., part] = self.scores(name).softmax(-1)
            elif name in ("presence", "skip", "edges"):
                found[..., part] = self.scores(name).sigmoid()
        found[..., number_places(self.frame)] = self.scale.restored(self.numbers)
        return found

    def networks(self, *, soft: bool = False) -> Networks:
        """The networks, which need not be valid; `soft` as in `Networks.from_tokens`."""
        return Networks.from_tokens(self.frame, self.tokens(), soft=soft)

    def with_structure_of(self, tokens: Tensor) -> Networks:
        """Networks with the numbers decoded, and the structure of tokens `[n, tokens, features]`."""
        places = number_places(self.frame)
        found = tokens.clone()
        found[..., places] = self.scale.restored(self.numbers)
        return Networks.from_tokens(self.frame, found)
