"""The parameters of a network as one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from naivegraph.errors import EditError

__all__ = ["WeightVector"]


class WeightVector:
    """The parameters of a network in a row, each once.

    Attributes:
        shapes: The shape of each parameter, by name, in order.
        size: The number of weights.

    Example:
        >>> vector = WeightVector(nn.Linear(3, 2))
        >>> vector.size, {name: tuple(part.shape) for name, part in vector.split(torch.ones(8)).items()}
        (8, {'weight': (2, 3), 'bias': (2,)})
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        parameters = dict(module.named_parameters())
        odd = [name for name, each in parameters.items() if not each.is_floating_point()]
        if odd:
            raise EditError(f"{odd[0]!r} holds no real numbers, which nothing could predict")
        self.shapes = {name: tuple(each.shape) for name, each in parameters.items()}
        self._sizes = [each.numel() for each in parameters.values()]
        self.size = sum(self._sizes)

    def read(self) -> Tensor:
        """The weights, `[size]`, as a copy in float64."""
        parts = [each.detach().double().reshape(-1) for each in self._module.parameters()]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def check_finite(self) -> None:
        """Check that all weights are there, and numbers.

        Raises:
            EditError: One is not; the message names its tensor.
        """
        for name, each in self._module.named_parameters():
            if each.is_meta:
                raise EditError(f"{name!r} is on the device meta, which holds no numbers: move it to another")
            if not bool(each.isfinite().all()):
                raise EditError(f"{name!r} holds values that are no finite numbers: initialise it anew")

    def write(self, weights: Tensor) -> None:
        """Give the network other weights, `[size]`, in the parameters that it has."""
        parameters = dict(self._module.named_parameters())
        with torch.no_grad():
            for name, part in self.split(weights).items():
                parameters[name].copy_(part)

    def split(self, weights: Tensor) -> Mapping[str, Tensor]:
        """The parameters that a vector stands for, as views of it."""
        parts = torch.split(weights, self._sizes)
        return {
            name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
