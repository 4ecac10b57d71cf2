"""The verb that refits the weights of an edited network to the network before the edit."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from naivegraph.calibration import check_calibration
from naivegraph.edits import Change, Edit
from naivegraph.edits.apply.apply import apply, checkpoint_of
from naivegraph.edits.apply.optimizer_state import as_optimizers
from naivegraph.edits.apply.refit_report import RefitReport
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import check_model
from naivegraph.errors import EditError
from naivegraph.graph.export.history import history_of
from naivegraph.graph.torch_utils.module_paths import buffers_of, parameters_of
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.ir.signature import keyword_inputs, nested_arguments
from naivegraph.network import Graph, capture
from naivegraph.reconstruct.correspondence import Correspondence
from naivegraph.reconstruct.refit import SAMPLES, run_refit, some_batches
from naivegraph.undo import all_or_nothing

__all__ = ["RefitWithEdit", "reconstruct"]

Progress = Callable[[str], object]


@ordinary_mode()
def reconstruct(
    model: nn.Module | Graph,
    teacher: nn.Module | Graph,
    calibration: Any,
    *,
    example: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    samples: int | None = SAMPLES,
    optimizer: Any = None,
    progress: Progress | None = None,
) -> Edit:
    """Refit the weights of an edited network, in place, so that its layers give again what they gave before.

    No labels and no training: layer by layer, in the order of the graph, the weights of each convolution,
    linear layer and product with a weight are solved for by least squares. Their inputs are those of the
    edited network, whose earlier layers were refitted already; the target is the output of the same layer in
    the network before the edit, at the channels that are left. Where the layer's branch ends in a sum, what
    the other summand lost is made up for, too (He, Zhang and Sun, "Channel pruning for accelerating very deep
    neural networks", ICCV 2017, section 3.2). The solution keeps near the weights as they are: the weight of
    that penalty is the one of least error on every 8th sample, which is held out. A shift of a layer without
    bias goes into the mean of the batch norm behind it. Sums are in float64; a layer which no solution makes
    better keeps its weights.

    It takes about two runs of the samples and, per layer, products and a solve of the size of its weights. It
    holds what later layers still need of the samples in both networks, up to 1 GiB (or one batch), and of one
    layer `(inputs * kernel)^2 * 16` bytes per group; layers before which all samples would take more are
    fitted to the first batches alone. Layers whose weight is used in several places or is computed from
    others, and recurrent ones, are left as they are, with a note.

    Args:
        model: The edited network, or its graph.
        teacher: The network before the edit (a copy made then), or its graph; it is left as it is.
        calibration: Example inputs: a tensor of samples or an iterable of batches such as a DataLoader, with
            or without labels; see `naivegraph.calibration`.
        example: Of a network: the example to capture it with; by default the first batch.
        kwargs: Keyword inputs of the example.
        samples: The number of samples to use, the first ones; None for all.
        optimizer: Optimizers and schedulers of the model, whose state `undo` restores, too.
        progress: Called with a sentence before each layer.

    Returns:
        The edit: `edit.refit` has the errors by layer, `edit.undo()` restores the weights bit for bit.

    Raises:
        CaptureError: A network could not be captured.
        EditError: A batch does not fit, a network does not run on one, or it cannot be known which neurons
            are left of the teacher. The network is then as it was.

    Example:
        >>> import copy, torch, naivegraph as ng
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
        >>> x, before = torch.randn(512, 8), copy.deepcopy(net)
        >>> _ = ng.prune(net, x[:1], macs=0.5)
        >>> def error():
        ...     return (net(x) - before(x)).square().mean().item()
        >>> pruned = error()
        >>> edit = ng.reconstruct(net, before, x)
        >>> error() < 0.8 * pruned
        True
    """
    check_model("reconstruct", model)
    check_model("reconstruct", teacher)
    check_calibration(calibration)
    if samples is not None:
        validate.whole(samples, "samples", 1)
    say = progress or (lambda sentence: None)
    optimizers = as_optimizers(optimizer)
    batches = list(calibration) if isinstance(calibration, Iterator) else calibration
    target = model if isinstance(model, Graph) else unwrapped(model)
    student, before = _graphs(target, teacher, batches, example, kwargs)
    correspondence = _related(before.module, student.module)
    given, notes = some_batches(student, batches, samples)
    checkpoint = checkpoint_of(student.module, Change({}, {}, []), optimizers)
    with all_or_nothing() as log:
        refit, report = run_refit(before, student, correspondence, given, log, say)
        change = Change({}, {}, [], refitted=_names_of(refit.written, student.module))
        asked = {"reconstruct": type(before.module).__name__, "samples": samples}
        return apply(
            change, target, optimizer=optimizers, asked=asked, notes=notes, undo=log, checkpoint=checkpoint,
            refit=report,
        )  # fmt: skip


class RefitWithEdit:
    """A refit to come, made before the edit.

    Args:
        graph: The graph of the network, whose sizes are about to change.
        calibration: Batches of example inputs.
        followers: The optimizers and averages that the edit was given.
        say: Called with a sentence per layer.

    Raises:
        EditError: A batch does not fit, or the network cannot be copied.

    Attributes:
        notes: Sentences for the reader.
    """

    def __init__(
        self, graph: Graph, calibration: Any, followers: Iterable[Any], say: Callable[[str], object]
    ) -> None:
        self._batches, self.notes = some_batches(graph, calibration, SAMPLES)
        try:
            self._teacher = copy.deepcopy(graph)
        except Exception as error:
            raise EditError(
                f"the refit to calibration data needs a copy of the network, which cannot be made ({error}); "
                "refit=False prunes without"
            ) from error
        self._graph, self._say = graph, say
        if any(isinstance(each, AveragedModel) for each in followers):
            self.notes += ("Averages of the network are pruned with it, but not refitted.",)

    def run(self, change: Change) -> RefitReport:
        """Refit the network after the change.

        Raises:
            EditError: A network does not run on a batch; the weights are as the change left them.
        """
        correspondence = Correspondence([change], self._teacher.module, self._graph.module)
        with all_or_nothing() as undo:
            _, report = run_refit(self._teacher, self._graph, correspondence, self._batches, undo, self._say)
        return report


def _graphs(
    model: nn.Module | Graph, teacher: nn.Module | Graph, batches: Any, example: Any, kwargs: Any
) -> tuple[Graph, Graph]:
    """The graphs of the edited network and of the one before."""
    if isinstance(model, Graph):
        if example is not None or kwargs is not None:
            raise EditError("a graph has its example already: leave example= and kwargs= out")
        student = model
        args, named = nested_arguments(model.module, {**model.constants, **model.example})
    else:
        args, named = _example(model, batches, example, kwargs)
        student = capture(model, args, named)
    before = teacher if isinstance(teacher, Graph) else capture(unwrapped(teacher), args, named)
    shared = {id(tensor) for tensor in _tensors(before.module).values()}
    if before.module is student.module or any(id(t) in shared for t in _tensors(student.module).values()):
        raise EditError(
            "the teacher shares parameters with the model: give a copy of the network that was made before "
            "the edit (copy.deepcopy)"
        )
    return student, before


def _example(
    model: nn.Module, batches: Any, example: Any, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The example to capture a network with: the one given, or the inputs of the first batch."""
    if example is not None or kwargs is not None:
        given = () if example is None else example
        return (tuple(given) if isinstance(given, (tuple, list)) else (given,)), keyword_inputs(kwargs)
    stacked = isinstance(batches, (torch.Tensor, np.ndarray, Mapping))
    first = batches if stacked else next(iter(batches), None)
    if first is None:
        raise EditError("calibration= gave no batches: give example inputs")
    parameters = inspect.signature(model.forward).parameters
    if isinstance(first, Mapping):
        return (), {name: _few(value) for name, value in first.items() if name in parameters}
    if not isinstance(first, (tuple, list)):
        return (_few(first),), {}
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters.values() if p.kind in positional and p.default is inspect.Parameter.empty]
    return tuple(_few(value) for value in first[: max(len(needed), 1)]), {}


