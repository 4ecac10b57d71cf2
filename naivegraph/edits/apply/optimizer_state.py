"""Optimizers that follow an edit: their state of every changed parameter is cut and extended like it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import ASGD, LBFGS, Adagrad, Optimizer, Rprop
from torch.optim.swa_utils import AveragedModel

from naivegraph.edits.apply.resize_tensors import NewTensor
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.unwrap import unwrapped

__all__ = ["NewState", "as_optimizers", "new_states", "split_averages"]

Fill = Callable[[Mapping[str, Any], NewTensor], "float | torch.Tensor"]

# What new entries of a state start with where an optimizer does not start from zero.
_STARTS: list[tuple[type[Optimizer], str, Fill]] = [
    (Adagrad, "sum", lambda group, new: float(group["initial_accumulator_value"])),
    (Rprop, "step_size", lambda group, new: float(group["lr"])),
    # The average of a weight over a time in which it was not there is the weight.
    (ASGD, "ax", lambda group, new: new.data),
]


def as_optimizers(optimizer: Any) -> tuple[Any, ...]:
    """One optimizer (or averaged model), several, or None, as a tuple.

    Raises:
        EditError: Something else is among them.
    """
    given = () if optimizer is None else optimizer
    items = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    for item in items:
        if not isinstance(item, (Optimizer, AveragedModel)):
            raise EditError(
                "optimizer= takes torch optimizers and AveragedModel, one or several, not "
                f"{type(item).__name__}; a copy of the network follows by ng.replay(copy, edit.to_json())"
            )
    return items


def split_averages(optimizers: Iterable[Any]) -> tuple[list[nn.Module], list[Optimizer]]:
    """The networks inside averaged models, and the optimizers."""
    items = [item for each in optimizers for item in as_optimizers(each)]
    averages = [unwrapped(item.module) for item in items if isinstance(item, AveragedModel)]
    return averages, [item for item in items if isinstance(item, Optimizer)]


@dataclasses.dataclass
class NewState:
    """What an optimizer will remember of one parameter."""

    optimizer: Optimizer
    parameter: torch.Tensor
    values: dict[str, Any] | None

    def apply(self) -> None:
        """Put it in place."""
        _forget_size(self.optimizer)
        if self.values is not None:
            self.optimizer.state[self.parameter] = dict(self.values)

    def way_back(self) -> Callable[[], None]:
        """What puts the state of now back in place."""
        states, key = self.optimizer.state, self.parameter
        before = dict(states[key]) if key in states else None
        # Counters are changed in place by later steps; the other tensors are replaced.
        kept = {} if before is None else {k: _copy(v) for k, v in before.items() if self._same(k, v)}

        def undo() -> None:
            _forget_size(self.optimizer)
            if before is None:
                states.pop(key, None)
            else:
                states[key] = {**before, **kept}

        return undo

    def _same(self, key: str, value: Any) -> bool:
        return self.values is not None and self.values.get(key) is value


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _forget_size(optimizer: Optimizer) -> None:
    if isinstance(optimizer, LBFGS):
        optimizer._numel_cache = None


@torch.no_grad()
def new_states(
    made: Iterable[NewTensor], optimizers: Sequence[Optimizer], module: nn.Module
) -> list[NewState]:
    """What becomes of the state of every changed parameter of `module`; changes nothing.

    Raises:
        EditError: An optimizer has state that cannot follow, or has none of the network's parameters.
    """
    if not optimizers:
        return []
    by_id = {id(new.tensor): new for new in made}
    own = {id(parameter) for parameter in module.parameters()}
    out: list[NewState] = []
    for optimizer in optimizers:
        found = [
            (group, p, by_id[id(p)])
            for group in optimizer.param_groups
            for p in group["params"]
            if id(p) in by_id
        ]
        if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            raise EditError(
                f"the {type(optimizer).__name__} given has none of the network's parameters: "
                "was it made for another copy of the network?"
            )
        if found and isinstance(optimizer, LBFGS) and any(optimizer.state.values()):
            raise EditError(
                "LBFGS remembers past steps of all parameters in one vector, which cannot follow a change of "
                "sizes; make a new LBFGS after the edit instead of passing it"
            )
        out += [NewState(optimizer, p, _followed(optimizer, group, p, new)) for group, p, new in found]
    return out


def _followed(
    optimizer: Optimizer, group: Mapping[str, Any], parameter: torch.Tensor, new: NewTensor
) -> dict[str, Any] | None:
    state = optimizer.state.get(parameter)
    if not state:
        return None
    return {key: _value(optimizer, group, key, value, new) for key, value in state.items()}


def _value(optimizer: Optimizer, group: Mapping[str, Any], key: str, value: Any, new: NewTensor) -> Any:
    if not isinstance(value, torch.Tensor) or value.numel() == 1 != new.tensor.numel() or not value.dim():
        return value
    if value.shape != new.tensor.shape:
        raise EditError(
            f"the {type(optimizer).__name__} keeps {key!r} of shape {tuple(value.shape)} for {new.name}, "
            f"which has shape {tuple(new.tensor.shape)}, so it cannot follow; make a new optimizer after "
            "the edit"
        )
    for kind, name, fill in _STARTS:
        if isinstance(optimizer, kind) and name == key:
            return new.places.resized(value, fill(group, new))
    return new.places.resized(value, 0.0)
