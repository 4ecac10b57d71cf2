"""Weights with which a layer is the identity, or gives zero."""

from __future__ import annotations

import functools
import math

import torch
from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.undo import UndoLog, all_or_nothing

__all__ = ["start_as_identity", "start_as_zero"]


def start_as_identity(layer: nn.Module, name: str, undo: UndoLog) -> None:
    """Set the weights of a linear layer or a convolution so that it is the identity; norms start as such.

    Args:
        layer: Changed in place.
        name: How messages call it.
        undo: Takes what gives the layer its weights back.

    Raises:
        EditError: It cannot do that, or is no such layer; it is as it was.
    """
    weights = [(p, p.data) for p in layer.parameters()]

    def put_back() -> None:
        """Restore the weights."""
        for parameter, data in weights:
            parameter.data = data

    with all_or_nothing(undo):
        undo.push(put_back)
        for parameter, data in weights:
            parameter.data = data.clone()
        _fill(layer, name)


def start_as_zero(layer: nn.Module, name: str, undo: UndoLog) -> None:
    """Set the parameters of a linear layer, convolution or norm (last of a `Sequential`) to zero.

    Args:
        layer: Changed in place.
        name: How messages call it.
        undo: Takes what gives the layer its weights back.

    Raises:
        EditError: It is no such layer; it is as it was.
    """
    last = layer
    while isinstance(last, nn.Sequential) and len(last):
        last = last[-1]
    if not isinstance(last, _LINEAR + _NORMS) or last.weight is None or not _is_plain(last):
        raise EditError(
            f"{name!r} cannot start with zeros: nothing says how a {type(last).__name__} gives zero; let it "
            "end with a linear layer or a convolution, or give zero=False"
        )
    for parameter in last.parameters():
        undo.push(functools.partial(setattr, parameter, "data", parameter.data))
        parameter.data = torch.zeros_like(parameter.data)


def _fill(layer: nn.Module, name: str) -> None:
    if isinstance(layer, nn.Sequential):
        for key, inner in layer.named_children():
            _fill(inner, f"{name}.{key}")
        return
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            if layer.in_features != layer.out_features:
                raise EditError(
                    f"{name!r} cannot start as the identity: it takes {layer.in_features} neurons and "
                    f"gives {layer.out_features}"
                )
            nn.init.eye_(layer.weight)
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            _check_convolution(layer, name)
            nn.init.dirac_(layer.weight, layer.groups)
        elif next(layer.parameters(), None) is None or isinstance(layer, _NORMS):
            return
        else:
            raise EditError(
                f"{name!r} cannot start as the identity: nothing says how a {type(layer).__name__} does; "
                "give it such weights first and leave out identity="
            )
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    if not _is_plain(layer):
        _check_gives_back(layer, name)


def _is_plain(layer: nn.Module) -> bool:
    """Tell whether a layer is one of torch's own, computing with nothing but its weights."""
    hooks = layer._forward_pre_hooks or layer._forward_hooks or "forward" in vars(layer)
    return type(layer).__module__.startswith("torch.nn.modules.") and not hooks


def _check_gives_back(layer: nn.Module, name: str) -> None:
    """Check by a run that a layer with more than its weights (a gain, a mask) gives back what it takes."""
    weight = next(p for p in layer.parameters() if p.is_floating_point())
    if isinstance(layer, nn.Linear):
        shape = [3, layer.in_features]
    else:
        shape = [2, layer.in_channels, *(2 * k + 1 for k in layer.kernel_size)]  # type: ignore[union-attr, list-item]
    taken = torch.linspace(-1, 1, math.prod(shape)).reshape(shape).to(weight)
    with restored(layer), preserved(layer), torch.no_grad():
        given = layer(taken)
    if given.shape != taken.shape or not torch.allclose(given, taken, rtol=1e-3, atol=1e-4):
        raise EditError(
            f"{name!r} cannot start as the identity: a {type(layer).__name__} computes with more than its "
            "weight and bias (a gain, a mask, a norm); give it such weights first and leave out identity="
        )


_LINEAR = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


def _check_convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, name: str) -> None:
    """A kernel with a one in its middle is the identity if the middle lies on the pixel itself."""
    # torch keeps the padding of every side, dimensions from the last, whatever was written as padding=
    sides = layer._reversed_padding_repeated_twice
    reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    centred = all(
        k % 2 == 1 and sides[2 * i] == sides[2 * i + 1] == r // 2
        for i, (k, r) in enumerate(zip(reversed(layer.kernel_size), reversed(reach), strict=True))
    )
    if layer.in_channels != layer.out_channels or set(layer.stride) != {1} or not centred:
        raise EditError(
            f"{name!r} cannot start as the identity: that takes a convolution with as many outputs as "
            "inputs, stride 1, an odd kernel and padding which keeps the size"
        )
