"""Criteria that learn from data: what they are given, and how the loss of it is worked out."""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Self

import torch

from naivegraph.calibration import Calibration, CalibrationBatch
from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.ir.pytree import leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import bind
from naivegraph.utility.criteria import Criterion, CriterionData

__all__ = ["DataCriterion", "batch_loss", "loss_of", "takes_batch"]


@dataclasses.dataclass(frozen=True)
class DataCriterion(Criterion):
    """Criterion that learns from calibration data, a loss, or both.

    Attributes:
        data: What it learns from; verbs give it (`calibration=`, `loss=`).
    """

    data: CriterionData | None = dataclasses.field(default=None, compare=False, repr=False, kw_only=True)

    def with_data(self, data: CriterionData) -> Self:
        """See the base."""
        return dataclasses.replace(self, data=data)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name that it is registered by."""

    def calibration(self) -> Calibration:
        """The calibration data.

        Raises:
            EditError: There is none.
        """
        if self.data is None or self.data.calibration is None:
            raise EditError(
                f'utility="{self.name}" needs calibration=, batches of example inputs such as a DataLoader '
                "(labels may come along)"
            )
        return self.data.calibration


def takes_batch(loss: Callable[..., Any]) -> bool:
    """Tell whether a loss takes a batch besides the network."""
    try:
        inspect.signature(loss).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # of functions without a signature
        return False
    return True


def batch_loss(
    data: CriterionData,
    calibration: Calibration,
    batch: CalibrationBatch,
    interpreter: Callable[[], Interpreter],
    signs: torch.Generator,
) -> torch.Tensor:
    """The loss of one batch, summed up over its samples.

    Without a loss of the user's it is the sum of the outputs, each times a random sign. The mean square of
    its derivative is then that of the outputs themselves, summed over them: the Gauss-Newton curvature of the
    squared error between the outputs before and after (Martens, "New insights and perspectives on the natural
    gradient method", JMLR 2020, section 8; random signs: Hutchinson 1990). It needs no labels.

    Args:
        data: The user's loss, if there is one: a function of the network and a batch as it was given.
        calibration: The calibration data.
        batch: The batch.
        interpreter: Makes what runs the graph.
        signs: The source of random signs.
    """
    if data.loss is None:
        return _signed_outputs(calibration.run(batch, interpreter()), signs)
    if not takes_batch(data.loss):
        raise EditError(
            "with calibration= and this criterion, loss= takes the network and a batch of calibration= as it "
            "was given: loss=lambda network, batch: ..."
        )
    return loss_of(data.loss(_Runnable(calibration.graph, interpreter), batch.given)) * batch.samples


def loss_of(value: Any) -> torch.Tensor:
    """The value of a loss.

    Raises:
        EditError: It is no single number.
    """
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise EditError("loss= must return one number as a tensor")
    return value.reshape(())


def _signed_outputs(output: Any, signs: torch.Generator) -> torch.Tensor:
    tensors = [leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    if not tensors:
        raise EditError(
            "the network gives no floating-point output, whose change could be valued: give loss=, a "
            "function of the network and a batch"
        )
    total = torch.zeros((), device=tensors[0].device)
    for tensor in tensors:
        drawn = torch.randint(0, 2, tensor.shape, generator=signs, dtype=torch.int8) * 2 - 1
        total = total + (tensor * drawn.to(tensor.device, tensor.dtype)).sum()
    return total


class _Runnable:
    """A network as a loss gets it: it computes what the graph does, and has the network's attributes."""

    def __init__(self, graph: Recording, interpreter: Callable[[], Interpreter]) -> None:
        self._graph, self._interpreter = graph, interpreter

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph."""
        return self._interpreter().run(bind(self._graph, args, kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph.module, name)
