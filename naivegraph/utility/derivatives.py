"""Derivatives of a loss, whatever the network's own backward passes do to `grad`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from naivegraph.errors import EditError

__all__ = ["derivatives", "first_order"]


def derivatives(
    module: nn.Module, loss: torch.Tensor, wanted: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """The derivatives of a loss; `grad` of all parameters is as before.

    An autograd function of the network's own may run a part of it in its backward pass and call `backward()`
    there, as reversible networks do: the derivatives of that part's parameters arrive in `grad`, and not as
    derivatives of the function. They are taken from there.

    Args:
        module: The network.
        loss: One number.
        wanted: Parameters, or other tensors that the loss was computed from.

    Returns:
        A tensor of the shape of each; None where the loss does not depend on it.

    Raises:
        EditError: Torch cannot derive the loss.
    """
    before = [(parameter, parameter.grad) for parameter in module.parameters()]
    try:
        for parameter, _ in before:
            parameter.grad = None
        passed = torch.autograd.grad(loss, list(wanted), allow_unused=True)
        arrived = [tensor.grad if tensor.is_leaf else None for tensor in wanted]
    except RuntimeError as error:
        raise EditError(f"the loss cannot be derived: {error}") from error
    finally:
        for parameter, grad in before:
            parameter.grad = grad
    both = zip(passed, arrived, strict=True)
    return [two if one is None else one if two is None else one + two for one, two in both]


def first_order(values: torch.Tensor, derivative: torch.Tensor) -> torch.Tensor:
    """Value times derivative of each element: the change of the loss without it, to first order.

    Of a complex number z the derivative is that by its real part, plus i times that by its imaginary part.

    Example:
        >>> first_order(torch.tensor([1 + 2j]), torch.tensor([3 + 4j])).tolist()
        [11.0]
    """
    product = values.detach() * derivative.conj()
    return product.real if product.is_complex() else product
