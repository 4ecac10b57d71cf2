"""Shape rules: results of operators from the shapes of their arguments.

Torch's own way, a run on meta tensors, takes milliseconds. Each of these functions takes the arguments of an
overload and returns the shapes, strides and dtypes of its results, or None where it cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = [
    "NOTHING",
    "FakeResult",
    "FakeResults",
    "Inferred",
    "ShapeRule",
    "addmm",
    "batch_norm",
    "cat",
    "convolution",
    "dense",
    "embedding",
    "layer_norm",
    "mean",
    "permute",
    "row_major",
    "transpose",
    "view",
]


class FakeResult:
    """Shape, strides and dtype of a result that is a new tensor."""

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.stride, self.dtype = shape, stride, dtype


class FakeResults:
    """Several results, in a container of this kind."""

    def __init__(self, kind: type, items: list[Any]) -> None:
        self.kind, self.items = kind, items


NOTHING = FakeResults(lambda items: None, [])  # type: ignore[arg-type]

Inferred = FakeResult | FakeResults | None
ShapeRule = Callable[..., Inferred]


def dense(tensor: torch.Tensor) -> bool:
    """Tell whether the elements of a tensor lie one after the other in memory, the last dimension's first."""
    return tensor.stride() == row_major(tensor.shape)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a tensor of this shape whose elements lie one after the other."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides))


def batch_norm(x: torch.Tensor, *others: Any) -> Inferred:
    """Batch norm, with the statistics it computes in train mode; None where the shapes do not fit."""
    tensors = [value for value in others if isinstance(value, torch.Tensor)]
    if x.dim() < 2 or any(t.shape != x.shape[1:2] or t.dtype != x.dtype for t in tensors) or not dense(x):
        return None
    if others[4] and x.dtype not in (torch.float32, torch.float64):
        return None
    saved = FakeResult((x.shape[1],) if others[4] else (0,), (1,), x.dtype)
    return FakeResults(tuple, [FakeResult(x.shape, x.stride(), x.dtype), saved, saved])


def cat(tensors: Any, dim: int = 0) -> Inferred:
    """Contiguous tensors of one type one after the other; None where it is less simple."""
    first = tensors[0]
    at = dim % max(first.dim(), 1)
    for t in tensors:
        others = t.shape[:at] == first.shape[:at] and t.shape[at + 1 :] == first.shape[at + 1 :]
        if t.dim() < 2 or t.dim() != first.dim() or t.dtype != first.dtype or not (others and dense(t)):
            return None
    shape = (*first.shape[:at], sum(t.shape[at] for t in tensors), *first.shape[at + 1 :])
    return FakeResult(shape, row_major(shape), first.dtype)


def convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Inferred:
    """A convolution of a contiguous batch in one type; None where it is less simple."""
    kernel = weight.shape[2:]
    fits = x.dim() == weight.dim() > 2 and weight.shape[1] * groups == x.shape[1]
    one_type = x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype)
    listed = all(len(numbers) == len(kernel) for numbers in (stride, padding, dilation))
    if transposed or not (fits and one_type and listed and dense(x) and dense(weight)):
        return None
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    ]
    if min(sizes) <= 0:  # torch 2.6 refuses this of real tensors alone
        raise RuntimeError(f"a kernel of {tuple(kernel)} does not fit into sizes {tuple(x.shape[2:])}")
    shape = (x.shape[0], weight.shape[0], *sizes)
    return FakeResult(shape, row_major(shape), x.dtype)


def layer_norm(
    x: torch.Tensor, sizes: Sequence[int], weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> Inferred:
    """Layer norm in one type; None where it is less simple."""
    at = x.dim() - len(sizes)
    for t in (weight, bias):
        if t is not None and (t.shape != x.shape[at:] or t.dtype != x.dtype):
            return None
    if x.dtype not in (torch.float32, torch.float64) or x.shape[at:] != tuple(sizes) or not dense(x):
        return None
    means = (*x.shape[:at], *[1] * len(sizes))
    saved = FakeResult(means, row_major(means), x.dtype)
    return FakeResults(tuple, [FakeResult(tuple(x.shape), x.stride(), x.dtype), saved, saved])


def addmm(bias: torch.Tensor, one: torch.Tensor, two: torch.Tensor, **scales: Any) -> Inferred:
    """A product of matrices of one type with a bias per column; None where it is less simple."""
    shape = (one.shape[0], two.shape[-1])
    matrices = one.dim() == two.dim() == 2 and one.shape[1] == two.shape[0]
    if not matrices or bias.shape != shape[1:] or len({bias.dtype, one.dtype, two.dtype}) > 1:
        return None
    return FakeResult(shape, row_major(shape), one.dtype)


def _dimensions(x: torch.Tensor, dims: Sequence[int]) -> set[int]:
    """Dimensions of a tensor counted from the front, without those it does not have."""
    return {dim % x.dim() for dim in dims if -x.dim() <= dim < x.dim()}


def mean(
    x: torch.Tensor, dims: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Inferred:
    """A mean of contiguous numbers over some dimensions; None where it is less simple."""
    if not dims or dtype is not None or not x.is_floating_point() or not dense(x):
        return None
    over = _dimensions(x, dims)
    if len(over) < len(dims):
        return None
    shape = tuple([1 if d in over else n for d, n in enumerate(x.shape) if keepdim or d not in over])
    return FakeResult(shape, row_major(shape), x.dtype)


def view(x: torch.Tensor, sizes: list[int]) -> Inferred:
    """Contiguous numbers in another shape; None where it is less simple."""
    known = math.prod([size for size in sizes if size != -1])
    count = x.numel()
    if not dense(x) or not known or not count or sizes.count(-1) > 1 or count % known:
        return None
    shape = tuple([count // known if size == -1 else size for size in sizes])
    return FakeResult(shape, row_major(shape), x.dtype) if math.prod(shape) == count else None


def permute(x: torch.Tensor, dims: Sequence[int]) -> Inferred:
    """The dimensions in another order; None where they are not all of them."""
    if len(dims) != x.dim() or len(_dimensions(x, dims)) < x.dim():
        return None
    return FakeResult(tuple([x.shape[dim] for dim in dims]), tuple([x.stride(dim) for dim in dims]), x.dtype)


def transpose(x: torch.Tensor, one: int, two: int) -> Inferred:
    """Two dimensions swapped; None where there is none such."""
    dims = list(range(x.dim()))
    if not (_dimensions(x, (one,)) and _dimensions(x, (two,))):
        return None
    dims[one], dims[two] = dims[two], dims[one]
    return permute(x, dims)


def embedding(table: torch.Tensor, indices: torch.Tensor, *options: Any) -> Inferred:
    """Rows of a contiguous table; None where it is less simple."""
    shape = (*indices.shape, *table.shape[1:])
    return FakeResult(shape, row_major(shape), table.dtype) if table.dim() == 2 and dense(table) else None
