"""Generators of weights: small networks from embeddings of kernels to the kernels themselves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from naivegraph.weights.hyper_plan import GeneratorPlan

__all__ = ["WeightGenerator"]


class WeightGenerator(nn.Module):
    """Makes several weights of blocks of one shape.

    Each block has an embedding, and so has each row, or output neuron, of a block, which all blocks share.
    The product of both goes through two linear layers, as in Ha, Dai and Le, "HyperNetworks" (2016, section
    3.1), which give the row; a factor for each weight makes its variance what it was.

    Args:
        plan: The sizes.
        weights: The weights as they are, by name.
        code: The numbers of a code of an example that embeddings may be shifted by, or 0.

    Attributes:
        network: From the products, `[..., z]`, to rows, `[..., numbers of a row]`.

    Example:
        >>> layers = {"a": nn.Linear(6, 4).weight, "b": nn.Linear(6, 8).weight}
        >>> plan = GeneratorPlan({"a": (4, 6), "b": (8, 6)}, (4, 6), z=3, hidden=5)
        >>> made = WeightGenerator(plan, layers)()
        >>> {name: tuple(each.shape) for name, each in made.items()}
        {'a': (4, 6), 'b': (8, 6)}
        >>> [round((made[name].std() / each.std()).item(), 4) for name, each in layers.items()]
        [1.0, 1.0]
    """

    scales: Tensor

    def __init__(self, plan: GeneratorPlan, weights: Mapping[str, Tensor], code: int = 0) -> None:
        super().__init__()
        like = next(iter(weights.values()))
        here: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.plan = plan
        counts = [math.prod(plan.counts(name)) for name in plan.shapes]
        ends = list(itertools.accumulate(counts))
        self._places = {
            name: slice(end - n, end) for name, n, end in zip(plan.shapes, counts, ends, strict=True)
        }
        self.embeddings = nn.Parameter(torch.randn(plan.blocks, plan.z, **here))
        self.rows = nn.Parameter(torch.randn(plan.block[0], plan.z, **here))
        self.network: nn.Module = nn.Sequential(
            nn.Linear(plan.z, plan.hidden, **here),
            nn.Linear(plan.hidden, plan.row, bias=False, **here),
        )
        self.spread = nn.Linear(code, plan.z, bias=False, **here) if code else None
        if self.spread is not None:
            nn.init.zeros_(self.spread.weight)
        self.register_buffer("scales", torch.ones(plan.blocks, **here))
        self.match(weights)

    @torch.no_grad()
    def match(self, weights: Mapping[str, Tensor]) -> None:
        """Give each weight the variance that one of these has."""
        self.scales.fill_(1.0)
        made = self()
        for name, place in self._places.items():
            self.scales[place] = weights[name].std(correction=0) / made[name].std(correction=0)

    def forward(self) -> dict[str, Tensor]:
        """Make all weights, by name."""
        blocks = self._blocks(self.embeddings, self.scales)
        return {name: self._joined(name, blocks[place]) for name, place in self._places.items()}

    def of_examples(self, name: str, codes: Tensor) -> Tensor:
        """Make a weight for each example, `[examples, *shape]`, from their codes, `[examples, code]`."""
        if self.spread is None:
            raise ValueError("this generator takes no codes of examples")
        place = self._places[name]
        embeddings = self.embeddings[place] + self.spread(codes)[:, None]
        return self._joined(name, self._blocks(embeddings, self.scales[place]))

    def _blocks(self, embeddings: Tensor, scales: Tensor) -> Tensor:
        """From embeddings, `[..., blocks, z]`, to blocks, `[..., blocks, rows, numbers of a row]`."""
        made: Tensor = self.network(embeddings.unsqueeze(-2) * self.rows)
        return made * scales[:, None, None]

    def _joined(self, name: str, blocks: Tensor) -> Tensor:
        """A weight of its blocks, row by row."""
        down, across = self.plan.counts(name)
        rows, columns, *rest = self.plan.block
        before, lead = blocks.shape[:-3], blocks.dim() - 3
        apart = blocks.reshape(*before, down, across, rows, columns, *rest)
        return apart.transpose(lead + 1, lead + 2).reshape(*before, *self.plan.shapes[name])
