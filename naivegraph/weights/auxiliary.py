"""Networks that have a task and predict their own weights besides.

Chang and Lipson, "Neural network quine", ALIFE 2018, section on auxiliary quines.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from naivegraph.edits.request.validate import above_zero, at_least_zero, whole
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.network import Graph
from naivegraph.progress import working
from naivegraph.weights.batched_operators import batched_operators
from naivegraph.weights.fixed_point import FixedPoint
from naivegraph.weights.levenberg_marquardt import least_squares
from naivegraph.weights.quine import quine
from naivegraph.weights.replication import Replication
from naivegraph.weights.weight_vector import WeightVector

__all__ = ["Auxiliary", "AuxiliaryReport", "auxiliary"]

_FALLING = (100.0, 10.0, 3.0, 1.0)  # the weight of replication over time, as a multiple of the last
_NORM = (0.7, 1.5)  # bounds of the norm of the weights, as shares of that at the start


@dataclasses.dataclass(frozen=True)
class AuxiliaryReport:
    """A report on a network with a task that is to predict its own weights, too.

    Attributes:
        fixed_point: How well it does the second, and what kind of fixed point its weights are.
        accuracy: The share of examples that it gets right; None where the task has no classes.
        loss: The mean over examples of the sum of squares of what outputs and targets differ by, a target of
            classes being 1 at the class and 0 elsewhere.
    """

    fixed_point: FixedPoint
    accuracy: float | None
    loss: float

    def __str__(self) -> str:
        right = "" if self.accuracy is None else f"accuracy {self.accuracy:.3f}, "
        return f"task: {right}loss {self.loss:.3g}; replication: {self.fixed_point}"


def auxiliary(
    body: nn.Module,
    task: Iterable[Sequence[Tensor]],
    *,
    weight: float = 1.0,
    gain: float = 3.0,
    seed: int = 0,
) -> Auxiliary:
    """Make a network with a task one that is to predict its own weights, too.

    It has one output more than the task: the last one, times `gain`, predicts a weight when the network is
    given the code of that weight's address, of the shape of an input of the task.

    Args:
        body: The network: from `[batch, *input]` to `[batch, outputs of the task + 1]`. It stays the object
            it is, and is changed in place.
        task: Batches of inputs and targets, such as a `DataLoader`; targets are classes, `[batch]`, or
            numbers, `[batch, outputs]`. They are read once, and kept.
        weight: The weight of the relative loss of replication beside the loss of the task.
        gain: What the last output is multiplied by at first.
        seed: The seed of the codes.

    Raises:
        EditError: The task has no batches of two tensors; the network has not one output more than it, does
            not take its inputs, or has no weights; the weight is not above 0.

    Example:
        >>> x = torch.randn(20, 4)
        >>> body = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2 + 1))
        >>> a = auxiliary(body, task=[(x, (x[:, 0] > 0).long())])
        >>> a.outputs(x).shape, a.report().fixed_point.kind
        (torch.Size([20, 2]), 'none')
    """
    return Auxiliary(body, _examples(task), above_zero(weight, "weight"), gain, seed)


class Auxiliary:
    """A network with a task that is to predict its own weights, too; see `auxiliary`.

    Attributes:
        module: The network.
        weight: The weight of the relative loss of replication.
        quine: The network as a quine, with the last output alone: its graph, codes, gain and history.
    """

    def __init__(
        self, body: nn.Module, examples: tuple[Tensor, Tensor], weight: float, gain: float, seed: int
    ) -> None:
        self._inputs, self._targets = examples
        self.module, self.weight = body, weight
        outputs = self._outputs_of_task()
        try:
            with preserved(body), torch.no_grad():
                out = body(self._inputs[:2])
        except RuntimeError as error:
            shape = tuple(self._inputs.shape[1:])
            raise EditError(f"the network does not take the task's inputs, {shape}: {error}") from error
        if not isinstance(out, Tensor) or out.dim() != 2 or out.shape[1] < outputs + 1:
            told = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise EditError(
                f"the network returns {told} for {len(self._inputs[:2])} inputs, and the task has {outputs} "
                f"outputs: give it {outputs + 1}, of which the last predicts weights"
            )
        self._classes = out.shape[1] - 1
        self.quine = quine(_LastOutput(body), tuple(self._inputs.shape[1:]), gain=gain, seed=seed)
        self._start = float(WeightVector(body).read().norm())

    @property
    def graph(self) -> Graph:
        """The graph of the network with its last output alone; edits of it are followed."""
        return self.quine.graph

    def outputs(self, x: Tensor) -> Tensor:
        """The outputs of the task for inputs, `[batch, outputs]`."""
        out: Tensor = self.module(x)
        return out[:, :-1]

    def solve(
        self,
        seconds: float = 60.0,
        *,
        weights: Sequence[float] | None = None,
        tolerance: float = 1e-9,
        steps: int | None = None,
        chosen: Tensor | None = None,
    ) -> AuxiliaryReport:
        """Change the weights by Levenberg-Marquardt in float64, without matrices, on all examples at once.

        Replication comes first, and the task as its weight falls. The loss of the task is a sum of squares
        here; the norm of the weights stays near that at the start, and the gain is found with them.

        Args:
            seconds: The time it may take, an equal part for each weight.
            weights: The weights of replication, one after another; 100, 10, 3 and 1 times `weight` if None.
            tolerance: The loss at which it is done.
            steps: The most steps for each weight; as many as there is time for if None.
            chosen: The numbers of the examples to take; all of them if None.

        Returns:
            The report on the weights found, which the network has now.
        """
        codes, body, vector = self.quine.codes(), self._body(), WeightVector(self.module)
        some = slice(None) if chosen is None else chosen
        inputs, targets = self._inputs[some].double().cpu(), self._goals()[some].double().cpu()
        bounds = (_NORM[0] * self._start, _NORM[1] * self._start)
        replication = Replication(lambda w, c: body(w, c)[:, -1], codes, self.quine.gain, bounds)
        x, count = replication.unknowns(vector.read()), vector.size

        def residual(x: Tensor, factor: float) -> Tensor:
            """Those of replication and those of the task."""
            off = (body(x[:count], inputs)[:, :-1] - targets) / len(inputs) ** 0.5
            found = replication.residual(x)  # the bounds of the norm count in full, whatever the weight
            return torch.cat([factor * found[:count], found[count:], off.reshape(-1)])

        at_least_zero(seconds, "seconds")
        at_least_zero(tolerance, "tolerance")
        vector.check_finite()
        falling = [above_zero(each, "weights") for each in weights or []]
        falling = falling or [each * self.weight for each in _FALLING]
        with working("solving for task and weights") as say:
            for now in falling:
                factor = now**0.5 / self._start
                x = least_squares(
                    lambda x, factor=factor: residual(x, factor),  # type: ignore[misc]
                    x,
                    seconds=seconds / len(falling),
                    tolerance=tolerance,
                    steps=steps,
                    watch=lambda _, loss, now=now: say(  # type: ignore[misc]
                        f"solving for task and weights: weight {now:g}, loss {loss:.3g}"
                    ),
                ).x
        found, self.quine.gain = replication.found(x)
        vector.write(found)
        return self.report()

    def train(self, optimizer: torch.optim.Optimizer, *, epochs: int, batch: int = 64) -> AuxiliaryReport:
        """Train by an optimizer of the network's parameters, on batches of examples and all weights.

        The loss of the task is the cross entropy, or the mean square where it has no classes; that of
        replication, `weight` times the relative loss. The gain stays.

        Args:
            optimizer: Such as `torch.optim.Adam(a.module.parameters())`.
            epochs: The passes over the task.
            batch: The examples of a batch.

        Raises:
            EditError: The loss is no number any more; the network is as it was before that step.
        """
        whole(epochs, "epochs", 1)
        whole(batch, "batch", 1)
        like = next(self.module.parameters())
        codes, modes = self.quine.codes().to(like), [(m, m.training) for m in self.module.modules()]
        self.module.train()
        try:
            with working("training for task and weights") as say:
                for epoch in range(epochs):
                    loss = self._epoch(optimizer, codes, batch)
                    say(f"training for task and weights: {epoch + 1} of {epochs} epochs, loss {loss:.3g}")
        finally:
            for each, mode in modes:
                each.training = mode
        return self.report()

    def _epoch(self, optimizer: torch.optim.Optimizer, codes: Tensor, batch: int) -> float:
        """A pass over the task; return the last loss."""
        now = 0.0
        for some in torch.split(torch.randperm(len(self._inputs)), batch):
            optimizer.zero_grad()
            out, targets = self.outputs(self._inputs[some]), self._targets[some]
            loss = F.mse_loss(out, targets) if self._numbers() else F.cross_entropy(out, targets)
            loss = loss + self.weight * self._relative(codes)
            now = loss.item()
            if not math.isfinite(now):
                raise EditError(
                    f"the loss is {now}: take a smaller learning rate, and initialise the network"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return now

    def regenerate(self, times: int = 1, task: Iterable[Sequence[Tensor]] | None = None) -> list[float]:
        """Replace the weights by their predictions.

        Args:
            times: The number of times.
            task: Other examples, by which the accuracy is measured.

        Returns:
            The accuracy after each time, or the loss where the task has no classes.
        """
        found = []
        for _ in range(times):
            self.quine.regenerate()
            now = self.report(task)
            found.append(now.loss if now.accuracy is None else now.accuracy)
        return found

    def report(
        self, task: Iterable[Sequence[Tensor]] | None = None, *, tolerance: float = 1e-4
    ) -> AuxiliaryReport:
        """Tell how well it does both.

        Args:
            task: Other examples than those it was made with, such as held-out ones.
            tolerance: The relative loss up to which weights count as a fixed point.
        """
        inputs, targets = (self._inputs, self._targets) if task is None else _examples(task)
        vector, body = WeightVector(self.module), self._body()
        with torch.no_grad():
            out = body(vector.read(), inputs.double().cpu())[:, :-1]
        goals = self._goals(targets).double().cpu()
        right = None if self._numbers() else (out.argmax(1) == targets.cpu()).double().mean().item()
        loss = (out - goals).square().sum(1).mean().item()
        return AuxiliaryReport(self.quine.report(tolerance), right, loss)

    def _body(self) -> Callable[[Tensor, Tensor], Tensor]:
        """All outputs as a function of weights and inputs, in eval mode."""
        network, vector = copy.deepcopy(self.module).double().cpu().eval(), WeightVector(self.module)

        def outputs(weights: Tensor, x: Tensor) -> Tensor:
            """Run the network with these weights."""
            with batched_operators():
                out: Tensor = functional_call(network, dict(vector.split(weights)), (x,))
            return out

        return outputs

    def _relative(self, codes: Tensor) -> Tensor:
        """The relative loss of replication, to be differentiated; norms and dropout act as in eval mode."""
        weights = torch.cat([each.reshape(-1) for each in self.module.parameters()])
        with preserved(self.module, buffers=False):
            predicted = self.quine.gain * self.module(codes)[:, -1]
        loss: Tensor = (weights - predicted).square().sum() / weights.square().sum()
        return loss

    def _numbers(self) -> bool:
        """Tell whether targets are numbers, not classes."""
        return self._targets.is_floating_point()

    def _outputs_of_task(self) -> int:
        return self._targets.shape[1] if self._numbers() else int(self._targets.max()) + 1

    def _goals(self, targets: Tensor | None = None) -> Tensor:
        """The targets as numbers, `[examples, outputs]`."""
        some = self._targets if targets is None else targets
        outputs = some.shape[1] if some.dim() == 2 else int(some.max()) + 1
        if some.dim() != self._targets.dim() or outputs > self._classes:
            raise EditError(
                f"the examples have targets {tuple(some.shape)} of {some.dtype} for {outputs} outputs, and "
                f"are to be like those of the task, for {self._classes}"
            )
        if self._numbers():
            return some
        goals: Tensor = F.one_hot(some, self._classes)
        return goals


class _LastOutput(nn.Module):
    """A network with its last output alone."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Predict weights of codes, `[batch, 1]`."""
        out: Tensor = self.body(x)
        return out[:, -1:]


