"""Differences between two networks of one structure, as values to add, scale and keep.

Ilharco, Ribeiro, Wortsman, Gururangan, Schmidt, Hajishirzi and Farhadi, "Editing models with task
arithmetic", ICLR 2023: the difference that fine-tuning made is added to a network to teach it the task,
subtracted to forget it, and added to others to teach several.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import nn

from naivegraph.edits.apply.apply import apply, checkpoint_of
from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.request import validate
from naivegraph.edits.save.checked_safetensors import read, write
from naivegraph.errors import EditError, LoadError
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.graph.torch_utils.module_paths import tensors_of
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.network import Graph
from naivegraph.surgery.paired_state import network_of, paired_state
from naivegraph.undo import all_or_nothing

__all__ = ["WeightDelta", "delta"]

Model = TypeVar("Model", bound="nn.Module | Graph")


class WeightDelta:
    """The difference between two networks: a tensor for each parameter and saved buffer, tied ones once.

    Deltas of one structure are added, subtracted and multiplied by numbers; `sum` takes several. A network
    (or graph) plus a delta is a new network; `delta + network` is the same, which `nn.Sequential` needs.

    Args:
        tensors: The differences, by name.

    Raises:
        EditError: There are none, or one is no tensor.

    Example:
        >>> import naivegraph as ng
        >>> before, one, two = (nn.Linear(2, 1) for _ in range(3))
        >>> both = ng.surgery.delta(before, one) + ng.surgery.delta(before, two)
        >>> net = before + 0.5 * both
        >>> torch.allclose(net.weight, (one.weight + two.weight) / 2)
        True
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        if not tensors or not all(isinstance(each, torch.Tensor) for each in tensors.values()):
            raise EditError("a delta is made of tensors by the names of parameters and buffers")
        self._tensors = {name: tensor.detach() for name, tensor in tensors.items()}

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """The differences, by name."""
        return MappingProxyType(self._tensors)

    def __getstate__(self) -> dict[str, torch.Tensor]:
        return self._tensors

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self._tensors = state

    def __repr__(self) -> str:
        count = sum(tensor.numel() for tensor in self._tensors.values())
        return f"WeightDelta({len(self._tensors)} tensors, {count:,} numbers, norm {self.norm():.4g})"

    def norm(self) -> float:
        """The square root of the sum of squares of all differences."""
        return math.sqrt(
            sum(float(tensor.double().abs().square().sum()) for tensor in self._tensors.values())
        )

    # Arithmetic

    def __add__(self, other: Any) -> Any:
        if isinstance(other, (nn.Module, Graph)):
            return self.added_to(other)
        return self._with(other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> Any:
        if isinstance(other, (nn.Module, Graph)):
            return self.added_to(other)
        return self if isinstance(other, int) and other == 0 else NotImplemented  # as `sum` begins

    def __sub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Any:
        return self.added_to(other, -1.0) if isinstance(other, (nn.Module, Graph)) else NotImplemented

    def __mul__(self, factor: Any) -> Any:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        return WeightDelta({name: _scaled(tensor, factor) for name, tensor in self._tensors.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Any:
        return self * (1 / divisor) if isinstance(divisor, (int, float)) else NotImplemented

    def __neg__(self) -> WeightDelta:
        negative: WeightDelta = self * -1
        return negative

    def _with(self, other: Any, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Any:
        if not isinstance(other, WeightDelta):
            return NotImplemented
        _check("the second delta", "the first", other._tensors, self._tensors)
        return WeightDelta(
            {name: function(tensor, other._tensors[name]) for name, tensor in self._tensors.items()}
        )

    # On networks

    def added_to(self, model: Model, scale: float = 1.0) -> Model:
        """A copy of a network, or graph, with the delta added.

        Raises:
            EditError: Its structure is another; the message names the first difference.
        """
        made: Any = deep_copy(unwrapped(model) if isinstance(model, nn.Module) else model)
        self._check_network(network_of("surgery.WeightDelta", made))
        self._add(network_of("surgery.WeightDelta", made), scale)
        return made  # type: ignore[no-any-return]

    def apply(self, model: nn.Module | Graph, scale: float = 1.0, *, optimizer: Any = None) -> Edit:
        """Add the delta to a network in place.

        Args:
            model: The network, or its graph.
            scale: A factor; negative ones take the delta away.
            optimizer: An optimizer (or several), whose state undo puts back, too.

        Returns:
            The edit; `edit.undo()` puts back the values, bit for bit.

        Raises:
            EditError: The network's structure is another (the message names the first difference), or `scale`
                is no number; it is as it was.

        Example:
            >>> import naivegraph as ng
            >>> before, after = nn.Linear(2, 1), nn.Linear(2, 1)
            >>> weight = before.weight.tolist()
            >>> edit = ng.surgery.delta(before, after).apply(before)
            >>> torch.allclose(before.weight, after.weight)
            True
            >>> edit.undo()
            >>> before.weight.tolist() == weight
            True
        """
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
            raise EditError(f"scale= is a number, not {scale!r}")
        module = network_of("surgery.WeightDelta.apply", model)
        self._check_network(module)
        target = model if isinstance(model, Graph) else module
        changed = Change({}, {}, [], refitted=tuple(self._tensors))
        followers = (
            ()
            if optimizer is None
            else tuple(optimizer)
            if isinstance(optimizer, (list, tuple))
            else (optimizer,)
        )
        checkpoint = checkpoint_of(module, Change({}, {}, []), followers)
        with all_or_nothing() as log:
            log.push(checkpoint.restore_tensors)
            self._add(module, scale)
            return apply(
                changed,
                target,
                optimizer=optimizer,
                asked={"delta": float(scale)},
                undo=log,
                checkpoint=checkpoint,
            )

    @torch.no_grad()
    def _add(self, module: nn.Module, scale: float) -> None:
        state = tensors_of(module)
        for name, tensor in self._tensors.items():
            state[name].add_(_scaled(tensor, scale).to(state[name]))

    def _check_network(self, module: nn.Module) -> None:
        _check("the network", "the delta", _saved(module), self._tensors)

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a safetensors file, which `WeightDelta.load` reads; one that is there is replaced."""
        tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in self._tensors.items()}
        write(
            Path(validate.file_path(path)),
            {"class": "WeightDelta", "delta": True, "edits": [], "aliases": {}},
            tensors,
        )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> WeightDelta:
        """Read a file that `save` wrote.

        Raises:
            LoadError: It is damaged, or holds something else.

        Example:
            >>> import tempfile, naivegraph as ng
            >>> delta = ng.surgery.delta(nn.Linear(2, 1), nn.Linear(2, 1))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     delta.save(folder + "/task.safetensors")
            ...     again = ng.surgery.WeightDelta.load(folder + "/task.safetensors")
            >>> (again - delta).norm()
            0.0
        """
        header, tensors = read(Path(validate.file_path(path)))
        if "delta" not in header:
            raise LoadError(f"{path} holds a network, not a difference of two: ng.load reads it")
        return WeightDelta(tensors)


@torch.no_grad()
def delta(before: nn.Module | Graph, after: nn.Module | Graph) -> WeightDelta:
    """The difference that has to be added to one network to get another of the same structure.

    Args:
        before: A network, such as a pretrained one, or its graph.
        after: Another of the same structure, such as that after fine-tuning.

    Returns:
        The differences of all parameters and saved buffers.

    Raises:
        EditError: The structures differ; the message names the first tensor that does.
    """
    one, two = network_of("surgery.delta", before), network_of("surgery.delta", after)
    left_out = set(unsaved_buffers(one))
    found: dict[str, torch.Tensor] = {}
    for pair in paired_state(one, two):
        if pair.name in left_out:
            continue
        if pair.one.dtype == torch.bool:
            if not torch.equal(pair.one, pair.two):
                raise EditError(
                    f"the networks differ in {pair.name!r}, whose values are true and false, not numbers"
                )
            continue
        found[pair.name] = pair.two - pair.one.to(pair.two)
    return WeightDelta(found)


def _saved(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and saved buffers of a network that are numbers, tied ones once."""
    left_out, seen = set(unsaved_buffers(module)), set[int]()
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors_of(module).items():
        if name not in left_out and id(tensor) not in seen and tensor.dtype != torch.bool:
            found[name] = tensor
        seen.add(id(tensor))
    return found


def _check(what: str, other: str, one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> None:
    """Check that tensors have the same names and shapes."""
    for name in [*two, *one]:
        if name not in one or name not in two:
            lacks, has = (what, other) if name not in one else (other, what)
            raise EditError(
                f"{what} is not of the structure of {other}: {lacks} has no {name!r}, which {has} has"
            )
        if one[name].shape != two[name].shape:
            raise EditError(
                f"{what} is not of the structure of {other}: {name!r} has shape {tuple(one[name].shape)} in "
                f"{what} and {tuple(two[name].shape)} in {other}"
            )


def _scaled(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    """A tensor times a number; whole numbers are rounded."""
    if factor == 1:
        return tensor
    if tensor.is_floating_point() or tensor.is_complex():
        return tensor * factor
    return (tensor * factor).round().to(tensor.dtype)
