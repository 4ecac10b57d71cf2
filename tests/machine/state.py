"""All that edits may change, to be compared bit for bit; optimizers; memory that shows what has no value."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from naivegraph.graph.export.history import history_of
from naivegraph.network import Graph

__all__ = ["OPTIMIZERS", "everything", "poisoned_memory", "same"]

OPTIMIZERS: tuple[Callable[[Any], torch.optim.Optimizer], ...] = (
    lambda given: torch.optim.AdamW(given, lr=1e-3),
    lambda given: torch.optim.SGD(given, lr=1e-3, momentum=0.9),
    lambda given: torch.optim.RMSprop(given, lr=1e-3, momentum=0.5),
    lambda given: torch.optim.Adagrad(given, lr=1e-3),
    lambda given: torch.optim.Adadelta(given, lr=1e-2),
)


def everything(graph: Graph, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """All that an edit may change, in a form that compares bit for bit."""
    module = graph.module
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    state = {} if optimizer is None else {
        (id(p), key): value.numpy().tobytes() if isinstance(value, Tensor) else value
        for p, s in optimizer.state.items() for key, value in s.items()
    }  # fmt: skip
    groups = [] if optimizer is None else [[id(p) for p in g["params"]] for g in optimizer.param_groups]
    return {
        "tensors": {n: (id(t), tuple(t.shape), t.detach().numpy().tobytes()) for n, t in named},
        "modules": {n: (id(m), m.training) for n, m in module.named_modules()},
        "attributes": {
            (n, key): value
            for n, m in module.named_modules()
            for key, value in vars(m).items()
            if isinstance(value, (int, float, str, tuple, list))
        },
        "vertices": [
            (v.name, v.kind, v.path, id(v.target), *map(repr, (v.args, v.kwargs, v.output, v.operations)))
            for v in graph
        ],
        "output": repr(graph.output),
        "sizes": graph.sizes,
        "state": repr(graph.state),
        "optimizer": (state, groups),
        "history": history_of(module),
    }  # fmt: skip


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """A block in which memory that is only reserved is NaN, so that what is left without a value shows."""
    empty, empty_like, new_empty = torch.empty, torch.empty_like, Tensor.new_empty

    def filled(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: Any, **kwargs: Any) -> Tensor:
            made = make(*args, **kwargs)
            with torch.no_grad():
                return made.fill_(math.nan) if made.is_floating_point() else made

        return call

    torch.empty, torch.empty_like = filled(empty), filled(empty_like)
    Tensor.new_empty = filled(new_empty)  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.empty, torch.empty_like = empty, empty_like
        Tensor.new_empty = new_empty  # type: ignore[method-assign]


def same(before: dict[str, Any], after: dict[str, Any], what: str, *, run_again: bool = False) -> None:
    """Nothing changed.

    Args:
        before: Everything before.
        after: Everything after.
        what: What happened in between.
        run_again: Whether the graph was run since, by which tensors inside of vertices get other numbers.
    """
    for key, value in before.items():
        one, two = value, after[key]
        if run_again and key == "vertices":
            one, two = _renumbered(one), _renumbered(two)
        assert one == two, f"{key} are not as they were: {what}: {_first(one, two)}"


def _renumbered(vertices: list[tuple[Any, ...]]) -> list[str]:
    """The vertices as text, with tensors numbered as they occur."""
    numbers: dict[str, str] = {}
    return [
        re.sub(
            r"Stub\(id=(\d+)", lambda found: numbers.setdefault(found[1], f"Stub {len(numbers)}"), repr(each)
        )
        for each in vertices
    ]


def _first(one: Any, two: Any) -> str:
    """Where two values differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        differing = [key for key in {**one, **two} if one.get(key) != two.get(key)]
        return f"{differing[0]}: {_first(one.get(differing[0]), two.get(differing[0]))}"
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)) and len(one) == len(two):
        return next((_first(a, b) for a, b in zip(one, two, strict=True) if a != b), "")
    return f"{str(one)[:300]} != {str(two)[:300]}"
