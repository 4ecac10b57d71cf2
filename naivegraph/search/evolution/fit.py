"""A search in one call: from examples to a study of networks for them."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from naivegraph.errors import StudyError
from naivegraph.network import Graph, capture
from naivegraph.search.evolution.depth_mutations import deeper, shallower, skip
from naivegraph.search.evolution.evolution import Evolution
from naivegraph.search.evolution.mutation import Mutation
from naivegraph.search.evolution.recipe_mutations import learning_rate
from naivegraph.search.evolution.selection import nsga2
from naivegraph.search.evolution.size_mutations import kernel, narrower, wider
from naivegraph.search.evolution.training import Classification, Regression
from naivegraph.search.study import Study

__all__ = ["fit"]


def fit(
    x: Any,
    y: Any,
    *,
    seconds: float | None = 60,
    networks: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    start: nn.Module | Graph | None = None,
    params: float | None = None,
    rungs: tuple[int, ...] = (2, 6),
    test: float = 0.25,
    seed: int = 0,
    engine: str | Executor = "processes",
    workers: int | None = None,
) -> Study:
    """Search for networks that fit examples well with few parameters.

    The examples are split once into those trained on and those measured on; what the study says of accuracy
    is of the latter, by which networks were chosen: measure the one you take on examples that were kept back.

    Args:
        x: Inputs, batch first: images (channels, height, width), or rows of a table, as a tensor or array.
        y: Whole numbers for classes, or other numbers (of one or more columns) for a regression.
        seconds: The time after which no more networks are started.
        networks: The number of networks after which it ends.
        folder: The study's folder; the same one goes on. By default a temporary one.
        start: The network to start from; by default a small one for such inputs.
        params: The largest number of parameters.
        rungs: Epochs after which the best third goes on.
        test: The part of the examples to measure on.
        seed: Of the split and the search.
        engine: As for `Study.run`.
        workers: As for `Study.run`.

    Returns:
        The study: `study.best.graph`, `study.front`, `study.plot("front.svg")`.

    Raises:
        StudyError: The examples are of no such kind.
    """
    inputs, targets = _tensors(x, y)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    count = max(1, round(test * len(inputs)))
    held, used = order[:count], order[count:]
    classes = not targets.dtype.is_floating_point
    outputs = int(targets.max()) + 1 if classes else targets.shape[1]
    kind = Classification if classes else Regression
    train = kind(inputs[used], targets[used], inputs[held], targets[held])
    first = _started(start, inputs, outputs, seed)
    limits = {} if params is None else {"params": params}
    space = Evolution(first, _mutations(inputs), select=nsga2(12), population=8, limits=limits)
    study = Study(
        tempfile.mkdtemp(prefix="naivegraph-search-") if folder is None else folder,
        space=space,
        evaluate=train,
        objectives={train.measure: "max" if classes else "min", "params": "min"},
        limits=limits,
        rungs=rungs,
        seed=seed,
        data={"examples": list(inputs.shape), "sum": float(inputs.double().sum()), "test": test},
    )
    study.run(seconds=seconds, networks=networks, engine=engine, workers=workers)
    return study


def _tensors(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    inputs = torch.as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x).float()
    targets = torch.as_tensor(np.asarray(y) if not isinstance(y, Tensor) else y)
    if inputs.ndim not in (2, 4) or len(inputs) != len(targets) or len(inputs) < 4:
        raise StudyError(
            f"x of shape {tuple(inputs.shape)} and y of {tuple(targets.shape)}: give rows of a table or "
            "images (examples, channels, height, width), four or more, and as many targets"
        )
    if targets.dtype.is_floating_point:
        return inputs, targets.float().reshape(len(targets), -1)
    if targets.ndim != 1 or int(targets.min()) < 0:
        raise StudyError(
            "classes are whole numbers from 0, one for each example; give floats for a regression"
        )
    return inputs, targets.long()


def _started(start: nn.Module | Graph | None, inputs: Tensor, outputs: int, seed: int) -> Graph:
    if isinstance(start, Graph):
        return start
    if start is None:
        state = torch.get_rng_state()
        try:
            torch.manual_seed(seed)
            start = _small(inputs, outputs)
        finally:
            torch.set_rng_state(state)
    return capture(start, inputs[:2])


def _small(inputs: Tensor, outputs: int) -> nn.Module:
    if inputs.ndim == 2:
        return nn.Sequential(nn.BatchNorm1d(inputs.shape[1]), nn.Linear(inputs.shape[1], 16), nn.ReLU(),
                             nn.Linear(16, outputs))  # fmt: skip
    channels = inputs.shape[1]
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs),
    )  # fmt: skip


def _mutations(inputs: Tensor) -> list[Mutation]:
    sizes: list[Mutation] = [wider(), wider(1.0, 3), narrower()]
    depth: list[Mutation] = [deeper(), shallower(), skip()]
    images: list[Mutation] = [kernel((1, 3, 5))] if inputs.ndim == 4 else []
    return [*sizes, *depth, *images, learning_rate(3e-4, 3e-2)]
