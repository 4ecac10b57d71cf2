"""Layers whose weights are made anew for each example, of what the layer is given (Ha, Dai and Le 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_unflatten

from naivegraph.errors import EditError
from naivegraph.weights.batched_operators import batched_operators
from naivegraph.weights.generator import WeightGenerator

__all__ = ["ExampleWeights"]


class ExampleWeights(nn.Module):
    """A layer in whose place each example meets weights of its own.

    At each call it reads the tensors that the layer is given, hidden states of a recurrent cell among them:
    their numbers by feature, averaged over all other axes but the batch, become a code, and the code shifts
    the embeddings that the weights are made from. At the start that shift is zero. A recurrent layer reads a
    sequence in one call and has the same weights all through it; those of a cell are new at each time step.

    Args:
        path: The layer's path, for messages.
        layer: The layer, without the weights that are made.
        dims: The axis of the features of each tensor that it is given.
        features: The number of features of all of them.
        code: The numbers of a code.
        made: The generator of each weight, and the name that it has there, by the layer's name for it.
        like: A tensor of the type that the weights have.

    Attributes:
        layer: The layer.
        kept: Where a list, the weights of each call are put into it.
    """

    def __init__(
        self,
        path: str,
        layer: nn.Module,
        dims: tuple[int, ...],
        features: int,
        code: int,
        made: Mapping[str, tuple[WeightGenerator, str]],
        like: Tensor,
    ) -> None:
        super().__init__()
        self.layer, self._path, self._dims, self._features = layer, path, dims, features
        self.reads = nn.Linear(features, code, dtype=like.dtype, device=like.device)
        self._made = dict(made)  # a plain dict: the generators are parts of the hypernetwork, not of this
        self.kept: list[dict[str, Tensor]] | None = None

    def __getattr__(self, name: str) -> Any:
        """Give what the layer has, such as its sizes, to code that asks for it."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with weights for each example."""
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        axes = [_batch_axis(self.layer, number) for number in range(len(given))]
        code = torch.tanh(self.reads(self._features_of(given, axes)))
        weights = {name: maker.of_examples(known, code) for name, (maker, known) in self._made.items()}
        if self.kept is not None:
            self.kept.append(weights)
        others = [each for each in tree_leaves((args, kwargs)) if not isinstance(each, Tensor)]
        forms: list[TreeSpec] = []

        def one(own: dict[str, Tensor], tensors: list[Tensor]) -> list[Any]:
            """Call the layer for one example, as a batch of one."""
            alone = [each.unsqueeze(axis) for each, axis in zip(tensors, axes, strict=True)]
            tensor, other = iter(alone), iter(others)
            a, k = tree_map(
                lambda leaf: next(tensor) if isinstance(leaf, Tensor) else next(other), (args, kwargs)
            )
            leaves, form = tree_flatten(functional_call(self.layer, own, a, k))
            forms.append(form)
            return [leaf.squeeze(_batch_axis(self.layer, number)) for number, leaf in enumerate(leaves)]

        try:
            with batched_operators():
                found = vmap(one, randomness="different")(
                    weights, [each.movedim(axis, 0) for each, axis in zip(given, axes, strict=True)]
                )
        except (RuntimeError, ValueError) as error:
            raise EditError(
                f"{self._path!r} cannot be called with weights for each example: {error}; leave it out of "
                'layers=, or take kind="static"'
            ) from error
        leaves = [each.movedim(0, _batch_axis(self.layer, number)) for number, each in enumerate(found)]
        return tree_unflatten(leaves, forms[0])

    def _features_of(self, given: list[Tensor], axes: list[int]) -> Tensor:
        """The average features of each example, `[examples, features]`."""
        found = []
        for tensor, dim, axis in zip(given, self._dims, axes, strict=False):
            last = tensor.movedim((axis, dim), (0, -1))
            found.append(last.reshape(len(last), -1, last.shape[-1]).mean(1))
        width = sum(each.shape[1] for each in found)
        if len(given) != len(self._dims) or width != self._features:
            raise EditError(
                f"{self._path!r} reads {self._features} features of {len(self._dims)} tensors, and was given "
                f"{width} of {len(given)}: give each call as many, a hidden state of zeros the first"
            )
        return torch.cat(found, 1)


def _batch_axis(layer: nn.Module, number: int) -> int:
    """The axis of the examples in a tensor that a layer is given, or gives, by the tensor's number.

    Recurrent layers have it second in their states, and in sequences, which come first, as they were told.
    """
    if not isinstance(layer, nn.RNNBase):
        return 0
    return 0 if number == 0 and layer.batch_first else 1
