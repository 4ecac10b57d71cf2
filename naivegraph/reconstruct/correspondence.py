"""The entries of the teacher's parameters that those of the student's come from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from naivegraph.edits.apply.origins import Axes, Places
from naivegraph.edits.plan.change import Change
from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.reconstruct.linear_call import LinearCall

__all__ = ["Correspondence"]


class Correspondence:
    """The origin of each entry of the student's parameters, by the edits that led from the teacher to it.

    Args:
        changes: The edits, in order.
        teacher: The network before them.
        student: The network after them.
    """

    def __init__(self, changes: Sequence[Change], teacher: nn.Module, student: nn.Module) -> None:
        self._changes = [(change, Axes(change)) for change in changes]
        self._teacher = parameters_of(teacher)
        self._names = {
            id(parameter): self._in_teacher(name) for name, parameter in parameters_of(student).items()
        }

    def _in_teacher(self, name: str) -> str:
        """The name in the teacher of a parameter of the student."""
        for change, _ in reversed(self._changes):
            name = name if change.closing is None else change.closing.before(name)
        return name

    def misfit(self, student: nn.Module) -> str | None:
        """The first parameter whose shape does not follow from the teacher's by the edits; None if all do."""
        for name, parameter in parameters_of(student).items():
            there = self._in_teacher(name)
            if there not in self._teacher:
                continue
            origins = self._origins(there)
            if origins is None or origins[0].shape != parameter.shape:
                return name
        return None

    def channels(self, teacher: LinearCall, student: LinearCall) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The channel of the teacher's output for each of the student's, and the factor it was given.

        Returns:
            The numbers of channels and their factors; None if a channel has none of its own there.
        """
        name = self._names.get(id(student.parameter))
        if name is None or self._teacher.get(name) is not teacher.parameter:
            return None
        origins = self._origins(name)
        if origins is None or origins[0].shape != student.parameter.shape:
            return None
        count = teacher.parameter.numel()
        whole = torch.arange(count).reshape(teacher.parameter.shape)
        theirs = teacher.layout.matrix(_viewed(whole, teacher.weight))
        ours, factors = (student.layout.matrix(_viewed(each, student.weight)) for each in origins)
        groups, _, outputs = theirs.shape
        numbers = torch.arange(groups * outputs).reshape(groups, 1, outputs).expand(theirs.shape)
        channel = torch.full([count + 1], -1)  # the last one is that of new entries, whose number is -1
        channel[theirs.reshape(-1)] = numbers.reshape(-1)
        found, factor = channel[ours], factors.amax(1, keepdim=True)
        own = found.amax(1, keepdim=True)
        known = bool((own >= 0).all()) and bool(((found == own) | (found < 0)).all())
        if not known or not bool((factors == factor).all()):
            return None
        return own.reshape(-1), factor.reshape(-1)

    def along(self, name: str, dim: int) -> torch.Tensor | None:
        """The index in the teacher's parameter of each index of the student's, along one dimension.

        Returns:
            The indices; None if some are new, or the entries of one index come from several.
        """
        origins = self._origins(name)
        if origins is None:
            return None
        numbers = origins[0].movedim(dim, 0).reshape(origins[0].shape[dim], -1)
        shape = self._teacher[name].shape
        indices = numbers // shape[dim + 1 :].numel() % shape[dim]
        own = indices.amax(1)
        same = bool(((indices == own[:, None]) & (numbers >= 0)).all())
        return own if same else None

    def _origins(self, name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The number in the teacher's parameter of each entry of the student's, -1 if new, and its factor."""
        shape = self._teacher[name].shape
        numbers = torch.arange(shape.numel()).reshape(shape)
        factors = torch.ones(shape, dtype=torch.float64)
        for change, known in self._changes:
            here, closing = name, change.closing
            name = name if closing is None else closing.after(name) or name
            if here not in change.tensors:
                continue
            places = Places(known, change.tensors[here])
            if places.shape != tuple(numbers.shape):
                return None
            numbers, factors = places.resized(numbers, -1), places.resized(factors, 1.0)
            for scaling in change.scalings:
                if scaling.tensor == here:
                    factors = torch.where(places.within(scaling.rows), factors * scaling.factor, factors)
        return numbers, factors


def _viewed(numbers: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Numbers of the entries of a parameter, as seen through a view of it."""
    base = weight if weight._base is None else weight._base
    laid_out = torch.empty_strided(base.shape, base.stride(), dtype=numbers.dtype)
    laid_out.copy_(numbers)
    start = weight.storage_offset() - base.storage_offset()
    return torch.as_strided(laid_out, weight.shape, weight.stride(), start)