def _few(value: Any) -> Any:
    """The first two samples of a tensor."""
    tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    return tensor[:2] if isinstance(tensor, torch.Tensor) and tensor.dim() else tensor


def _related(teacher: nn.Module, student: nn.Module) -> Correspondence:
    """The channels that are left of the teacher, by the edits in the student's history that are not in its.

    Raises:
        EditError: These do not lead from the one to the other.
    """
    done, before = history_of(student), history_of(teacher)
    changes = (
        [Change.from_json(text) for text in done[len(before) :]] if done[: len(before)] == before else []
    )
    found = Correspondence(changes, teacher, student)
    name = found.misfit(student)
    if name is not None:
        known = f"{len(changes)} edits in its history" if changes else "no edits in its history that tell"
        raise EditError(
            f"it cannot be known which neurons of the teacher are left in the model: {name} has another "
            f"shape, and the model has {known}. Give as the teacher the copy that was made of the network "
            "before naivegraph edited it"
        )
    return found


def _names_of(written: Sequence[torch.Tensor], module: nn.Module) -> tuple[str, ...]:
    """The names of tensors of a network, or of those that they are views of, as of packed projections."""
    names = {id(tensor): name for name, tensor in _tensors(module).items()}
    whole = (tensor if tensor._base is None or id(tensor) in names else tensor._base for tensor in written)
    return tuple(dict.fromkeys(names[id(tensor)] for tensor in whole))


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a network by name."""
    return {**parameters_of(module), **buffers_of(module)}
