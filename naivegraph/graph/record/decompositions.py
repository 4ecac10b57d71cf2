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
    """A probability of dropout which is zero in a network that does not train, but knows what it is else."""

    probability: float

    def __new__(cls, probability: float, training: bool) -> Chance:
        """`probability` if the network trains, and else a zero that remembers it."""
        self = super().__new__(cls, probability if training else 0.0)
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
    dropping = {training: _dropping(func, training) for training in (False, True)}

    def run(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        if not given.arguments["dropout_p"]:
            return plain(*given.args, **given.kwargs)
        body = dropping[bool(given.arguments["training"])]
        given.arguments["training"] = True
        return body(*given.args, **given.kwargs)

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


def _dropping(func: types.FunctionType, training: bool) -> _Function:
    """Attention as in train mode, whose dropout is written as one that follows the flag."""

    def dropout(values: torch.Tensor, p: float) -> torch.Tensor:
        return F.dropout(values, p, training=training)

    def scaled_attention(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, p: float, causal: bool
    ) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, mask, Chance(p, training), causal)

    return _body(func, dropout=dropout, scaled_dot_product_attention=scaled_attention)