def _examples(task: Iterable[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """All inputs and targets of batches."""
    inputs, targets = [], []
    for x, y in _pairs(task):
        inputs.append(x)
        targets.append(y)
    if not inputs:
        raise EditError("the task has no batches, or was read before: give a list or a DataLoader")
    for what, parts in (("inputs", inputs), ("targets", targets)):
        shapes = {tuple(each.shape[1:]) for each in parts}
        if len(shapes) > 1 or len({each.dtype for each in parts}) > 1:
            raise EditError(
                f"the {what} of the task's batches have several shapes or types: {sorted(shapes)}"
            )
        if not all(bool(each.isfinite().all()) for each in parts):
            raise EditError(f"the task's {what} hold numbers that are not finite: leave these examples out")
    all_x, all_y = torch.cat(inputs), torch.cat(targets)
    kinds = {torch.int64: 1, torch.float16: 2, torch.bfloat16: 2, torch.float32: 2, torch.float64: 2}
    if not len(all_x) or len(all_x) != len(all_y) or all_y.dim() != kinds.get(all_y.dtype):
        raise EditError(
            f"the task has inputs {tuple(all_x.shape)} and targets {tuple(all_y.shape)} of {all_y.dtype}: "
            "give as many targets as inputs, classes [batch] of int64 or numbers [batch, outputs]"
        )
    if all_y.dim() == 1 and int(all_y.min()) < 0:
        raise EditError(f"the task has a class {int(all_y.min())}: classes count from 0")
    return all_x, all_y


def _pairs(task: Iterable[Sequence[Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    for each in task:
        if (
            not isinstance(each, (tuple, list))
            or len(each) != 2
            or not all(isinstance(t, Tensor) for t in each)
        ):
            raise EditError("the task is batches (inputs, targets) of tensors, such as those of a DataLoader")
        yield each[0], each[1]
