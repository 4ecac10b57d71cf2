"""Other data for a tensor that stays the same object."""

from __future__ import annotations

import torch

__all__ = ["give"]


def give(tensor: torch.Tensor, data: torch.Tensor, grad: torch.Tensor | None) -> None:
    """Let a tensor have other data, and forget the node in which its gradients were gathered.

    That node lives as long as any older result of the network (a loss, say) and insists on the old shape;
    torch makes a new one only where the type changes.

    Args:
        tensor: A parameter or buffer.
        data: Its new data, of any shape, type and device.
        grad: Its new gradient.
    """
    tensor.grad = None
    if tensor.shape != data.shape and (tensor.is_floating_point() or tensor.is_complex()):
        two = (torch.complex64, torch.complex128) if tensor.is_complex() else (torch.float32, torch.float64)
        other = two[tensor.dtype == two[0]]
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = data
    if grad is not None:
        tensor.grad = grad
