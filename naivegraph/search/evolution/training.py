"""Ready evaluations for a study: training on tensors, and the accuracy or error on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from naivegraph.errors import StudyError
from naivegraph.search.study import Rung

__all__ = ["Classification", "Regression"]


class _Training:
    """Training on some tensors, and a measure on others; called as a study does.

    Args:
        x: Inputs to train on, batch first.
        y: Targets.
        test_x: Inputs to measure on, which are not trained on.
        test_y: Their targets.
        batch_size: Of the training, unless the recipe has "batch_size".
        learning_rate: Of the optimizer, unless the recipe has "learning_rate".
        optimizer: The name of one in torch.optim, unless the recipe has "optimizer".
    """

    measure = ""

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        test_x: Tensor,
        test_y: Tensor,
        *,
        batch_size: int = 64,
        learning_rate: float = 0.003,
        optimizer: str = "AdamW",
    ) -> None:
        if len(x) != len(y) or len(test_x) != len(test_y) or not len(x) or not len(test_x):
            raise StudyError(
                f"{len(x)} inputs with {len(y)} targets to train on, {len(test_x)} with {len(test_y)} to "
                "test on: as many targets as inputs are needed, and some"
            )
        for what, values in (
            ("inputs", x),
            ("targets", y),
            ("test inputs", test_x),
            ("test targets", test_y),
        ):
            if not bool(values.isfinite().all()):
                raise StudyError(f"the {what} hold numbers that are not finite: leave these examples out")
        self.x, self.y, self.test_x, self.test_y = x, y, test_x, test_y
        self.batch_size, self.learning_rate, self.optimizer = batch_size, learning_rate, optimizer

    def loss(self, given: Tensor, wanted: Tensor) -> Tensor:
        """The loss of a batch."""
        raise NotImplementedError

    def value(self, given: Tensor, wanted: Tensor) -> float:
        """The measure of all outputs on the test inputs."""
        raise NotImplementedError

    def __call__(self, module: nn.Module, rung: Rung, seed: int) -> dict[str, float]:
        """Train a network in place for the epochs of a rung, and measure it.

        Returns:
            The measure by its name, "loss" (of the last epoch) and "params".
        """
        recipe: dict[str, Any] = getattr(module, "recipe", {})
        kind = getattr(torch.optim, str(recipe.get("optimizer", self.optimizer)), None)
        if kind is None:
            raise StudyError(f"torch.optim has no {recipe.get('optimizer', self.optimizer)!r}")
        optimizer = kind(module.parameters(), lr=recipe.get("learning_rate", self.learning_rate))
        size = int(recipe.get("batch_size", self.batch_size))
        generator = torch.Generator().manual_seed(seed + rung.start)
        loss = torch.zeros(())
        module.train()
        for _ in range(rung.epochs):
            for x, y in self._batches(size, generator):
                optimizer.zero_grad()
                loss = self.loss(module(x), y)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        module.eval()
        with torch.no_grad():
            given = torch.cat([module(part) for part in torch.split(self.test_x, 256)])
        params = float(sum(p.numel() for p in module.parameters()))
        return {self.measure: self.value(given, self.test_y), "loss": float(loss.detach()), "params": params}

    def _batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in random order; a last one of a single input is left out, as it has no norm."""
        for rows in torch.split(torch.randperm(len(self.x), generator=generator), size):
            if len(rows) > 1 or len(self.x) == 1:
                yield self.x[rows], self.y[rows]


class Classification(_Training):
    """Training of a classifier: cross entropy, and "accuracy" on the test inputs.

    Args:
        x: Inputs to train on, batch first.
        y: Classes, whole numbers from 0.
        test_x: Inputs to measure on, which are not trained on.
        test_y: Their classes.
        batch_size: Of the training, unless the recipe has "batch_size".
        learning_rate: Of the optimizer, unless the recipe has "learning_rate".
        optimizer: The name of one in torch.optim, unless the recipe has "optimizer".
    """

    measure = "accuracy"
    loss: Callable[..., Tensor] = staticmethod(nn.functional.cross_entropy)

    def value(self, given: Tensor, wanted: Tensor) -> float:
        """The part of inputs whose class was found."""
        return float((given.argmax(1) == wanted).double().mean())


class Regression(_Training):
    """Training of a regression: mean squared error, measured as "error" on the test inputs.

    Args:
        x: Inputs to train on, batch first.
        y: Numbers.
        test_x: Inputs to measure on, which are not trained on.
        test_y: Their numbers.
        batch_size: Of the training, unless the recipe has "batch_size".
        learning_rate: Of the optimizer, unless the recipe has "learning_rate".
        optimizer: The name of one in torch.optim, unless the recipe has "optimizer".
    """

    measure = "error"
    loss: Callable[..., Tensor] = staticmethod(nn.functional.mse_loss)

    def value(self, given: Tensor, wanted: Tensor) -> float:
        """The mean squared error."""
        return float((given - wanted).square().mean())
