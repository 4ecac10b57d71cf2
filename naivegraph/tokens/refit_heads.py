"""Heads of networks refitted to what they are to give, in closed form.

A decoded network has hidden layers much like the original's and a head that does not quite go with them. The
head is linear, so that the best one is the solution of a system of equations: no training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from naivegraph.edits.request.validate import at_least_zero
from naivegraph.reconstruct.moments import Moments
from naivegraph.reconstruct.ridge import RIDGES, least_squares
from naivegraph.tokens.networks import Networks

__all__ = ["refit"]


def refit(networks: Networks, inputs: Tensor, targets: Tensor, *, ridge: float = 1e-3) -> Networks:
    """Give networks the heads with the least squared error.

    Structure and hidden layers stay. Weights of edges that are there, and biases, are solved for.

    Args:
        networks: n valid networks, such as decoded or drawn ones.
        inputs: What they are run on, `[b, inputs, ...]`, or `[n, b, inputs, ...]`.
        targets: What they are to give: numbers, such as those of an original or of data, `[b, outputs]`, or
            `[n, b, outputs]`.
        ridge: The penalty on the distance of weights from those there, in units of the mean square of an
            input; where the equations have no answer, a larger one is taken.

    Raises:
        EditError: The ridge is no number of at least 0.
        ValueError: Shapes do not fit, or a target is not finite.

    Example:
        >>> from naivegraph.tokens.frame import Frame
        >>> from naivegraph.tokens.random_structure import random_structure
        >>> frame, x = Frame("dense", 2, 1, depth=1, width=4), torch.randn(50, 2)
        >>> networks = random_structure(frame, 3, seed=0)
        >>> y = x.sum(1, keepdim=True)
        >>> off = lambda some: float((some.run(x) - y).square().mean())
        >>> off(refit(networks, x, y)) < 0.5 * off(networks)
        True
    """
    at_least_zero(ridge, "ridge")
    frame, count = networks.frame, len(networks)
    run = networks.run_hidden(inputs)
    if not targets.is_floating_point() or targets.shape[-2:] != run.outputs.shape[-2:]:
        raise ValueError(
            f"targets are {tuple(targets.shape)} of {targets.dtype}, and are to be numbers, "
            f"{tuple(run.outputs.shape[-2:])}"
        )
    if not targets.isfinite().all():
        raise ValueError("the targets hold numbers that are not finite: leave these samples out")
    outputs, middle = frame.outputs, frame.kernel // 2
    edges = networks.edges[:, -1, :outputs].double()
    # A group for each network and output, as each output has edges of its own.
    given = (run.last.detach().double()[:, None] * edges[:, :, None]).flatten(0, 1)
    wanted = targets.double().expand_as(run.outputs).mT.flatten(0, 1)[..., None]
    moments = Moments.none(len(given), frame.columns, 1, given.device)
    moments.add(given, wanted)
    weights = networks.weights[:, -1, :outputs, :, middle].double() * edges
    kept = torch.cat([weights, networks.bias[:, -1, :outputs, None].double()], 2).flatten(0, 1)[..., None]
    for penalty in (ridge, *(each for each in RIDGES if each > ridge)):
        found = least_squares(moments, kept, penalty, bias=True)
        if found is not None:
            break
    else:
        return networks
    solved = found.reshape(count, outputs, -1).to(networks.weights.dtype)
    new = {"weights": networks.weights.clone(), "bias": networks.bias.clone()}
    new["weights"][:, -1, :outputs, :, middle] = solved[..., :-1] * edges.to(solved)
    new["bias"][:, -1, :outputs] = solved[..., -1]
    return networks.replaced(**new)
