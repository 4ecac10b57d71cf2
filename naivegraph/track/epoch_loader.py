"""Loading of data in an order that its seed and the number of the epoch tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset

__all__ = ["EpochOrder", "epoch_loader", "seed_of"]


def seed_of(*parts: object) -> int:
    """A seed from several values, the same on every machine.

    Example:
        >>> seed_of(0, "epoch", 1) == seed_of(0, "epoch", 1), seed_of(0, "epoch", 1) == seed_of(0, "epoch", 2)
        (True, False)
    """
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


class EpochOrder:
    """A sampler: another order of all samples each epoch, or the same, told by a seed.

    A run that is taken up after some epochs sees the samples in the order it would have seen them without a
    stop. Lightning calls `set_epoch` before each epoch; but if workers load data, those of the first epoch
    after a stop have begun by then, so that the epoch it begins with is given here, too.

    Args:
        length: The number of samples.
        seed: The seed.
        epoch: The epoch to begin with.

    Example:
        >>> order = EpochOrder(5, seed=0)
        >>> first = list(order)
        >>> order.set_epoch(1)
        >>> sorted(first), first == list(order), first == list(EpochOrder(5, seed=0))
        ([0, 1, 2, 3, 4], False, True)
    """

    def __init__(self, length: int, seed: int, epoch: int = 0) -> None:
        self.length, self.seed, self.epoch = length, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        import torch

        generator = torch.Generator().manual_seed(seed_of(self.seed, "order", self.epoch))
        yield from torch.randperm(self.length, generator=generator).tolist()


def epoch_loader(
    dataset: Dataset[Any],
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    batch_size: int = 32,
    num_workers: int = 0,
    pin_memory: bool = False,
    persistent_workers: bool = False,
    prefetch_factor: int | None = None,
    drop_last: bool = False,
    collate_fn: Callable[..., Any] | None = None,
) -> DataLoader[Any]:
    """Make a `DataLoader`.

    Args:
        dataset: What to load.
        seed: Of the order.
        epoch: The epoch to begin with.
        shuffle: Whether each epoch has an order of its own.
        batch_size: Samples of a batch.
        num_workers: Processes that load data.
        pin_memory: As for `DataLoader`.
        persistent_workers: As for `DataLoader`.
        prefetch_factor: As for `DataLoader`.
        drop_last: Whether to leave out a last batch that is not full.
        collate_fn: As for `DataLoader`.
    """
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    sized = shuffle and not isinstance(dataset, IterableDataset)
    order = EpochOrder(len(dataset), seed, epoch) if sized else None  # type: ignore[arg-type]
    return DataLoader(
        dataset,
        batch_size,
        sampler=order,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=persistent_workers and num_workers > 0,
        prefetch_factor=prefetch_factor,
        drop_last=drop_last and shuffle,
        collate_fn=collate_fn,
        generator=torch.Generator().manual_seed(seed_of(seed, "workers", epoch)),
    )
