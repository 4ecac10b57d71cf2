"""Torch functions that are looked into, because they are written in Python and work with sizes themselves."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["Chance", "opened"]

_Function = Callable[..., Any]


class Chance(float):
    """The probability of dropout in a network that does not train: zero, but it knows what it is else."""

    probability: float

    def __new__(cls, probability: float) -> Chance:
        """A zero that remembers `probability`."""
        self = super().__new__(cls, 0.0)
        self.probability = probability
        return self


@functools.cache
def opened(func: _Function) -> _Function | None:
    """The same function whose inner calls are seen one by one; None for those that are one vertex."""
    if func is F.multi_head_attention_forward and isinstance(func, types.FunctionType):
        return _attention(func)
    return None


def _attention(func: types.FunctionType) -> _Function:
    signature = inspect.signature(func)
    plain = _body(func)
    # Without training it would drop its dropout, and a graph of it could never be trained as the layer is.
    silent = _body(func, dropout=_dropout, scaled_dot_product_attention=_scaled_attention)

    def run(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        if given.arguments["training"] or not given.arguments["dropout_p"]:
            return plain(*given.args, **given.kwargs)
        given.arguments["training"] = True
        return silent(*given.args, **given.kwargs)

    return run


def _body(func: types.FunctionType, **names: Any) -> _Function:
    """A function whose body sees other functions by these names.

    It begins by handing itself to the torch function mode that is on, which must not happen again: the copy
    sees no mode, the functions it calls do.
    """
    seen = {**func.__globals__, "has_torch_function": lambda tensors: False, **names}
    body = types.FunctionType(func.__code__, seen, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _dropout(values: torch.Tensor, p: float) -> torch.Tensor:
    return F.dropout(values, p, training=False)


def _scaled_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, p: float, causal: bool
) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask, Chance(p), causal)
