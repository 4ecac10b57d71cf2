"""Splits of numbered examples, which may be weights as well as data."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import torch
from torch import Tensor

from naivegraph.edits.request.validate import whole
from naivegraph.errors import EditError

__all__ = ["Split"]

_Kind = Literal["none", "holdout", "k-fold"]


@dataclasses.dataclass(frozen=True)
class Split:
    """A way to share examples out between training and validation.

    Attributes:
        kind: "none": all are trained on and validated on, as for weights that are all to be predicted.
            "holdout": a share is kept for validation. "k-fold": one of several equal parts is.
        share: The share that "holdout" keeps.
        folds: The parts of "k-fold".
        fold: The number of the part kept, from 0 on.
        shuffle: Whether the examples are put in a random order before; if not, the last ones are held out.
        seed: The seed of that order.
    """

    kind: _Kind = "none"
    share: float = 0.2
    folds: int = 5
    fold: int = 0
    shuffle: bool = True
    seed: int = 0

    def of(self, count: int) -> tuple[Tensor, Tensor]:
        """The numbers of the examples for training, and of those for validation.

        Raises:
            EditError: One of both would be empty, or there is no such part.

        Example:
            >>> train, held = Split("k-fold", folds=3, fold=2, shuffle=False).of(7)
            >>> train.tolist(), held.tolist()
            ([0, 1, 2, 3, 4], [5, 6])
        """
        order = torch.arange(whole(count, "count", 1))
        if self.kind not in get_args(_Kind):
            raise EditError(f"split.kind is {self.kind!r}: say {', '.join(map(repr, get_args(_Kind)))}")
        if self.kind == "none":
            return order, order
        if self.shuffle:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        if self.kind == "holdout":
            if not 0 < self.share < 1:
                raise EditError(f"split.share is {self.share}: give a share between 0 and 1")
            first, last = count - round(self.share * count), count
        else:
            whole(self.folds, "split.folds", 2)
            whole(self.fold, "split.fold", 0)
            if self.fold >= self.folds:
                raise EditError(
                    f"there is no part {self.fold} of {self.folds}: parts count from 0, two at least"
                )
            sizes = [count // self.folds + (part < count % self.folds) for part in range(self.folds)]
            first = sum(sizes[: self.fold])
            last = first + sizes[self.fold]
        held, rest = order[first:last], torch.cat([order[:first], order[last:]])
        if not len(held) or not len(rest):
            raise EditError(
                f"{count} examples cannot be split so: {len(rest)} would be left for training and "
                f"{len(held)} for validation"
            )
        return rest, held
