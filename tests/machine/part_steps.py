"""Steps on parts of the network, on the network by itself, and on other networks with the same part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph.export.history import history_of
from naivegraph.network import Graph, capture
from naivegraph.widths import relate

if TYPE_CHECKING:
    from tests.machine.walk import Walk

__all__ = ["of_another_whole", "of_part", "of_whole"]


class Whole(nn.Module):
    """A part between two layers of another network."""

    def __init__(self, part: nn.Module, given: Tensor, returned: Tensor) -> None:
        super().__init__()
        self.stem = nn.Linear(given.shape[-1], given.shape[-1]).to(given)
        self.part = part
        self.head = nn.Linear(returned.shape[-1], 2).to(returned)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.part(self.stem(x)))
        return out


def of_part(walk: Walk) -> None:
    """A part is edited alone, by its example; the graph of the whole follows, its history has the edit."""
    found = _part(walk)
    if found is not None:
        path, part, given, _ = found
        _edit(walk, "part", part, path, given, part)


def of_whole(walk: Walk) -> None:
    """The network is edited by itself, with its example."""
    if not walk.graph.rewired and walk.case.look != "row":
        _edit(walk, "module", walk.graph.module, "", walk.x, walk.graph.module)


def of_another_whole(walk: Walk) -> None:
    """Another network that has a part of this one is edited, inside that part."""
    found = _part(walk)
    if found is not None:
        path, part, given, returned = found
        _edit(walk, "another whole", Whole(part, given, returned).eval(), path, given, part)


def _part(walk: Walk) -> tuple[str, nn.Module, Tensor, Tensor] | None:
    """A part that is called once on one tensor and gives one, with both."""
    candidates = [
        (path, each)
        for path, each in walk.modules()
        if not isinstance(each, nn.ModuleList) and len(list(each.parameters())) > 2
    ]
    walk.rng.shuffle(candidates)
    for path, part in candidates:
        calls: list[tuple[Any, Any, Any]] = []
        with _watched(part, calls), torch.no_grad():
            walk.graph.module(walk.x)
        if len(calls) == 1 and len(calls[0][0]) == 1 and not calls[0][1]:
            (given,), _, returned = calls[0]
            if isinstance(given, Tensor) and isinstance(returned, Tensor) and given.is_floating_point():
                return path, part, given.detach().clone(), returned.detach().clone()
    return None


@contextlib.contextmanager
def _watched(part: nn.Module, calls: list[tuple[Any, Any, Any]]) -> Iterator[None]:
    def note(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        """Write down what a call took and gave."""
        calls.append((args, kwargs, out))

    handle = part.register_forward_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _edit(walk: Walk, kind: str, network: nn.Module, path: str, given: Tensor, inside: nn.Module) -> None:
    """An edit of a network that the walk's is, has, or has a part in common with; nothing outside follows.

    Args:
        walk: The walk.
        kind: The name of the step.
        network: The network to edit.
        path: That of the part in the walk's network.
        given: What the network takes.
        inside: The part itself.
    """
    graph = capture(network, given, verify="recorded")
    own = {id(module): name for name, module in network.named_modules()}[id(inside)]
    prefix = f"{own}." if own else ""
    names = [prefix + name for name in _free(graph if inside is network else capture(inside, given))]
    names = [name for name in names if name in graph]
    if not names:
        return
    name = walk.rng.choice(names)
    delta = walk.rng.choice([-2, -1, 1, 2])
    delta = abs(delta) if graph.sizes[name] + delta < 1 else delta
    start, done = len(history_of(walk.graph.module)), len(walk.done)

    def make(walk: Walk) -> ng.Edit:
        """Make the edit."""
        walk.note(kind, path, name, delta)
        walk.alike = {}
        requests: dict[str, Any] = {name: delta}
        # What is around the part in the walk's network does not follow.
        requests.setdefault([each for each in graph.sizes if each.startswith(prefix)][-1], ng.frozen())
        if isinstance(network, Whole):
            requests["stem"] = ng.frozen()
        return ng.resize(network, given, requests, optimizer=walk.of_optimizer())

    walk.edit(kind, make, network, (prefix, f"{path}." if path else ""))
    if len(walk.done) > done:
        assert len(history_of(walk.graph.module)) == start + 1


def _free(graph: Graph) -> list[str]:
    """The vertices whose sizes may change though that of what the network gives does not."""
    widths = relate(graph)
    inner = [name for name in graph.sizes if graph[name].kind != "input"]
    return [name for name in inner if not widths.output_axis(graph[name]).fixed]
