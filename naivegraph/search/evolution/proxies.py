"""Zero-cost proxies: what a network may be good for, measured without training.

Abdelfattah et al., "Zero-cost proxies for lightweight NAS", ICLR 2021, compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from naivegraph.errors import StudyError

__all__ = ["gradient_norm", "jacobian_covariance", "naswot", "synflow"]


def gradient_norm(
    x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[nn.Module], float]:
    """A measure: the norm of the gradient of a loss on one batch.

    Args:
        x: Inputs, batch first.
        y: Targets.
        loss: Of outputs and targets.

    Raises:
        StudyError: There are no inputs, or numbers that are not finite.
    """
    _check(x, 1)
    _check(y, 1)

    def measure(module: nn.Module) -> float:
        """Measure a network, which is left as it was."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss(module(x), y), parameters, allow_unused=True)
        squares = [float(g.square().sum()) for g in gradients if g is not None]
        return math.sqrt(sum(squares))

    return measure


def synflow(x: Tensor) -> Callable[[nn.Module], float]:
    """A measure: the logarithm of how much flows through a network with the absolute values of its weights.

    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow",
    NeurIPS 2020.

    Args:
        x: Any input of the shape the network takes; ones take its place.

    Raises:
        StudyError: There is no input.
    """
    _check(x, 1)

    def measure(module: nn.Module) -> float:
        """Measure a network, which is left as it was."""
        parameters = {
            name: p.detach().abs().double().requires_grad_() for name, p in module.named_parameters()
        }
        buffers = {n: b.double() if b.is_floating_point() else b for n, b in module.named_buffers()}
        mode = module.training
        try:
            module.eval()
            with torch.enable_grad():
                out = torch.func.functional_call(
                    module, {**parameters, **buffers}, (torch.ones_like(x[:1]).double(),)
                )
                gradients = torch.autograd.grad(out.sum(), list(parameters.values()), allow_unused=True)
        finally:
            module.train(mode)
        flow = sum(
            float((g * p).detach().abs().sum())
            for g, p in zip(gradients, parameters.values(), strict=True)
            if g is not None
        )
        return float(torch.tensor(max(flow, 1e-300), dtype=torch.double).log())

    return measure


def naswot(x: Tensor) -> Callable[[nn.Module], float]:
    """A measure: the log-determinant of how alike the active ReLUs of inputs are.

    Mellor et al., "Neural architecture search without training", ICML 2021, equation 2. Of outputs of
    activations other than ReLU, those above zero count as active.

    Args:
        x: Inputs, batch first; eight and more tell networks apart.

    Raises:
        StudyError: There are fewer than two inputs, or numbers that are not finite; when it measures: the
            network has no such activation.
    """
    _check(x, 2)

    def measure(module: nn.Module) -> float:
        """Measure a network, which is left as it was."""
        kernel = torch.zeros(len(x), len(x), dtype=torch.double)
        with torch.no_grad(), _Signs() as signs:
            module(x)
        if not signs.found:
            raise StudyError("naswot counts active ReLUs and their kind, and the network has none of them")
        for active in signs.found:
            both = active.reshape(len(x), -1).double()
            kernel += both @ both.T + (1 - both) @ (1 - both).T
        return float(torch.linalg.slogdet(kernel + 1e-6 * torch.eye(len(x), dtype=torch.double)).logabsdet)

    return measure


class _Signs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps which elements each ReLU and its kind let pass, whoever calls it."""

    _NAMES = (
        "relu",
        "relu_",
        "gelu",
        "silu",
        "hardswish",
        "hardswish_",
        "leaky_relu",
        "leaky_relu_",
        "elu",
        "mish",
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if func._schema.name.removeprefix("aten::") in self._NAMES:
            self.found.append(out > 0)
        return out


def jacobian_covariance(x: Tensor) -> Callable[[nn.Module], float]:
    """A measure: how little alike the gradients of the output by single inputs are.

    Mellor et al., "Neural architecture search without training", 2020 (first version), section 3.

    Args:
        x: Inputs, batch first.

    Raises:
        StudyError: There are fewer than two inputs, or numbers that are not finite.
    """
    _check(x, 2)

    def measure(module: nn.Module) -> float:
        """Measure a network, which is left as it was."""
        taken = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            (jacobian,) = torch.autograd.grad(module(taken).sum(), taken)
        correlation = torch.corrcoef(jacobian.reshape(len(x), -1).double()).nan_to_num(0.0)
        values = torch.linalg.eigvalsh(correlation).clamp_min(0) + 1e-5
        return -float((values.log() + 1 / values).sum())

    return measure


def _check(values: Tensor, least: int) -> None:
    """Examples are tensors of finite numbers, so many at least."""
    if not isinstance(values, Tensor) or not values.ndim or len(values) < least:
        told = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise StudyError(f"a measure takes a tensor of at least {least} examples, batch first, not {told}")
    if not bool(values.isfinite().all()):
        raise StudyError("the examples of a measure hold numbers that are not finite")
