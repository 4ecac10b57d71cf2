"""Torch functions recorded call by call, as they are written in Python and compute with sizes themselves."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["DropoutProbability", "decomposed"]

_Function = Callable[..., Any]

_DATA_SETTER: Any = vars(torch._C.TensorBase)["data"].__set__  # of `tensor.data = values`


class DropoutProbability(float):
    """A probability of dropout, zero in eval mode, which keeps its value in train mode."""

    probability: float

    def __new__(cls, probability: float, training: bool) -> DropoutProbability:
        """Make `probability` in train mode, or a zero that keeps it."""
        self = super().__new__(cls, probability if training else 0.0)
        self.probability = probability
        return self


@functools.cache
def decomposed(func: _Function) -> _Function | None:
    """The function with its inner calls recorded one by one; None for functions that are one vertex."""
    if func is F.multi_head_attention_forward and isinstance(func, types.FunctionType):
        return _attention(func)
    return _set_data if func == _DATA_SETTER else None


def _attention(func: types.FunctionType) -> _Function:
    """Multi-head attention with its inner calls recorded, whose dropout follows the training flag."""
    signature = inspect.signature(func)
    plain = _body(func)
    # In eval mode it leaves its dropout out, and a graph of that could never be trained as the layer is.
    dropping = {training: _dropping(func, training) for training in (False, True)}

    def run(*args: Any, **kwargs: Any) -> Any:
        """Call the body with dropout that follows the flag, or as it is without dropout."""
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if not bound.arguments["dropout_p"]:
            return plain(*bound.args, **bound.kwargs)
        body = dropping[bool(bound.arguments["training"])]
        bound.arguments["training"] = True
        return body(*bound.args, **bound.kwargs)

    return run


def _set_data(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Write values into a tensor, where it would get memory past all operators (`tensor.data = values`)."""
    facts = [(each.shape, each.dtype, each.device, each.layout) for each in (tensor, values)]
    if facts[0] == facts[1] and not tensor.is_set_to(values):
        tensor.detach().copy_(values)
        return
    with torch._C.DisableTorchFunction():
        tensor.data = values


def _body(func: types.FunctionType, **names: Any) -> _Function:
    """A copy of a function whose body sees other functions by these names.

    The original begins by passing itself to the active torch function mode, which would be endless: the copy
    finds no mode, the functions it calls do.
    """
    seen = {**func.__globals__, "has_torch_function": lambda tensors: False, **names}
    body = types.FunctionType(func.__code__, seen, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    return body


def _dropping(func: types.FunctionType, training: bool) -> _Function:
    """Attention as in train mode, but with dropout that follows the flag."""

    def dropout(values: torch.Tensor, p: float) -> torch.Tensor:
        """Dropout of attention weights, by the flag."""
        return F.dropout(values, p, training=training)

    def scaled_attention(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, p: float, causal: bool
    ) -> torch.Tensor:
        """Attention whose probability of dropout follows the flag."""
        return F.scaled_dot_product_attention(q, k, v, mask, DropoutProbability(p, training), causal)

    return _body(func, dropout=dropout, scaled_dot_product_attention=scaled_attention)
