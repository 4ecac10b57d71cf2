"""A search in one call: from examples to a study of networks for them."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from naivegraph.edits.request.validate import above_zero
from naivegraph.errors import StudyError
from naivegraph.graph.torch_utils.preserve_state import preserved
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
        StudyError: The examples are of no such kind, or the network to start from does not go with them.
    """
    inputs, targets = _tensors(x, y)
    if not isinstance(test, (int, float)) or not 0 < test < 1:
        raise StudyError(f"test={test!r} is to be a part of the examples, between 0 and 1")
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    count = min(max(1, round(test * len(inputs))), len(inputs) - 1)
    held, used = order[:count], order[count:]
    classes = not targets.dtype.is_floating_point
    kind = Classification if classes else Regression
    train = kind(inputs[used], targets[used], inputs[held], targets[held])
    limits = {} if params is None else {"params": above_zero(params, "params")}
    first = _started(start, inputs, targets, params, seed)
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
    """Inputs as float32, and classes as int64 or numbers as rows of float32."""
    inputs, targets = _numbers("x", x).float(), _numbers("y", y)
    if inputs.ndim not in (2, 4) or len(inputs) != len(targets) or len(inputs) < 4 or not inputs[0].numel():
        raise StudyError(
            f"x of shape {tuple(inputs.shape)} and y of {tuple(targets.shape)}: give rows of a table or "
            "images (examples, channels, height, width), four or more, and as many targets"
        )
    if not bool(inputs.isfinite().all()) or not bool(targets.isfinite().all()):
        raise StudyError(
            "x or y holds numbers that are not finite: leave these examples out, or fill them in"
        )
    if not bool((targets != targets[:1]).any()):
        raise StudyError("all targets are alike, so that there is nothing to learn")
    if not bool((inputs != inputs[:1]).any()):
        raise StudyError("all inputs are alike, so that they tell nothing of the targets")
    if targets.dtype.is_floating_point:
        return inputs, targets.float().reshape(len(targets), -1)
    if targets.ndim != 1 or int(targets.min()) < 0:
        raise StudyError(
            "classes are whole numbers from 0, one for each example; give floats for a regression"
        )
    if int(targets.max()) >= len(targets):
        raise StudyError(
            f"y names class {int(targets.max())}, and there are {len(targets)} examples: number the classes "
            "from 0 on; give floats for a regression"
        )
    return inputs, targets.long()


def _numbers(name: str, values: Any) -> Tensor:
    """Real numbers as a tensor."""
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise StudyError(
                f"{name} is of {array.dtype}, and is to be real numbers: encode texts as whole numbers, and "
                "give tables as numbers alone"
            )
        values = torch.from_numpy(np.array(array))  # a copy, which may be written to
    if values.is_complex() or not values.ndim:
        raise StudyError(f"{name} is {tuple(values.shape)} of {values.dtype}: give rows of real numbers")
    found: Tensor = values.detach().cpu()
    return found


def _started(
    start: nn.Module | Graph | None, inputs: Tensor, targets: Tensor, params: float | None, seed: int
) -> Graph:
    """The graph to start from, whose outputs go with the targets."""
    classes = targets.ndim == 1
    outputs = int(targets.max()) + 1 if classes else targets.shape[1]
    if start is None:
        start = _within(inputs, outputs, params, seed)
    graph = start if isinstance(start, Graph) else capture(start, inputs[:2])
    with torch.no_grad(), preserved(graph.module):
        given = graph(inputs[:2])
    fits = isinstance(given, Tensor) and given.ndim == 2 and given.shape[1] >= outputs
    if not fits or (not classes and given.shape[1] != outputs):
        told = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise StudyError(f"start= gives {told} for two inputs, and is to give {outputs} numbers for each")
    if params is not None and graph.costs("params")["params"] > params:
        raise StudyError(
            f"start= has {graph.costs('params')['params']:,} parameters, and params={params:g}: prune it "
            "before, as by ng.prune(model, x, params=...)"
        )
    return graph


def _within(inputs: Tensor, outputs: int, params: float | None, seed: int) -> nn.Module:
    """A small network for such inputs, of no more parameters."""
    state, least = torch.get_rng_state(), 0
    try:
        for width in (16, 8, 4, 2, 1):
            torch.manual_seed(seed)
            made = _small(inputs, outputs, width)
            least = sum(each.numel() for each in made.parameters())
            if params is None or least <= params:
                return made
    finally:
        torch.set_rng_state(state)
    raise StudyError(f"the smallest network has {least} parameters, and params={params:g}: give more")


def _small(inputs: Tensor, outputs: int, width: int) -> nn.Module:
    if inputs.ndim == 2:
        return nn.Sequential(nn.BatchNorm1d(inputs.shape[1]), nn.Linear(inputs.shape[1], width), nn.ReLU(),
                             nn.Linear(width, outputs))  # fmt: skip
    channels, first = inputs.shape[1], max(1, width // 2)
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU(),
        nn.Conv2d(first, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs),
    )  # fmt: skip


def _mutations(inputs: Tensor) -> list[Mutation]:
    sizes: list[Mutation] = [wider(), wider(1.0, 3), narrower()]
    depth: list[Mutation] = [deeper(), shallower(), skip()]
    images: list[Mutation] = [kernel((1, 3, 5))] if inputs.ndim == 4 else []
    return [*sizes, *depth, *images, learning_rate(3e-4, 3e-2)]
