"""Constants that differ in train mode, found by aligning a run in eval mode with one in train mode."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from naivegraph.ir.call_modes import CallModes
from naivegraph.ir.pytree import pairs, rebuild
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Compound, ConstantTensor, DimSize, Stub, Training
from naivegraph.ir.vertex import Vertex

__all__ = ["switch_constants"]

_PLAIN = (bool, int, float, complex, str, type(None))


def switch_constants(graph: Recording, training: Recording) -> bool:
    """Let constants, and torch modes, that differ between eval and train mode follow the training flag.

    They become a `Training`: both values, and the path of the innermost module whose forward made the call.

    Args:
        graph: The run in eval mode; changed in place.
        training: The same network's run in train mode.

    Returns:
        True if the two call the same functions and layers on the same tensors, in the same order, and differ
        in numbers (no sizes), flags and strings alone. If not, nothing is changed.
    """
    alignment = _Alignment()
    try:
        if len(graph.vertices) != len(training.vertices):
            return False
        both = zip(graph.vertices, training.vertices, strict=True)
        arguments = [alignment.vertices(one, two) for one, two in both]
        output = alignment.value(graph.output, training.output, "")
    except _OtherError:
        return False
    for vertex, other, (args, kwargs) in zip(graph.vertices, training.vertices, arguments, strict=True):
        vertex.args, vertex.kwargs = args, kwargs
        if vertex.modes != other.modes:
            modes = vertex.modes or CallModes()
            vertex.modes = modes.or_in_train_mode(other.modes or CallModes(), vertex.path)
    graph.output = output
    return True


class _OtherError(Exception):
    """Error raised where the two runs do different things."""


class _Alignment:
    """Alignment of the tensors of a run in train mode with those of the run in eval mode."""

    def __init__(self) -> None:
        self._tensors: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def vertices(self, one: Vertex, two: Vertex) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of one vertex that does in each mode what the two vertices do."""
        if (one.kind, one.path) != (two.kind, two.path) or one.target != two.target:
            raise _OtherError
        arguments = self.value((one.args, one.kwargs), (two.args, two.kwargs), two.path)
        self._note(one.output, two.output)
        args: tuple[Any, ...]
        kwargs: dict[str, Any]
        args, kwargs = arguments
        return args, kwargs

    def _note(self, one: Any, two: Any) -> None:
        for here, there, _ in _alike(one, two):
            if isinstance(here, Stub) != isinstance(there, Stub):
                raise _OtherError
            if isinstance(here, Stub) and (
                self._tensors.setdefault(there.id, here.id) != here.id
                or self._taken.setdefault(here.id, there.id) != there.id
            ):
                raise _OtherError

    def value(self, one: Any, two: Any, path: str) -> Any:
        """The value that is `one` in eval mode and `two` while the module at `path` trains."""
        kind = type(one)
        if kind is type(two) and kind in (tuple, list) and len(one) == len(two):
            return rebuild(one, [self.value(*both, path) for both in zip(one, two, strict=True)])
        if kind is type(two) is dict and list(one) == list(two):
            return {key: self.value(one[key], two[key], path) for key in one}
        if kind is type(two) is slice:
            ends = ((one.start, two.start), (one.stop, two.stop), (one.step, two.step))
            return slice(*[self.value(*both, path) for both in ends])
        if kind is not type(two):
            return self._leaf(one, two, path)
        for here, there, _ in _alike(one, two):
            if here is one:
                return self._leaf(one, two, path)
            if not _same(self.value(here, there, path), here):
                raise _OtherError
        return one

    def _leaf(self, one: Any, two: Any, path: str) -> Any:
        if isinstance(two, (Stub, DimSize, Compound)):
            if self._here(two) != one:
                raise _OtherError
            return one
        if (
            isinstance(one, ConstantTensor)
            and isinstance(two, ConstantTensor)
            and _equal(one.tensor, two.tensor)
        ):
            return one
        on, now = (value.on if isinstance(value, Training) else value for value in (two, one))
        if _same(on, now):
            return one
        off = one.off if isinstance(one, Training) else one
        if not _may_switch(on, off):
            raise _OtherError
        return Training(one.path if isinstance(one, Training) else path, on, off)

    def _here(self, value: Any) -> Any:
        """A tensor or size of the run in train mode as that of the run in eval mode."""
        if isinstance(value, Stub):
            return dataclasses.replace(value, id=self._tensors.get(value.id, -1))
        if isinstance(value, DimSize) and isinstance(value.tensor, int):
            return DimSize(self._tensors.get(value.tensor, -1), value.dim)
        if isinstance(value, Compound):
            return Compound(value.operator, self._here(value.left), self._here(value.right))
        return value


def _alike(one: Any, two: Any) -> list[tuple[Any, Any, str]]:
    try:
        return list(pairs(one, two))
    except ValueError as error:
        raise _OtherError from error


def _same(one: Any, two: Any) -> bool:
    if one is two:
        return True
    return type(one) is type(two) and (repr(one) == repr(two) if isinstance(one, _PLAIN) else one == two)


def _equal(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one is two or (one.dtype == two.dtype and one.device == two.device and torch.equal(one, two))


def _may_switch(on: Any, off: Any) -> bool:
    """Tell whether a value may depend on the mode; integers may not, as they may be sizes."""
    if not (isinstance(on, _PLAIN) and isinstance(off, _PLAIN)):
        return False
    return int not in (type(on), type(off)) or float in (type(on), type(off))
