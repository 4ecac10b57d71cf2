"""Values of neurons that are worked out for single widths, as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from naivegraph.utility.collect import Floats
from naivegraph.utility.criteria import WeightScore, criterion
from naivegraph.utility.scores import Loss
from naivegraph.utility.utility import Utility, check_utility, utilities
from naivegraph.widths import Width, Widths

__all__ = ["utilities_on_demand"]


def utilities_on_demand(
    widths: Widths, utility: Utility = None, *, default: Utility = "l2", loss: Loss | None = None,
    calibration: Any = None, once: bool = False,
) -> Mapping[Width, Floats]:  # fmt: skip
    """Values as `utilities` gives them; those of weights alone are worked out width by width.

    An edit of one layer asks for the values of the few widths that may change with it.

    Raises:
        EditError: The utility does not fit the network, or a loss is missing; of weights that are not finite
            when a width of theirs is asked for.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
        >>> widths = ng.capture(net, torch.ones(1, 2)).widths
        >>> found, whole = utilities_on_demand(widths), utilities(widths)
        >>> all((found[width] == values).all() for width, values in whole.items())
        True
    """
    check_utility(utility, loss)
    chosen = default if utility is None else utility
    named = criterion(chosen) if isinstance(chosen, str) else chosen
    if type(named) is WeightScore and named.in_effect:
        return named.collected(widths, None, once=once)
    return utilities(widths, utility, default=default, loss=loss, calibration=calibration, once=once)
