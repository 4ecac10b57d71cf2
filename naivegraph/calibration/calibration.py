"""Batches of example inputs, as `calibration=` takes them.

They are one of

- a tensor `[samples, ...]`, for networks with one input;
- a dict of such tensors by the names of the inputs;
- an iterable of batches, such as a DataLoader, a list or a generator. A batch is a tensor, a dict by the
  names of inputs, or a tuple (or list) of the inputs in the order of the forward's arguments.

Where inputs of the example differ in their first sizes, as the nodes and the edges of a graph do, a batch
whose inputs differ in them is one sample.

Labels may come along: what follows the inputs in a tuple, and names in a dict that are no inputs. They are
left aside, but for a loss that takes the whole batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.ir.pytree import leaves, map_leaves, pairs, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub

__all__ = ["Calibration", "CalibrationBatch", "check_calibration"]

# Of a batch, where one stack of all samples is given: fewer where the values of a run would take more memory.
_FEWEST, _MOST = 8, 64
_MEMORY = 2**30  # bytes

_FORMS = (
    "give a tensor of samples, a dict of such tensors by the names of inputs, or an iterable of batches "
    "(a DataLoader, say)"
)


def check_calibration(batches: Any, argument: str = "calibration") -> None:
    """Check all of `calibration=` that can be checked without a network.

    Args:
        batches: What was given.
        argument: The name of the argument, for messages.

    Raises:
        EditError: It is nothing that batches could come from.
    """
    if batches is None or isinstance(batches, (torch.Tensor, np.ndarray, Calibration)):
        return
    if isinstance(batches, (str, bytes, type)) or not isinstance(batches, Iterable):
        shown = "class" if isinstance(batches, type) else type(batches).__name__
        raise EditError(f"{argument}= cannot be a {shown}: {_FORMS}")


@dataclasses.dataclass(frozen=True)
class CalibrationBatch:
    """One batch of calibration data.

    Attributes:
        number: Its place among the batches, from 1 on.
        inputs: The value of each input vertex, by its name.
        samples: The number of samples in it.
        given: The batch as it was given, with labels if there are some.
    """

    number: int
    inputs: dict[str, Any]
    samples: int
    given: Any

    def part(self, start: int, stop: int) -> CalibrationBatch:
        """Some of its samples, those from `start` to before `stop`, of the labels, too."""

        def cut(leaf: Any) -> Any:
            """Return the samples of a tensor that has a row for each."""
            stacked = isinstance(leaf, (torch.Tensor, np.ndarray)) and leaf.ndim > 0
            return leaf[start:stop] if stacked and len(leaf) == self.samples else leaf

        samples = min(stop, self.samples) - start
        return CalibrationBatch(
            self.number, map_leaves(self.inputs, cut), samples, map_leaves(self.given, cut)
        )


class Calibration:
    """Batches of example inputs for a graph, to be gone through as often as needed.

    Batches of a generator are kept, as it gives them once; those of a DataLoader or list are not.

    Args:
        graph: The graph, whose example says what its inputs are.
        batches: See the docstring of this module.
        argument: The name of the user's argument, for messages.

    Raises:
        EditError: There are no batches, or (while iterating) one does not fit; the message names it.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> graph = capture(torch.nn.Linear(4, 2), torch.zeros(1, 4))
        >>> images, labels = torch.randn(5, 4), torch.arange(5)
        >>> batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]
        >>> [(batch.samples, [*batch.inputs]) for batch in Calibration(graph, batches)]
        [(3, ['input']), (2, ['input'])]
    """

    def __init__(self, graph: Recording, batches: Any, argument: str = "calibration") -> None:
        check_calibration(batches, argument)
        if batches is None:
            raise EditError(f"{argument}= holds no data: {_FORMS}")
        self.graph, self._argument = graph, argument
        self._batches = self._as_batches(batches)
        self._dims = neuron_dimensions(graph)
        self._samples: int | None = None

    def __iter__(self) -> Iterator[CalibrationBatch]:
        count = 0
        for number, given in enumerate(self._batches, 1):
            batch = self.read(number, given)
            count += batch.samples
            yield batch
        if not count and self._samples is None:
            raise EditError(f"{self._argument}= gave no batches: {_FORMS}")
        if self._samples not in (None, count):
            raise EditError(
                f"{self._argument}= gave {self._samples} samples at first and {count} when it was gone "
                "through again; give a list or a DataLoader, which give the same each time"
            )
        self._samples = count

    def first(self, samples: int | None) -> Iterator[CalibrationBatch]:
        """The batches up to a number of samples, the last one cut; all of them for None."""
        left = samples
        for batch in self:
            if left is None:
                yield batch
                continue
            if left <= 0:
                return
            yield batch if batch.samples <= left else batch.part(0, left)
            left -= batch.samples

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Run a block in eval mode; flags, buffers and random numbers are as before after it."""
        with preserved(self.graph.module):
            yield

    def run(self, batch: CalibrationBatch, interpreter: Interpreter | None = None) -> Any:
        """The output of the graph for a batch.

        Args:
            batch: The batch.
            interpreter: What runs the graph; a new one by default.

        Raises:
            EditError: It does not run.
        """
        try:
            return (interpreter or Interpreter(self.graph)).run(dict(batch.inputs))
        except EditError:
            raise
        except Exception as error:
            usual, count = _example_samples(self.graph), batch.samples
            told = f" with {count} samples (the example has {usual})" if usual != count else ""
            raise EditError(
                f"the network does not run on batch {batch.number} of {self._argument}={told}: {error}"
            ) from error

    # Reading

    def _as_batches(self, batches: Any) -> Iterable[Any]:
        if isinstance(batches, Calibration):
            return batches._batches
        if isinstance(batches, (torch.Tensor, np.ndarray)):
            return _Chunks(batches, _at_once(self.graph))
        if isinstance(batches, Mapping):
            return _Chunks(dict(batches), _at_once(self.graph))
        if isinstance(batches, Iterator):
            return list(batches)
        found: Iterable[Any] = batches
        return found

    def read(self, number: int, given: Any) -> CalibrationBatch:
        """One batch, checked.

        Args:
            number: Its place among the batches, from 1 on.
            given: The batch as it was given.

        Raises:
            EditError: It does not fit the inputs of the network.
        """
        values = self._by_name(number, given)
        samples: dict[str, int] = {}
        inputs: dict[str, Any] = {}
        for vertex in self.graph.inputs:
            value = map_leaves(values[vertex.name], _as_tensor)
            try:
                found = list(pairs(vertex.output, value))
            except ValueError as error:
                raise EditError(
                    f"{_place(self._argument, number, vertex.name)} is not as in the example: {error}"
                ) from error
            for stub, tensor, at in found:
                if isinstance(stub, Stub) and stub.shape:
                    samples[f"{vertex.name}{at}"] = self._check(number, f"{vertex.name}{at}", stub, tensor)
            inputs[vertex.name] = self._placed(vertex.name, value)
        counts = set(samples.values())
        if len(counts) != 1 and not self._sizes_differ():
            shown = ", ".join(f"{count} of {name!r}" for name, count in samples.items())
            raise EditError(f"batch {number} of {self._argument}= has different numbers of samples: {shown}")
        return CalibrationBatch(number, inputs, counts.pop() if len(counts) == 1 else 1, given)

    def _sizes_differ(self) -> bool:
        """Tell whether the inputs of the example differ in their first sizes, which then are no samples."""
        return len(set(_first_sizes(self.graph))) > 1

    def _by_name(self, number: int, given: Any) -> dict[str, Any]:
        """The values of a batch by the names of inputs, without labels."""
        names = [vertex.name for vertex in self.graph.inputs]
        if isinstance(given, Mapping):
            missing = [name for name in names if name not in given]
            if missing:
                raise EditError(
                    f"batch {number} of {self._argument}= has no {missing[0]!r} among "
                    f"{', '.join(map(str, given))}"
                )
            return {name: given[name] for name in names}
        single = isinstance(given, (torch.Tensor, np.ndarray))
        if not single and not isinstance(given, (tuple, list)):
            raise EditError(
                f"batch {number} of {self._argument}= is a {type(given).__name__}: give a tensor, a tuple of "
                f"the inputs ({', '.join(names)}) or a dict by their names"
            )
        values = [given] if single else list(given)
        if len(values) < len(names):
            raise EditError(
                f"batch {number} of {self._argument}= has {len(values)} values for the {len(names)} inputs "
                f"of the network ({', '.join(names)})"
            )
        return dict(zip(names, values, strict=False))

    def _check(self, number: int, name: str, stub: Stub, tensor: Any) -> int:
        """Check one tensor of a batch against that of the example, and return its number of samples."""
        where = _place(self._argument, number, name)
        if not isinstance(tensor, torch.Tensor):
            raise EditError(f"{where} is a {type(tensor).__name__}, not a tensor")
        if tensor.dtype.is_floating_point != stub.dtype.is_floating_point:
            kinds = [str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, stub.dtype)]
            raise EditError(
                f"{where} is of {kinds[0]}, in the example of {kinds[1]}: inputs come first, "
                "labels after them"
            )
        sizes, wanted = tuple(tensor.shape), stub.shape
        # Whole numbers, as tokens, are looked up or are masks: their sizes are lengths, which may differ.
        neurons = self._dims.get(tensor_key(stub)) if stub.dtype.is_floating_point else None
        if len(sizes) != len(wanted) or (neurons and sizes[neurons] != wanted[neurons]):
            raise EditError(
                f"{where} has shape {sizes}, in the example {wanted}; all but the number of samples, the "
                "first size, has to be as there"
            )
        if 0 in sizes:
            raise EditError(f"{where} is empty, of shape {sizes}")
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise EditError(f"{where} holds values that are not a number (NaN)")
        return sizes[0]

    def _placed(self, name: str, value: Any) -> Any:
        """A value of an input, on the device and of the dtype of the example."""
        example = leaves(self.graph.example.get(name))
        tensors = [leaf for leaf in example if isinstance(leaf, torch.Tensor) and not leaf.is_meta]

        def placed(leaf: Any) -> Any:
            """Return a tensor where the network expects it."""
            if not isinstance(leaf, torch.Tensor) or not tensors:
                return leaf
            like = next((t for t in tensors if t.is_floating_point() == leaf.is_floating_point()), tensors[0])
            return leaf.to(device=like.device, dtype=like.dtype if like.is_floating_point() else leaf.dtype)

        return map_leaves(value, placed)


