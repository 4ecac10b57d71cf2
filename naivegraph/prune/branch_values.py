"""The utility of branches, in the unit of the neurons' utilities."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from naivegraph.calibration import Calibration, CalibrationBatch
from naivegraph.errors import EditError
from naivegraph.graph.run.caches import caches_at, without_caches
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.ir.pytree import leaves, map_leaves, stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.prune.branches import Branch
from naivegraph.utility.collect import Floats
from naivegraph.utility.criteria import Criterion, CriterionData, criterion
from naivegraph.utility.data_criterion import batch_loss
from naivegraph.widths import Width, Widths

__all__ = ["branch_values"]

SAMPLES = 128  # more tell branches apart little better
_OF_LOSS = 32  # samples for a loss, which each run by themselves
_FEW = 64


def branch_values(
    widths: Widths,
    branches: Sequence[Branch],
    values: Mapping[Width, Floats],
    utility: Any,
    data: CriterionData,
) -> tuple[list[float], tuple[str, ...]]:
    """The utility of keeping each branch, and notes on how it was measured.

    What leaving a branch out changes is measured: the network runs with zeros in place of what it gives, or
    of a layer with what it takes in place of what it gives. With
    a criterion that estimates the squared change of the outputs (or of the loss) by a neuron, as "fisher" and
    "taylor" do with calibration data, that is the mean of it over samples, in the unit of the criterion.
    Other criteria have no such unit. Then a branch counts for as many layers as it has, each for as much as
    the layers of the network on average (all of the neurons' utility, divided by the number of layers), more
    or less in the proportion in which leaving it out changes the outputs, on the example without data.

    Args:
        widths: The related axes of a graph.
        branches: The branches.
        values: The values of neurons.
        utility: What they were valued by.
        data: The calibration data and the loss, if there are some.

    Raises:
        EditError: The network does not run, or gives no finite numbers.
    """
    graph = widths.graph
    chosen = criterion(utility) if isinstance(utility, str) else utility
    unit = chosen.squared_change if isinstance(chosen, Criterion) else None
    if unit is not None and data.calibration is not None and data.loss is not None:
        changes, samples = _changes_of_loss(graph, branches, data, data.calibration)
        return [unit * change for change in changes], _notes(samples)
    changes, samples = _changes_of_outputs(graph, branches, data.calibration)
    if unit is not None and data.calibration is not None:
        return [unit * change for change in changes], _notes(samples)
    layers = {contraction.where for contraction in widths.contractions}
    total = sum(float(v.clip(min=0).sum()) for v in values.values())
    mean = sum(changes) / len(changes) or 1.0
    shares = [len(layers & branch.inside) / len(layers) for branch in branches]
    found = [total * share * change / mean for share, change in zip(shares, changes, strict=True)]
    if data.calibration is None:
        return found, (
            "What branches are worth was measured on the example alone, and set against the neurons' values "
            "by rule of thumb: calibration= gives both one unit.",
        )
    return found, _notes(samples)


def _notes(samples: int) -> tuple[str, ...]:
    if samples >= min(_FEW, _OF_LOSS):
        return ()
    return (f"What branches are worth was measured on {samples} samples, which is little.",)


def _changes_of_outputs(
    graph: Recording, branches: Sequence[Branch], calibration: Calibration | None
) -> tuple[list[float], int]:
    """The mean over samples of the squared change of the outputs without each branch, and the samples."""
    totals, samples = [0.0] * len(branches), 0
    with torch.no_grad(), preserved(graph.module):
        for batch in _batches(graph, calibration):
            output, others = _outputs(graph, branches, batch)
            base = _floats(output)
            for number, other in enumerate(others):
                pairs = zip(base, _floats(other), strict=True)
                totals[number] += sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
            samples += batch.samples
    return _finite([total / samples for total in totals], branches), samples


def _batches(graph: Recording, calibration: Calibration | None) -> Iterator[CalibrationBatch]:
    """The batches to measure on: of the calibration data, or the example."""
    if calibration is not None:
        yield from calibration.first(SAMPLES)
    else:
        yield CalibrationBatch(1, graph.example, 1, None)


def _outputs(graph: Recording, branches: Sequence[Branch], batch: CalibrationBatch) -> tuple[Any, list[Any]]:
    """The output of a batch, and those without each branch, which run from the branch's sum on."""
    run, inputs = _Forking(graph), _copied(batch.inputs)
    found: dict[int, Any] = {}
    starts = [branch.vertices[0] if branch.entry is not None else branch.total for branch in branches]
    try:
        for position, vertex in enumerate(graph.vertices):
            for number, branch in enumerate(branches):
                if starts[number] == vertex.name:
                    other = run.without(graph, branch)
                    for later in range(position, len(graph.vertices)):
                        if branch.entry is None or graph.vertices[later].name not in branch.inside:
                            other.step(later, inputs)
                    found[number] = other.output()
            run.step(position, inputs)
    except Exception as error:
        raise EditError(f"the network does not run without a branch: {error}") from error
    return run.output(), [found[number] for number in range(len(branches))]


def _changes_of_loss(
    graph: Recording, branches: Sequence[Branch], data: CriterionData, calibration: Calibration
) -> tuple[list[float], int]:
    """The mean over samples of the squared change of the loss without each branch, and the samples."""
    totals, samples = [0.0] * len(branches), 0
    signs = torch.Generator()
    with torch.no_grad(), calibration.evaluating():
        for batch in calibration.first(_OF_LOSS):
            for start in range(batch.samples):
                sample = batch.part(start, start + 1)
                losses = [
                    float(batch_loss(data, calibration, sample, _Without(graph, branch), signs))
                    for branch in (None, *branches)
                ]
                totals = [t + (each - losses[0]) ** 2 for t, each in zip(totals, losses[1:], strict=True)]
            samples += batch.samples
    return _finite([total / samples for total in totals], branches), samples


def _finite(changes: list[float], branches: Sequence[Branch]) -> list[float]:
    for change, branch in zip(changes, branches, strict=True):
        if not math.isfinite(change):
            raise EditError(f"without the branch {branch.name!r} the network gives no finite numbers")
    return changes


def _floats(output: Any) -> list[torch.Tensor]:
    return [leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def _copied(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs that a network may write to."""
    copied: dict[str, Any] = map_leaves(
        inputs, lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
    )
    return copied


def _summand(graph: Recording, branch: Branch) -> Stub:
    found: Stub = graph[branch.total].args[branch.place]
    return found


class _Uncached(Interpreter):
    """A run that gives no caches, in which a layer that goes has none."""

    def output(self) -> Any:
        """The network's output; see the base."""
        graph = self._graph
        return map_leaves(without_caches(graph.output, caches_at(graph)), self._resolve_leaf)


class _Forking(_Uncached):
    """A run that can go on in several ways from where it is."""

    def without(self, graph: Recording, branch: Branch) -> _Forking:
        """The same run without a branch; what it computes in place does not reach this one.

        There are zeros for a summand; what a layer takes, for what it gives.
        """
        other = copy.copy(self)
        other._tensors = {number: tensor.clone() for number, tensor in self._tensors.items()}
        other._sizes, other.values = dict(self._sizes), {}
        if branch.entry is None:
            stub = _summand(graph, branch)
            other._tensors[stub.id] = torch.zeros_like(self._tensors[stub.id])
        else:
            _pass_on(other, graph, branch)
        return other


def _pass_on(run: Interpreter, graph: Recording, branch: Branch) -> None:
    """Let a run have a copy of what a layer takes for what it gives."""
    assert branch.entry is not None
    for stub in stubs_in(graph[branch.total].output):
        run._set(stub, run._tensors[branch.entry.id].clone())


class _Without:
    """Makes runs of a graph with zeros in place of what a branch gives."""

    def __init__(self, graph: Recording, branch: Branch | None) -> None:
        self._graph, self._branch = graph, branch

    def __call__(self) -> Interpreter:
        """Make one."""
        return Interpreter(self._graph) if self._branch is None else _Zeroing(self._graph, self._branch)


class _Zeroing(_Uncached):
    """A run with zeros in place of what a branch gives, or with what a layer takes."""

    def __init__(self, graph: Recording, branch: Branch) -> None:
        super().__init__(graph)
        self._branch = branch

    def step(self, position: int, inputs: dict[str, Any]) -> Any:
        """Run the vertex at a position; see the base."""
        name, branch = self._graph.vertices[position].name, self._branch
        if branch.entry is not None and name in branch.inside:
            if name == branch.vertices[0]:
                _pass_on(self, self._graph, branch)
            return None
        if name == branch.total:
            stub = _summand(self._graph, branch)
            self._set(stub, torch.zeros_like(self._tensors[stub.id]))
        return super().step(position, inputs)
