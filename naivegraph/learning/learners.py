"""Trainable things for a config: quines, networks for classes, and networks that are both."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from naivegraph.edits.request.target import check_model
from naivegraph.edits.request.validate import whole
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.learning.prediction_scores import class_scores, weight_scores
from naivegraph.weights.auxiliary import auxiliary
from naivegraph.weights.quine import Quine, quine
from naivegraph.weights.weight_vector import WeightVector

__all__ = ["AuxiliaryLearner", "ClassLearner", "Learner", "QuineLearner", "digits", "perceptron"]

_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class Learner(ABC):
    """Something to train, from numbered examples; inherit from it to train what is not here.

    Attributes:
        module: The network; what its state dict holds goes into checkpoints.
        count: The number of examples.
    """

    module: nn.Module
    count: int

    @abstractmethod
    def loss(self, chosen: Tensor) -> Tensor:
        """The loss on examples, by their numbers `[batch]`; a mean over them, to be differentiated."""

    @abstractmethod
    def scores(self, chosen: Tensor) -> dict[str, float]:
        """Scores on examples, without a step; "loss" among them."""

    def solve(self, chosen: Tensor, steps: int, tolerance: float) -> None:
        """Take steps of Levenberg-Marquardt on examples, all at once; see `LevenbergMarquardt`.

        Args:
            chosen: The numbers of the examples.
            steps: The steps.
            tolerance: The sum of squares at which it is done.

        Raises:
            EditError: The loss is no sum of squares.
        """
        raise EditError(
            f"the loss of {type(self).__name__} is no sum of squares, which LevenbergMarquardt lowers: take "
            "another optimizer, such as torch.optim.Adam"
        )

    def state(self) -> dict[str, float]:
        """Numbers to be kept in checkpoints beside the network; none if there are none."""
        return {}

    def restore(self, state: Mapping[str, float]) -> None:  # noqa: B027 (most have nothing to do then)
        """Take up numbers that `state` gave."""

    def after_epoch(self, epoch: int) -> None:  # noqa: B027 (most have nothing to do then)
        """Do what is to be done after an epoch, by its number from 1 on."""

    def report(self) -> str:
        """One line on the trained network; an empty one where there is nothing to say."""
        return ""


class QuineLearner(Learner):
    """A network that is to predict its own weights; an example is the address of a weight.

    Args:
        body: The network, with a scalar head.
        dim: The size of the code of an address.
        gain: What the output is multiplied by.
        regenerate_every: Replace the weights by their predictions after so many epochs; never if 0.
        seed: The seed of the codes.
    """

    def __init__(
        self, body: nn.Module, dim: int, gain: float = 1.0, regenerate_every: int = 0, seed: int = 0
    ) -> None:
        self._quine: Quine = quine(body, dim, gain=gain, seed=seed)
        self.module, self._every = self._quine.module, whole(regenerate_every, "regenerate_every", 0)
        vector = WeightVector(self.module)
        self.count = vector.size
        like = next(self.module.parameters())
        self._codes = self._quine.codes().to(like)

    def loss(self, chosen: Tensor) -> Tensor:
        """The mean square of what predictions and weights differ by."""
        return F.mse_loss(self._predicted(chosen), self._weights()[chosen])

    def scores(self, chosen: Tensor) -> dict[str, float]:
        """The loss as a sum, the same relative to the weights, and the largest difference."""
        with torch.no_grad():
            return weight_scores(self._predicted(chosen), self._weights()[chosen])

    def solve(self, chosen: Tensor, steps: int, tolerance: float) -> None:
        """Take steps towards a fixed point of all weights; the gain is found with them.

        Raises:
            EditError: Some weights are held out.
        """
        if len(chosen) < self.count:
            raise EditError(
                "LevenbergMarquardt solves for all weights, and some are held out: say split.kind none"
            )
        self._quine.solve(math.inf, steps=steps, tolerance=tolerance)

    def state(self) -> dict[str, float]:
        """The gain."""
        return {"gain": self._quine.gain}

    def restore(self, state: Mapping[str, float]) -> None:
        """Take up the gain."""
        self._quine.gain = state["gain"]

    def after_epoch(self, epoch: int) -> None:
        """Regenerate, if it is time."""
        if self._every and epoch % self._every == 0:
            self._quine.regenerate()

    def report(self) -> str:
        """The kind of fixed point."""
        return str(self._quine.report())

    def _predicted(self, chosen: Tensor) -> Tensor:
        out: Tensor = self.module(self._codes[chosen])
        return self._quine.gain * out.reshape(-1)

    def _weights(self) -> Tensor:
        return torch.cat([each.reshape(-1) for each in self.module.parameters()])


class ClassLearner(Learner):
    """A network that is to tell classes, such as one whose weights a hypernetwork makes.

    Args:
        network: From inputs to `[batch, classes]`.
        data: Inputs and classes.

    Raises:
        EditError: The data are none, or the network does not take them, or has too few outputs.
    """

    def __init__(self, network: nn.Module, data: TensorDataset) -> None:
        if not isinstance(data, TensorDataset) or len(data.tensors) != 2:
            raise EditError("data= is a TensorDataset of inputs and classes, as learning.digits() makes one")
        check_model("learning.ClassLearner", network)
        self.module, self.count = network, len(data)
        self._inputs, self._classes = data.tensors
        self._check()

    def _check(self) -> None:
        """The network takes the data, and gives a score to each of their classes."""
        if not len(self._inputs) or self._classes.dim() != 1 or self._classes.dtype != torch.int64:
            raise EditError(
                f"the data have inputs {tuple(self._inputs.shape)} and classes {tuple(self._classes.shape)} "
                f"of {self._classes.dtype}: give at least one, with classes [examples] of int64"
            )
        if not bool(self._inputs.isfinite().all()) or int(self._classes.min()) < 0:
            raise EditError("the data hold inputs that are not finite, or classes below 0: leave these out")
        try:
            with preserved(self.module), torch.no_grad():
                out = self.module(self._inputs[:2])
        except RuntimeError as error:
            shape = tuple(self._inputs.shape[1:])
            raise EditError(f"the network does not take the data's inputs, {shape}: {error}") from error
        classes = int(self._classes.max()) + 1
        if not isinstance(out, Tensor) or out.dim() != 2 or out.shape[1] < classes:
            told = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise EditError(
                f"the network returns {told} for two inputs, and the data have {classes} classes: give it a "
                "score for each"
            )

    def loss(self, chosen: Tensor) -> Tensor:
        """The mean cross entropy."""
        return F.cross_entropy(self.module(self._inputs[chosen]), self._classes[chosen])

    def scores(self, chosen: Tensor) -> dict[str, float]:
        """Accuracy, precision, recall, F1, perplexity."""
        with torch.no_grad():
            out = [self.module(self._inputs[part]) for part in torch.split(chosen, 1024)]
        return class_scores(torch.cat(out), self._classes[chosen])


class AuxiliaryLearner(Learner):
    """A network that is to tell classes and to predict its own weights; an example is one of the data.

    Args:
        body: From inputs to `[batch, classes + 1]`; the last output predicts weights.
        data: Inputs and classes.
        weight: The weight of the relative loss of replication beside the cross entropy.
        gain: What the last output is multiplied by.
        seed: The seed of the codes.
    """

    def __init__(
        self, body: nn.Module, data: TensorDataset, weight: float = 1.0, gain: float = 3.0, seed: int = 0
    ) -> None:
        if not isinstance(data, TensorDataset) or len(data.tensors) != 2:
            raise EditError("data= is a TensorDataset of inputs and classes, as learning.digits() makes one")
        if data.tensors[1].is_floating_point():
            raise EditError("the classes are numbers with a fraction: give whole numbers from 0, [examples]")
        self._auxiliary = auxiliary(body, [data.tensors], weight=weight, gain=gain, seed=seed)
        self.module, self.count, self._weight = body, len(data), weight
        self._inputs, self._classes = data.tensors
        self._codes = self._auxiliary.quine.codes().to(next(body.parameters()))

    def loss(self, chosen: Tensor) -> Tensor:
        """The mean cross entropy, and the relative loss over all weights times its weight."""
        task = F.cross_entropy(self._auxiliary.outputs(self._inputs[chosen]), self._classes[chosen])
        predicted, weights = self._replication()
        return task + self._weight * (predicted - weights).square().sum() / weights.square().sum()

    def scores(self, chosen: Tensor) -> dict[str, float]:
        """The scores of classes, and the relative loss over all weights."""
        with torch.no_grad():
            out = [self._auxiliary.outputs(self._inputs[part]) for part in torch.split(chosen, 1024)]
            relative = weight_scores(*self._replication())["relative"]
        return class_scores(torch.cat(out), self._classes[chosen]) | {"relative": relative}

    def solve(self, chosen: Tensor, steps: int, tolerance: float) -> None:
        """Take steps for task and weights, with the weight as it is; the gain is found with them."""
        self._auxiliary.solve(
            math.inf, weights=[self._weight], steps=steps, tolerance=tolerance, chosen=chosen
        )

    def state(self) -> dict[str, float]:
        """The gain."""
        return {"gain": self._auxiliary.quine.gain}

    def restore(self, state: Mapping[str, float]) -> None:
        """Take up the gain."""
        self._auxiliary.quine.gain = state["gain"]

    def report(self) -> str:
        """The accuracy on all data, and the kind of fixed point."""
        return str(self._auxiliary.report())

    def _replication(self) -> tuple[Tensor, Tensor]:
        """Predictions and weights."""
        out: Tensor = self.module(self._codes)
        weights = torch.cat([each.reshape(-1) for each in self.module.parameters()])
        return self._auxiliary.quine.gain * out[:, -1], weights


def perceptron(sizes: list[int], activation: str = "tanh", double: bool = False) -> nn.Module:
    """Linear layers with an activation between them.

    Args:
        sizes: The size of the input, of each hidden layer, and of the output.
        activation: tanh, relu, gelu or silu.
        double: Whether the weights are float64.

    Example:
        >>> perceptron([4, 8, 1])
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): Tanh()
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
    """
    if activation not in _ACTIVATIONS:
        raise EditError(f"there is no activation {activation!r}: write {', '.join(_ACTIVATIONS)}")
    if not isinstance(sizes, (list, tuple)) or len(sizes) < 2:
        raise EditError(f"sizes is {sizes}: give the size of the input and that of the output at least")
    for size in sizes:
        whole(size, "a size", 1)
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), _ACTIVATIONS[activation]()]
    made = nn.Sequential(*layers[:-1])
    return made.double() if double else made


def digits(flat: bool = True) -> TensorDataset:
    """scikit-learn's handwritten digits: 1,797 images of 8 by 8 pixels from 0 to 1, and their classes.

    Args:
        flat: Whether an image is a vector, `[64]`, or `[1, 8, 8]`.
    """
    from naivegraph.optional_package import optional_package

    found = optional_package("sklearn.datasets", "demo", "the handwritten digits").load_digits()
    images = torch.as_tensor(found.images, dtype=torch.float32) / 16
    images = images.reshape(len(images), math.prod(images.shape[1:])) if flat else images[:, None]
    return TensorDataset(images, torch.as_tensor(found.target))
