"""The attributes behind numbers that a network's code uses, found by runs with other values of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from naivegraph.edits.exact_growth.decisions import ScaledNumber
from naivegraph.edits.plan.change import AttributeChange
from naivegraph.edits.plan.fill import NumberChange
from naivegraph.graph.fake.fake_tensor import FakeMode, on_fake_tensors
from naivegraph.graph.record.record_run import record
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.pytree import leaves, map_leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import nested_arguments
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["follow_numbers"]

# An attribute: the path of its module, and its name.
Place = tuple[str, str]


def follow_numbers(
    graph: Recording, numbers: Sequence[ScaledNumber]
) -> tuple[list[AttributeChange], list[NumberChange], list[str]]:
    """The changes of attributes by which numbers of the code follow.

    Args:
        graph: The graph.
        numbers: The numbers.

    Returns:
        The changes of attributes, those of numbers that the graph's vertices are called with, and the names
        of the vertices whose number is no attribute.
    """
    modules = dict(modules_of(graph.module, every_path=True))
    wanted = {(each.vertex.name, each.value): each for each in numbers}
    behind = _behind(graph, wanted.values())
    values: dict[Place, set[float]] = {}
    for key, each in wanted.items():
        if key in behind:
            values.setdefault(behind[key], set()).add(each.value * each.factor)
    attributes: dict[Place, AttributeChange] = {}
    changed: list[NumberChange] = []
    left: list[str] = []
    for key, each in wanted.items():
        place = behind.get(key)
        if place is None or max(values[place]) - min(values[place]) > 1e-9 * max(values[place]):
            left.append(each.vertex.name)
            continue
        before = vars(modules[place[0]])[place[1]]
        change = attributes.setdefault(place, AttributeChange(*place, (), before, before * each.factor))
        if each.vertex.kind != "layer":
            changed.append(NumberChange(each.vertex.name, before, float(change.after)))
    return list(attributes.values()), changed, list(dict.fromkeys(left))


def _behind(graph: Recording, numbers: Collection[ScaledNumber]) -> dict[tuple[str, float], Place]:
    """The attribute behind each number, by vertex and value, as far as there is one."""
    found: dict[tuple[str, float], Place] = {}
    modules = dict(modules_of(graph.module))
    for each in numbers:
        if each.vertex.kind == "layer":
            place = _of_layer(each.vertex, each.value)
            if place is not None:
                found[each.vertex.name, each.value] = place
    others = [each for each in numbers if each.vertex.kind == "function"]
    if not others or graph.rewired:
        return found
    values = [each.value for each in others]
    around = {path for each in others for path in _around(each.vertex.path)}
    places = [
        (path, name)
        for path in modules
        if path in around
        for name, value in vars(modules[path]).items()
        if type(value) is float and _among(value, values)
    ]
    marks = {place: vars(modules[place[0]])[place[1]] * (1 + (i + 1) / 64) for i, place in enumerate(places)}
    again = _recorded_with(graph, modules, marks) if places else {}
    for each in others:
        now = again.get(each.vertex.name, set())
        here = [place for place, mark in marks.items() if _among(mark, now)]
        if len(here) == 1 and not _among(each.value, now):
            found[each.vertex.name, each.value] = here[0]
    return found


def _among(value: float, others: Collection[float]) -> bool:
    """Tell whether a number is among others; operators may be called with it in single precision."""
    return any(math.isclose(value, other, rel_tol=1e-6) for other in others)


def _around(path: str) -> list[str]:
    """A path, and those of the modules around it."""
    parts = path.split(".") if path else []
    return [".".join(parts[:n]) for n in range(len(parts) + 1)]


@contextlib.contextmanager
def _with(modules: Mapping[str, nn.Module], values: Mapping[Place, float]) -> Iterator[None]:
    """Set attributes during a block."""
    before = {place: vars(modules[place[0]])[place[1]] for place in values}
    try:
        for (path, name), value in values.items():
            vars(modules[path])[name] = value
        yield
    finally:
        for (path, name), value in before.items():
            vars(modules[path])[name] = value


def _recorded_with(
    graph: Recording, modules: Mapping[str, nn.Module], values: Mapping[Place, float]
) -> dict[str, set[float]]:
    """The numbers that each function is called with where attributes have other values."""
    module = graph.module
    args, kwargs = nested_arguments(module, {**graph.constants, **graph.example})

    def run(fake: FakeMode | None) -> Recording:
        """Record the network."""
        with restored(module), preserved(module, training=False), torch.no_grad():
            return record(module, args, kwargs, fake=fake)[0]

    with _with(modules, values):
        recorded = on_fake_tensors(module, run) or run(None)
    return {vertex.name: set(_floats([vertex.args, vertex.kwargs])) for vertex in recorded.vertices}


def _floats(values: Any) -> Iterator[float]:
    return (leaf for leaf in leaves(values) if type(leaf) is float)


def _of_layer(vertex: Vertex, value: float) -> Place | None:
    """The attribute of a layer that its operators take as this number."""
    layer = vertex.target
    if not isinstance(layer, nn.Module):
        return None
    names = [n for n, found in vars(layer).items() if type(found) is float and _among(found, [value])]
    for name in names:
        mark = vars(layer)[name] * (1 + 1 / 64)
        with _with({"": layer}, {("", name): mark}):
            now = _numbers_of(layer, vertex)
        if _among(mark, now) and not _among(value, now):
            return vertex.path, name
    return None


class _Numbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The floating-point numbers that operators are called with."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[float] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note the numbers of an operator and run it."""
        self.found.update(_floats([list(args), dict(kwargs or {})]))
        return func(*args, **(kwargs or {}))


def _numbers_of(layer: nn.Module, vertex: Vertex) -> set[float]:
    """The numbers that a layer's operators are called with, on zeros in place of its inputs."""
    first = next(iter(layer.parameters()), None)
    device = torch.device("cpu") if first is None else first.device

    def zeros(leaf: Any) -> Any:
        """Return zeros in place of a tensor."""
        return torch.zeros(leaf.shape, dtype=leaf.dtype, device=device) if isinstance(leaf, Stub) else leaf

    args, kwargs = map_leaves(vertex.args, zeros), map_leaves(vertex.kwargs, zeros)
    numbers = _Numbers()
    try:
        with restored(layer), preserved(layer, training=False), torch.no_grad(), numbers:
            layer.forward(*args, **kwargs)
    except Exception:  # Whatever the reason, the layer does not tell.
        return set()
    return numbers.found
