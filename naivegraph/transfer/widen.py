"""More neurons in a pretrained network, which computes the same with them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import torch

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.config.sync_config import with_config
from naivegraph.edits.plan.change import AttributeChange, Change
from naivegraph.edits.request import validate
from naivegraph.edits.request.requests import RequestLike, Size
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize import axis_requests_of, carry_out
from naivegraph.edits.resize_program.resize_program import AxisRequest
from naivegraph.edits.resize_program.strategy import Attempt, Solve, decide
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.network import Graph
from naivegraph.transfer.config_sizes import ConfigSizes, sizes_by_config
from naivegraph.transfer.kept_function import KeptFunction
from naivegraph.widths import SizeConstraints, constraints_of, relate

__all__ = ["widen"]


@graph_verb
def widen(
    model: Graph,
    sizes: Mapping[Any, RequestLike],
    *,
    allow: bool = False,
    initialise: Any = "layer",
    optimizer: Any = None,
    seed: int = 0,
) -> Edit:
    """Add neurons to a network, in place, so that it computes the same (docs/widen.md).

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        sizes: By the name of an entry of the network's config, as of those of transformers: its value
            afterwards (`{"hidden_size": 1024, "intermediate_size": 4096}`). By vertex: a request as in
            `ng.resize` (`+8`, `ng.size(48)`, `ng.heads(4)`).
        allow: Whether the network may compute something else where that cannot be kept.
        initialise: How new neurons begin, as in `ng.resize`.
        optimizer: An optimizer (or several) whose state follows.
        seed: For the weights of new neurons.

    Returns:
        The edit; its `difference` is the largest of the outputs on the example, relative to the largest
        number among them.

    Raises:
        EditError: What the network computes cannot be kept, or a size cannot be had; everything is as it was.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.Linear(6, 2))
        >>> x = torch.randn(3, 4)
        >>> before = net(x)
        >>> edit = ng.transfer.widen(net, x, {"0": ng.size(11)})
        >>> net[1].weight.shape, torch.allclose(net(x), before, atol=1e-5), edit.function_kept
        (torch.Size([11]), True, True)
    """
    asked = validate.mapping(sizes, "sizes", "by entries of the network's config or vertices")
    widths = relate(model, free_outputs=True)
    constraints = constraints_of(widths)
    entries = {key: size for key, size in asked.items() if key not in model and isinstance(key, str)}
    by_config = sizes_by_config(constraints, entries)
    requests = [
        *axis_requests_of(model, widths, {k: v for k, v in asked.items() if k not in entries}),
        *(
            AxisRequest(model.vertices[0], axis, Size(size), f"the config's {', '.join(entries)}")
            for axis, size in by_config.axes
        ),
    ]
    attempt = Attempt(widths, constraints, tuple(requests), None, lambda chosen: {})
    try:
        answer = decide(Solve(), attempt)
    except InfeasibleError as error:
        raise EditError(f"that cannot be done: {error}") from error
    if answer is None:
        raise EditError("that cannot be done")
    kept = KeptFunction(model, widths)
    edit = carry_out(
        model,
        widths,
        constraints,
        answer,
        {str(getattr(key, "name", key)): size for key, size in asked.items()},
        axis_requests=requests,
        initialise=initialise,
        optimizer=optimizer,
        seed=seed,
        adjust=functools.partial(_adjusted, constraints=constraints, sizes=by_config),
        kept_only=not allow,
    )
    difference = kept.difference(edit.change) if edit else 0.0
    if not allow and difference > _most(model):
        edit.undo()
        raise EditError(
            f"what the network computes would change by {difference:.1e} of its largest output: allow=True "
            "does it all the same"
        )
    return dataclasses.replace(edit, difference=difference)


def _adjusted(change: Change, constraints: SizeConstraints, sizes: ConfigSizes) -> Change:
    """Add the changes of attributes, and those of the config if it describes the network then."""
    if not change:
        return change
    made = _with(change, sizes.attributes)
    said = _with(made, sizes.config)
    return made if with_config(said, constraints)[1] else said


def _with(change: Change, attributes: tuple[AttributeChange, ...]) -> Change:
    known = {(each.path, each.name, each.keys) for each in change.attributes}
    more = [each for each in attributes if (each.path, each.name, each.keys) not in known]
    return dataclasses.replace(change, attributes=[*change.attributes, *more])


def _most(graph: Graph) -> float:
    """A difference beyond that of rounding."""
    dtypes = {p.dtype for p in graph.module.parameters() if p.is_floating_point()}
    return max((torch.finfo(dtype).eps ** 0.5 for dtype in dtypes), default=1e-3)