class _Chunks:
    """One stack of samples, cut into batches of a size."""

    def __init__(self, stack: Any, size: int) -> None:
        self._stack, self._size = stack, size
        values = stack.values() if isinstance(stack, dict) else [stack]
        counts = [len(v) for v in values if isinstance(v, (torch.Tensor, np.ndarray)) and v.ndim]
        self._samples = max(counts, default=0)
        self._together = len(set(counts)) > 1

    def __iter__(self) -> Iterator[Any]:
        if self._together:  # nothing to cut: one batch, or a mistake that is told as it is read
            yield self._stack
            return
        for start in range(0, self._samples, self._size):
            stop = min(start + self._size, self._samples)
            if isinstance(self._stack, dict):
                yield {name: self._cut(value, start, stop) for name, value in self._stack.items()}
            else:
                yield self._stack[start:stop]

    def _cut(self, value: Any, start: int, stop: int) -> Any:
        stacked = isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim > 0
        return value[start:stop] if stacked else value


def _at_once(graph: Recording) -> int:
    """The number of samples to run at once, by the sizes of all values of the example's run."""
    stubs = [stub for vertex in graph.vertices for stub in stubs_in(vertex.output)]
    memory = sum(math.prod(stub.shape) * stub.dtype.itemsize for stub in stubs)
    return max(_FEWEST, min(_MOST, _MEMORY * _example_samples(graph) // max(memory, 1)))


def _example_samples(graph: Recording) -> int:
    """The number of samples of the example, by the first sizes of its inputs."""
    return max(_first_sizes(graph), default=1)


def _first_sizes(graph: Recording) -> list[int]:
    stubs = [stub for vertex in graph.inputs for stub in stubs_in(vertex.output)]
    return [stub.shape[0] for stub in stubs if stub.shape]


def _as_tensor(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):  # gradients cannot pass what was made in inference mode
        return leaf.clone() if leaf.is_inference() else leaf
    return torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fiub" else leaf


def _place(argument: str, number: int, name: str) -> str:
    return f"batch {number} of {argument}=: the input {name!r}"
