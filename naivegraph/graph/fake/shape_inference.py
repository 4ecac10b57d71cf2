"""Shape inference: results of operators by shape rules, by their schemas, or by trying few elements."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from naivegraph.ir.pytree import map_leaves
from naivegraph.operators.registry import SHAPES
from naivegraph.operators.shapes import FakeResult, dense, row_major

__all__ = ["infer", "pointwise", "signature"]


def infer(func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
    """Infer the result of an operator by its shape rule or its schema.

    Returns:
        A `FakeResult`, a `FakeResults`, or the index in `tensors` of the one returned; None where only trying
        can tell.
    """
    if len(tensors) == 1 and _returns_it(func):
        return 0
    rule = SHAPES.get(func)
    return rule(*args, **kwargs) if rule is not None else None


@functools.cache
def _returns_it(func: Any) -> bool:
    """Tell whether an operator returns the tensor it takes, of the shape it has."""
    return _in_place(func) and torch.Tag.inplace_view not in func.tags


def _in_place(func: Any) -> bool:
    """Tell whether an operator of torch's own writes into its first argument and returns that alone."""
    tag = getattr(torch.Tag, "inplace", None)  # torch 2.7 and older have none
    return tag in func.tags if tag is not None else _in_place_by_schema(func)


def _in_place_by_schema(func: Any) -> bool:
    """Tell it from a schema such as `add_.Tensor(Tensor(a!) self, Tensor other) -> Tensor(a!)`."""
    takes, gives = func._schema.arguments, func._schema.returns
    if func.namespace != "aten" or not takes or len(gives) != 1:
        return False
    first, result = takes[0].alias_info, gives[0].alias_info
    if first is None or not first.is_write or takes[0].is_out or result is None:
        return False
    return bool(result.before_set == first.before_set)


def pointwise(func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor], tried: dict[Any, Any]) -> Any:
    """Infer the result of an element-wise operator; None for others.

    Whether it follows broadcasting, and the dtype of the result, is tried on a few elements and kept in
    `tried`.
    """
    if not _on_each(func) or not tensors:
        return None
    shape = max(tensors, key=torch.Tensor.dim).shape
    if len(tensors) > 1:
        shape = max([t.shape for t in tensors if t.dim() == len(shape)], key=math.prod)
    for tensor in tensors:
        if not dense(tensor) or (tensor.shape != shape and not _broadcasts(tensor.shape, shape)):
            return None

    def alike(tensor: torch.Tensor) -> Any:
        """Return the key of a tensor's few elements."""
        return tuple([min(size, 2) for size in tensor.shape]), tensor.dtype

    key = func, signature(args, tensors, alike), signature(kwargs, tensors, alike)
    if key not in tried:
        tried[key] = _on_few(func, args, kwargs, tensors, tuple([min(size, 2) for size in shape]))
    found = tried[key]
    return FakeResult(shape, row_major(shape), found) if type(found) is torch.dtype else found


@functools.cache
def _on_each(func: Any) -> bool:
    tags = func.tags
    if torch.Tag.pointwise not in tags or torch.Tag.nondeterministic_seeded in tags:
        return False
    return not func._schema.is_mutable or _in_place(func)


def _broadcasts(sizes: Sequence[int], to: Sequence[int]) -> bool:
    """Tell whether a tensor of these sizes can be broadcast to others."""
    ends = to[len(to) - len(sizes) :]
    return len(sizes) <= len(to) and all(one in (1, two) for one, two in zip(sizes, ends, strict=True))


def _on_few(func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor], shape: tuple[int, ...]) -> Any:
    """The dtype of a result on few elements, or the index of the tensor returned; None if it is neither."""
    few = {id(t): torch.ones([min(n, 2) for n in t.shape], dtype=t.dtype, device="cpu") for t in tensors}
    try:
        result = func(*_instead(args, few), **_instead(kwargs, few))
    except RuntimeError:
        return None  # the processor lacks the operator for this type
    place = next((i for i, t in enumerate(tensors) if few[id(t)] is result), None)
    if place is not None:
        return place
    whole = type(result) is torch.Tensor and dense(result) and result.shape == shape
    return result.dtype if whole else None


def signature(value: Any, tensors: list[torch.Tensor], of: Callable[[torch.Tensor], Any]) -> Any:
    """A key of an operator's arguments, which has for each tensor its index and the result of `of`."""
    if isinstance(value, torch.Tensor):
        return torch.Tensor, next(i for i, tensor in enumerate(tensors) if tensor is value), of(value)
    if isinstance(value, (tuple, list)):
        return type(value), *[signature(item, tensors, of) for item in value]
    if isinstance(value, dict):
        return dict, *[(name, signature(item, tensors, of)) for name, item in value.items()]
    return type(value), value  # 1, 1.0 and True are equal


def _instead(value: Any, tensors: dict[int, torch.Tensor]) -> Any:
    return map_leaves(value, lambda leaf: tensors.get(id(leaf), leaf))
