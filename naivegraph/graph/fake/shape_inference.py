"""What operators give, told from the shapes of what they take: torch's own way to tell takes milliseconds."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from naivegraph.ir.pytree import map_leaves

__all__ = ["NOTHING", "FakeResult", "FakeResults", "known", "pointwise", "signature"]


class FakeResult:
    """What is known of one result that is a new tensor."""

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.stride, self.dtype = shape, stride, dtype


class FakeResults:
    """What is known of several results."""

    def __init__(self, kind: type, items: list[Any]) -> None:
        self.kind, self.items = kind, items


NOTHING = FakeResults(lambda items: None, [])  # type: ignore[arg-type]


def known(func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
    """What an operator gives: a `FakeResult`, a `FakeResults`, the place in `tensors` of what it returns.

    None where only trying can tell.
    """
    if len(tensors) == 1 and _returns_it(func):
        return 0
    rule = _RULES.get(func)
    return rule(*args, **kwargs) if rule is not None else None


@functools.cache
def _returns_it(func: Any) -> bool:
    """Whether an operator returns the tensor it takes, of the shape it has."""
    return torch.Tag.inplace in func.tags and torch.Tag.inplace_view not in func.tags


def pointwise(func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor], tried: dict[Any, Any]) -> Any:
    """What an operator on each number gives; None for others.

    That it follows broadcasting, and its type, is tried on a few numbers, and remembered in `tried`.
    """
    if not _on_each(func) or not tensors:
        return None
    shape = max(tensors, key=torch.Tensor.dim).shape
    if len(tensors) > 1:
        shape = max([t.shape for t in tensors if t.dim() == len(shape)], key=math.prod)
    for tensor in tensors:
        if not _dense(tensor) or (tensor.shape != shape and not _broadcasts(tensor.shape, shape)):
            return None

    def alike(tensor: torch.Tensor) -> Any:
        return tuple([min(size, 2) for size in tensor.shape]), tensor.dtype

    key = func, signature(args, tensors, alike), signature(kwargs, tensors, alike)
    if key not in tried:
        tried[key] = _on_few(func, args, kwargs, tensors, tuple([min(size, 2) for size in shape]))
    found = tried[key]
    return FakeResult(shape, _row_major(shape), found) if type(found) is torch.dtype else found


@functools.cache
def _on_each(func: Any) -> bool:
    tags = func.tags
    if torch.Tag.pointwise not in tags or torch.Tag.nondeterministic_seeded in tags:
        return False
    return not func._schema.is_mutable or torch.Tag.inplace in tags


def _broadcasts(sizes: Sequence[int], to: Sequence[int]) -> bool:
    """Whether a tensor of these sizes becomes one of others by repeating it alone."""
    ends = to[len(to) - len(sizes) :]
    return len(sizes) <= len(to) and all(one in (1, two) for one, two in zip(sizes, ends, strict=True))


def _on_few(func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor], shape: tuple[int, ...]) -> Any:
    """The type of the result, or the place of the tensor which an operator returns; None if it is neither."""
    few = {id(t): torch.ones([min(n, 2) for n in t.shape], dtype=t.dtype, device="cpu") for t in tensors}
    try:
        result = func(*_instead(args, few), **_instead(kwargs, few))
    except RuntimeError:
        return None  # the processor lacks the operator for this type
    place = next((i for i, t in enumerate(tensors) if few[id(t)] is result), None)
    if place is not None:
        return place
    whole = type(result) is torch.Tensor and _dense(result) and result.shape == shape
    return result.dtype if whole else None


def signature(value: Any, tensors: list[torch.Tensor], of: Callable[[torch.Tensor], Any]) -> Any:
    """The arguments of an operator, to be looked up; of tensors their place and what `of` tells."""
    if isinstance(value, torch.Tensor):
        return torch.Tensor, next(i for i, tensor in enumerate(tensors) if tensor is value), of(value)
    if isinstance(value, (tuple, list)):
        return type(value), *[signature(item, tensors, of) for item in value]
    if isinstance(value, dict):
        return dict, *[(name, signature(item, tensors, of)) for name, item in value.items()]
    return type(value), value  # 1, 1.0 and True are equal


def _instead(value: Any, tensors: dict[int, torch.Tensor]) -> Any:
    return map_leaves(value, lambda leaf: tensors.get(id(leaf), leaf))


def _batch_norm(x: torch.Tensor, *others: Any) -> Any:
    """Batch norm, with the statistics it computes in train mode; None where the shapes do not fit."""
    tensors = [value for value in others if isinstance(value, torch.Tensor)]
    if x.dim() < 2 or any(t.shape != x.shape[1:2] or t.dtype != x.dtype for t in tensors) or not _dense(x):
        return None
    if others[4] and x.dtype not in (torch.float32, torch.float64):
        return None
    saved = FakeResult((x.shape[1],) if others[4] else (0,), (1,), x.dtype)
    return FakeResults(tuple, [FakeResult(x.shape, x.stride(), x.dtype), saved, saved])


def _cat(tensors: Any, dim: int = 0) -> Any:
    """Contiguous tensors of one type one after the other; None where it is less simple."""
    first = tensors[0]
    at = dim % max(first.dim(), 1)
    for t in tensors:
        others = t.shape[:at] == first.shape[:at] and t.shape[at + 1 :] == first.shape[at + 1 :]
        if t.dim() < 2 or t.dim() != first.dim() or t.dtype != first.dtype or not (others and _dense(t)):
            return None
    shape = (*first.shape[:at], sum(t.shape[at] for t in tensors), *first.shape[at + 1 :])
    return FakeResult(shape, _row_major(shape), first.dtype)


def _convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """A convolution of a contiguous batch in one type; None where it is less simple."""
    kernel = weight.shape[2:]
    fits = x.dim() == weight.dim() > 2 and weight.shape[1] * groups == x.shape[1]
    one_type = x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype)
    listed = all(len(numbers) == len(kernel) for numbers in (stride, padding, dilation))
    if transposed or not (fits and one_type and listed and _dense(x) and _dense(weight)):
        return None
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    ]
    shape = (x.shape[0], weight.shape[0], *sizes)
    return FakeResult(shape, _row_major(shape), x.dtype) if min(sizes) > 0 else None


def _layer_norm(
    x: torch.Tensor, sizes: Sequence[int], weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> Any:
    """Layer norm in one type; None where it is less simple."""
    at = x.dim() - len(sizes)
    for t in (weight, bias):
        if t is not None and (t.shape != x.shape[at:] or t.dtype != x.dtype):
            return None
    if x.dtype not in (torch.float32, torch.float64) or x.shape[at:] != tuple(sizes) or not _dense(x):
        return None
    means = (*x.shape[:at], *[1] * len(sizes))
    saved = FakeResult(means, _row_major(means), x.dtype)
    return FakeResults(tuple, [FakeResult(tuple(x.shape), x.stride(), x.dtype), saved, saved])


def _addmm(bias: torch.Tensor, one: torch.Tensor, two: torch.Tensor, **scales: Any) -> Any:
    """A product of matrices of one type with a bias per column; None where it is less simple."""
    shape = (one.shape[0], two.shape[-1])
    matrices = one.dim() == two.dim() == 2 and one.shape[1] == two.shape[0]
    if not matrices or bias.shape != shape[1:] or len({bias.dtype, one.dtype, two.dtype}) > 1:
        return None
    return FakeResult(shape, _row_major(shape), one.dtype)


def _dimensions(x: torch.Tensor, dims: Sequence[int]) -> set[int]:
    """Which dimensions of a tensor are meant, without those there are not."""
    return {dim % x.dim() for dim in dims if -x.dim() <= dim < x.dim()}


def _mean(
    x: torch.Tensor, dims: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Any:
    """A mean of contiguous numbers over some dimensions; None where it is less simple."""
    if not dims or dtype is not None or not x.is_floating_point() or not _dense(x):
        return None
    over = _dimensions(x, dims)
    if len(over) < len(dims):
        return None
    shape = tuple([1 if d in over else n for d, n in enumerate(x.shape) if keepdim or d not in over])
    return FakeResult(shape, _row_major(shape), x.dtype)


def _view(x: torch.Tensor, sizes: list[int]) -> Any:
    """Contiguous numbers in another shape; None where it is less simple."""
    known = math.prod([size for size in sizes if size != -1])
    count = x.numel()
    if not _dense(x) or not known or not count or sizes.count(-1) > 1 or count % known:
        return None
    shape = tuple([count // known if size == -1 else size for size in sizes])
    return FakeResult(shape, _row_major(shape), x.dtype) if math.prod(shape) == count else None


def _permute(x: torch.Tensor, dims: Sequence[int]) -> Any:
    """The dimensions in another order; None where they are not all of them."""
    if len(dims) != x.dim() or len(_dimensions(x, dims)) < x.dim():
        return None
    return FakeResult(tuple([x.shape[dim] for dim in dims]), tuple([x.stride(dim) for dim in dims]), x.dtype)


def _transpose(x: torch.Tensor, one: int, two: int) -> Any:
    """Two dimensions swapped; None where there is none such."""
    dims = list(range(x.dim()))
    if not (_dimensions(x, (one,)) and _dimensions(x, (two,))):
        return None
    dims[one], dims[two] = dims[two], dims[one]
    return _permute(x, dims)


def _embedding(table: torch.Tensor, indices: torch.Tensor, *options: Any) -> Any:
    """Rows of a contiguous table; None where it is less simple."""
    shape = (*indices.shape, *table.shape[1:])
    return FakeResult(shape, _row_major(shape), table.dtype) if table.dim() == 2 and _dense(table) else None


_RULES: dict[Any, Any] = {
    torch.ops.aten.mean.dim: _mean,
    torch.ops.aten.view.default: _view,
    torch.ops.aten._unsafe_view.default: _view,
    torch.ops.aten.permute.default: _permute,
    torch.ops.aten.transpose.int: _transpose,
    torch.ops.aten.embedding.default: _embedding,
    torch.ops.aten.convolution.default: _convolution,
    torch.ops.aten.native_batch_norm.default: _batch_norm,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
    torch.ops.aten.addmm.default: _addmm,
    torch.ops.aten.cat.default: _cat,
}


def _dense(tensor: torch.Tensor) -> bool:
    return tensor.stride() == _row_major(tensor.shape)


def _row_major(shape: Sequence[int]) -> tuple[int, ...]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides))
