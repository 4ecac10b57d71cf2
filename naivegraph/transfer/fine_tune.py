"""Training after an edit: groups of parameters with learning rates of their own, and gradual unfreezing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.network import Graph

__all__ = ["Unfreezing", "parameter_groups"]


def parameter_groups(
    model: nn.Module | Graph,
    edits: Edit | Sequence[Edit],
    *,
    lr: float = 1e-3,
    changed: float = 0.3,
    kept: float = 0.1,
) -> list[dict[str, Any]]:
    """Sort parameters by what edits did to them, as groups for an optimizer.

    What was trained already is easily spoilt by steps that suit what is new. Hence the default rates; Howard
    and Ruder, "Universal language model fine-tuning for text classification", ACL 2018, section 3.2, train
    earlier layers with rates smaller by 2.6 each.

    Args:
        model: The network, or its graph.
        edits: The edit, or several, in order.
        lr: The learning rate of new parameters: those of layers that came, and those of which no row stayed.
        changed: The rate of those that have some new rows, as a share of it.
        kept: The rate of all others, as a share of it; with 0 they are frozen.

    Returns:
        The groups "new", "changed" and "kept", without empty ones, as dicts with "params", "lr" and "name".

    Raises:
        EditError: A rate is no number from 0 up, or an edit is none.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 10))
        >>> edit = ng.transfer.head(net, torch.ones(1, 4), "2", classes=3)
        >>> groups = parameter_groups(net, edit)
        >>> [(group["name"], len(group["params"]), group["lr"]) for group in groups]
        [('new', 2, 0.001), ('kept', 2, 0.0001)]
        >>> optimizer = torch.optim.AdamW(groups)
    """
    rate = validate.at_least_zero(lr, "lr")
    shares = {"new": 1.0, "changed": validate.at_least_zero(changed, "changed")}
    shares["kept"] = validate.at_least_zero(kept, "kept")
    module = model.module if isinstance(model, Graph) else model
    found: dict[str, str] = {}
    for each in [edits] if isinstance(edits, Edit) else edits:
        if not isinstance(each, Edit):
            raise EditError(f"edits= has {type(each).__name__}, which is no edit")
        for change in [*(one.change for one in each.earlier), each.change]:
            found.update(_told(change, module))
    sorted_by: dict[str, list[nn.Parameter]] = {name: [] for name in shares}
    for name, parameter in module.named_parameters():
        sorted_by[found.get(name, "kept")].append(parameter)
    if not kept:
        for parameter in sorted_by.pop("kept"):
            parameter.requires_grad_(False)
    return [
        {"params": parameters, "lr": rate * shares[name], "name": name}
        for name, parameters in sorted_by.items()
        if parameters
    ]


def _told(change: Change, module: nn.Module) -> Iterator[tuple[str, str]]:
    """The parameters that a change gave new rows, or that are new, with the name of their group."""
    for name, axes in change.tensors.items():
        keys = {factor for axis in axes for term in axis for factor in term if isinstance(factor, str)}
        widths = [change.widths[key] for key in keys]
        if any(width.new and not width.stay for width in widths):
            yield name, "new"
        elif any(width.new for width in widths):
            yield name, "changed"
    steps: Iterable[Any] = (change.structure or {}).get("steps", ())
    layers = [step["name"] for step in steps if step["do"] in ("layer", "double")]
    for name, _ in module.named_parameters():
        if any(name.startswith(f"{layer}.") for layer in layers):
            yield name, "new"


class Unfreezing:
    """Unfreezing of a network from its end to its beginning, stage by stage.

    All parameters but those of the last stage are frozen at first; every `advance()` frees one more stage.
    Batch norms of frozen layers still measure their inputs in train mode. `release()` gives each parameter
    the flag that it had.

    Args:
        graph: The graph of the network; its order tells which layers come last.
        stages: The number of stages, with as many layers each as far as possible.

    Attributes:
        stages: The names of the parameters of each stage, the last layers first.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> unfreezing = Unfreezing(ng.capture(net, torch.ones(1, 4)), stages=3)
        >>> [p.requires_grad for p in net.parameters()]
        [False, False, False, False, True, True]
        >>> unfreezing.advance()
        True
        >>> [p.requires_grad for p in net.parameters()]
        [False, False, True, True, True, True]
    """

    def __init__(self, graph: Graph, stages: int = 4) -> None:
        validate.whole(stages, "stages", 1)
        self._parameters = dict(graph.module.named_parameters())
        self._before = {name: each.requires_grad for name, each in self._parameters.items()}
        layers = _in_order(graph)
        count = min(stages, len(layers)) or 1
        bounds = [round(place * len(layers) / count) for place in range(count + 1)]
        self.stages = [
            [name for layer in layers[start:end] for name in layer]
            for start, end in itertools.pairwise(bounds)
        ]
        self._free = 0
        for parameter in self._parameters.values():
            parameter.requires_grad_(False)
        self.advance()

    def advance(self) -> bool:
        """Free one more stage; False if all were free."""
        if self._free >= len(self.stages):
            return False
        for name in self.stages[self._free]:
            self._parameters[name].requires_grad_(self._before[name])
        self._free += 1
        return True

    def release(self) -> None:
        """Give each parameter the flag that it had before."""
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(self._before[name])


def _in_order(graph: Graph) -> list[list[str]]:
    """The parameters of each vertex that has some, the last vertex first; those of none come in the end."""
    by_stub: dict[int, list[str]] = {}
    parameters = {name for name, _ in graph.module.named_parameters()}
    for name, stub in graph.state.items():
        if name in parameters:
            by_stub.setdefault(stub.id, []).append(name)
    layers: list[list[str]] = []
    for vertex in reversed(graph.vertices):
        numbers = dict.fromkeys(stub.id for each in vertex.operations for stub in each.operands)
        own = [name for number in numbers for name in by_stub.pop(number, [])]
        if own:
            layers.append(own)
    rest = [name for names in by_stub.values() for name in names]
    return [*layers, *([rest] if rest else [])]
