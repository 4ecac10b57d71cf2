"""Calls of torch functions that are linear in a parameter, seen while a vertex runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn, overrides
from torch.nn import functional as F

from naivegraph.reconstruct.linear_layout import ConvolutionLayout, DenseLayout, Layout

__all__ = ["LinearCall", "LinearCalls", "Reached"]


@dataclasses.dataclass
class LinearCall:
    """One call.

    Attributes:
        layout: The order of its rows and weights.
        x: The input.
        weight: The weight, a parameter or a view of one.
        bias: What is added; None if nothing is.
        parameter: The parameter that the weight is (of).
        output: The result, once there is one.
    """

    layout: Layout
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    parameter: nn.Parameter
    output: torch.Tensor | None = None


class Reached(Exception):
    """The call was reached, and the rest of the vertex is not needed."""

    def __init__(self, call: LinearCall) -> None:
        super().__init__()
        self.call = call


class LinearCalls(overrides.TorchFunctionMode):
    """Mode that sees calls linear in a parameter.

    Args:
        stop: Whether to raise `Reached` at the first one, before it is computed.

    Attributes:
        found: The calls so far.
    """

    def __init__(self, *, stop: bool = False) -> None:
        super().__init__()
        self.found: list[LinearCall] = []
        self._stop = stop

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        call = _linear_call(func, args, kwargs or {})
        if call is not None and self._stop:
            raise Reached(call)
        result = func(*args, **(kwargs or {}))
        if call is not None:
            call.output = result
            self.found.append(call)
        return result


def _linear_call(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> LinearCall | None:
    try:
        made = _FORMS.get(func)
    except TypeError:  # a function without a hash
        return None
    if made is None:
        return None
    x, weight, bias, layout = made(*args, **kwargs)
    if not isinstance(weight, torch.Tensor) or not isinstance(x, torch.Tensor) or layout is None:
        return None
    if not weight.is_floating_point() or weight.dim() < 2 or x.layout is not torch.strided:
        return None
    base = weight if isinstance(weight, nn.Parameter) else weight._base
    if not isinstance(base, nn.Parameter):
        return None
    return LinearCall(layout, x, weight, bias, base)


_Form = tuple[Any, Any, Any, Layout | None]


def _linear(input: Any, weight: Any, bias: Any = None) -> _Form:
    return input, weight, bias, DenseLayout(transposed=True)


def _matmul(input: Any, other: Any, **_: Any) -> _Form:
    return input, other, None, DenseLayout(transposed=False) if getattr(other, "ndim", 0) == 2 else None


def _addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1, **_: Any) -> _Form:
    plain = beta == 1 and alpha == 1 and getattr(input, "ndim", 0) == 1
    return mat1, mat2, input, DenseLayout(transposed=False) if plain else None


def _convolution(rank: int) -> Callable[..., _Form]:
    def form(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> _Form:
        """The form of a convolution."""
        kernel = tuple(weight.shape[2:])
        steps, spread = _sizes(stride, rank), _sizes(dilation, rank)
        if isinstance(padding, str):
            total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(spread, kernel, strict=True)]
            pads = tuple((size // 2, size - size // 2) for size in total)
        else:
            pads = tuple((size, size) for size in _sizes(padding, rank))
        return input, weight, bias, ConvolutionLayout(kernel, steps, pads, spread, groups)

    return form


def _transposed(rank: int) -> Callable[..., _Form]:
    def form(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> _Form:
        """The form of a transposed convolution."""
        kernel, spread = tuple(weight.shape[2:]), _sizes(dilation, rank)
        edges = [d * (k - 1) - p for d, k, p in zip(spread, kernel, _sizes(padding, rank), strict=True)]
        pads = tuple((e, e + more) for e, more in zip(edges, _sizes(output_padding, rank), strict=True))
        layout = ConvolutionLayout(kernel, _sizes(stride, rank), pads, spread, groups, transposed=True)
        return input, weight, bias, layout

    return form


def _sizes(value: Any, rank: int) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return tuple(map(int, sizes * rank if len(sizes) == 1 else sizes))


_FORMS: dict[Any, Callable[..., _Form]] = {
    F.linear: _linear,
    torch.matmul: _matmul, torch.Tensor.matmul: _matmul, torch.Tensor.__matmul__: _matmul,
    torch.mm: _matmul, torch.Tensor.mm: _matmul,
    torch.addmm: _addmm, torch.Tensor.addmm: _addmm,
    F.conv1d: _convolution(1), F.conv2d: _convolution(2), F.conv3d: _convolution(3),
    F.conv_transpose1d: _transposed(1), F.conv_transpose2d: _transposed(2),
    F.conv_transpose3d: _transposed(3),
}  # fmt: skip
