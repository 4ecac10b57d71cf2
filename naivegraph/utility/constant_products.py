"""Activations that are multiplied by tensors of parameters and buffers alone: masks and gains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import record_of
from naivegraph.operators.movement import Mask
from naivegraph.operators.relation import arguments
from naivegraph.operators.zeros import ALWAYS

__all__ = ["MULTIPLICATIONS", "ConstantProduct", "constant_products", "operator_name"]

MULTIPLICATIONS = ("mul", "mul_")


@dataclasses.dataclass(frozen=True)
class ConstantProduct:
    """An activation times a tensor of parameters and buffers alone.

    Attributes:
        activation: The activation.
        factors: The tensor that it is multiplied by, or a mask that chooses what is set to zero.
        nonzero: The elements that are not set to zero whatever they are, aligned to the result.
        gain: The factors along the one dimension of the result along which they differ, and that dimension;
            None if they are masks, or differ along several.
    """

    activation: Stub
    factors: Stub
    nonzero: Mask
    gain: tuple[int, torch.Tensor] | None


def constant_products(
    operations: Iterable[Operation], made: Callable[[Stub], torch.Tensor | None]
) -> dict[int, ConstantProduct]:
    """The products by constants that differ among neurons, by the `id` of the operator.

    Args:
        operations: The operators of a run, in order.
        made: The values of a tensor made of parameters and buffers alone; None for others.
    """
    zeros: set[int] = set()
    found: dict[int, ConstantProduct] = {}
    for operation in operations:
        if _makes_zeros(operation):
            zeros.update(out.id for out in operation.outputs if out is not None)
        product = _product(operation, made, zeros)
        if product is not None:
            found[id(operation)] = product
    return found


def operator_name(operation: Operation) -> str:
    """The name of an operator, without that of its variant."""
    return str(operation.func.overloadpacket.__name__)


def _makes_zeros(operation: Operation) -> bool:
    """Tell whether an operator makes a tensor of zeros alone."""
    if operator_name(operation) in ("scalar_tensor", "full", "full_like", "new_full"):
        return operation.args[-1] == 0 or arguments(operation).get("fill_value") == 0
    return record_of(operation.func).zeros is ALWAYS


def _factors(
    operation: Operation, made: Callable[[Stub], torch.Tensor | None], zeros: set[int]
) -> tuple[Stub, Stub, torch.Tensor] | None:
    """An activation, the tensor that makes its factors, and these; None for other operators."""
    name, operands = operator_name(operation), operation.operands
    if name in ("where", "masked_fill", "masked_fill_"):
        named = arguments(operation)
        mask = named["condition" if name == "where" else "mask"]
        chosen = made(mask)
        if chosen is None:
            return None
        if name != "where":
            return (named["self"], mask, ~chosen) if named["value"] == 0 else None
        one, two = named["self"], named["other"]
        if not isinstance(one, Stub) or not isinstance(two, Stub):
            return None
        if two.id in zeros:
            return one, mask, chosen
        return (two, mask, ~chosen) if one.id in zeros else None
    if len(operands) != 2 or 1 in [math.prod(stub.shape) for stub in operands]:
        return None
    one, two = operands
    if name in ("div", "div_"):
        divisor = made(two)
        return None if divisor is None or operation.kwargs else (one, two, divisor.double().reciprocal())
    if name not in MULTIPLICATIONS:
        return None
    factors = made(two)
    if factors is not None:
        return one, two, factors
    factors = made(one)
    return None if factors is None else (two, one, factors)


def _product(
    operation: Operation, made: Callable[[Stub], torch.Tensor | None], zeros: set[int]
) -> ConstantProduct | None:
    """An operator that multiplies an activation by constants which differ; None for others."""
    found, out = _factors(operation, made, zeros), operation.outputs[0] if operation.outputs else None
    if found is None or out is None or made(found[0]) is not None:
        return None
    activation, source, factors = found
    if factors.is_meta or factors.is_complex() or not factors.isfinite().all():
        return None
    values = factors.detach().cpu().double().abs()
    values = values.reshape([1] * (len(out.shape) - values.dim()) + [*values.shape])
    nonzero = np.ones([1] * len(out.shape), np.bool_)
    varying = []
    for dim, length in enumerate(values.shape):
        if length > 1:
            moved = values.movedim(dim, 0).flatten(1)
            dead = (moved == 0).all(1).numpy()
            nonzero = nonzero & ~dead.reshape([-1 if d == dim else 1 for d in range(values.dim())])
            if bool((moved != moved[:1]).any()):
                varying.append(dim)
    gain = None
    if len(varying) == 1:
        dim = varying[0] - len(out.shape) + len(activation.shape)  # below 0: the product alone has it
        if dim >= 0 and activation.shape[dim] == out.shape[varying[0]]:
            gain = dim, values.movedim(varying[0], 0).flatten(1)[:, 0].float()
    return (
        ConstantProduct(activation, source, nonzero, gain) if gain is not None or not nonzero.all() else None
    )
