"""Networks inside torch's own wrappers, which do nothing but call them."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = ["unwrapped"]


def unwrapped(network: Any) -> Any:
    """The network inside DataParallel, DistributedDataParallel or `torch.compile`; any other as it is.

    An edit of the network is an edit of its wrapper, too, and its names are those without the wrapper.

    Example:
        >>> unwrapped(nn.DataParallel(nn.Linear(2, 3)))
        Linear(in_features=2, out_features=3, bias=True)
    """
    while isinstance(network, nn.Module):
        if isinstance(network, (DataParallel, DistributedDataParallel)):
            network = network.module
        elif _compiled(network):
            network = network._orig_mod
        else:
            break
    return network


def _compiled(network: nn.Module) -> bool:
    compiler = sys.modules.get("torch._dynamo.eval_frame")  # Slow to load, and there once it was used.
    return compiler is not None and isinstance(network, compiler.OptimizedModule)
