"""Optimizer state, cut and extended like the parameters it belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import ASGD, LBFGS, Adafactor, Adagrad, Optimizer, Rprop
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from naivegraph.edits.apply.origins import Places
from naivegraph.edits.apply.resize_tensors import NewTensor
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.unwrap import unwrapped

__all__ = ["NewState", "as_optimizers", "given_back", "new_states", "split_averages"]

Fill = Callable[[Mapping[str, Any], NewTensor], "float | torch.Tensor"]

# Initial values of new entries of a state where an optimizer does not start from zero.
_STARTS: list[tuple[type[Optimizer], str, Fill]] = [
    (Adagrad, "sum", lambda group, new: float(group["initial_accumulator_value"])),
    (Rprop, "step_size", lambda group, new: float(group["lr"])),
    # The average of a weight over a time before it existed is the weight.
    (ASGD, "ax", lambda group, new: new.data),
]

# States that are sums over one dimension of the parameter, counted from the last, which they keep with one
# index. Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost" (ICML 2018).
_REDUCED: list[tuple[type[Optimizer], str, int]] = [(Adafactor, "row_var", -1), (Adafactor, "col_var", -2)]


def as_optimizers(optimizer: Any) -> tuple[Any, ...]:
    """One optimizer (or averaged model), several, or None, as a tuple.

    Raises:
        EditError: Something else is among them.
    """
    several = () if optimizer is None else optimizer
    items = tuple(several) if isinstance(several, (list, tuple)) else (several,)
    for item in items:
        if not isinstance(item, (Optimizer, AveragedModel, LRScheduler)):
            raise EditError(
                "optimizer= takes torch optimizers, their schedulers and AveragedModel, one or several, not "
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
    """The new state of an optimizer for one parameter.

    Attributes:
        optimizer: The optimizer.
        parameter: The parameter.
        values: The state; None if there is none.
    """

    optimizer: Optimizer
    parameter: torch.Tensor
    values: dict[str, Any] | None
    new: NewTensor
    group: Mapping[str, Any]
    before: Mapping[str, Any]

    def apply(self) -> None:
        """Set the state."""
        _forget_size(self.optimizer)
        if self.values is not None:
            self.optimizer.state[self.parameter] = dict(self.values)

    def way_back(self) -> Callable[[], None]:
        """A function that restores the present state."""
        optimizer, key = self.optimizer, self.parameter
        before = dict(optimizer.state[key]) if key in optimizer.state else None
        # Counters are changed in place by later steps; the other tensors are replaced.
        kept = {} if before is None else {k: _copy(v) for k, v in before.items() if self._same(k, v)}

        def undo() -> None:
            """Restore the state."""
            _forget_size(optimizer)
            if before is None:
                optimizer.state.pop(key, None)  # the dict itself is another after `load_state_dict`
            else:
                optimizer.state[key] = {**before, **kept}

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
    """Work out the new state of every changed parameter of `module`, without changing anything.

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
        out += [
            NewState(
                optimizer, p, _followed(optimizer, group, p, new), new, group,
                dict(optimizer.state.get(p, {})),
            )
            for group, p, new in found
        ]  # fmt: skip
    return out


def _followed(
    optimizer: Optimizer, group: Mapping[str, Any], parameter: torch.Tensor, new: NewTensor
) -> dict[str, Any] | None:
    state = optimizer.state.get(parameter)
    if not state:
        return None
    return {key: _value(optimizer, group, key, value, new) for key, value in state.items()}


def _value(optimizer: Optimizer, group: Mapping[str, Any], key: str, value: Any, new: NewTensor) -> Any:
    if _is_counter(optimizer, key, value, new.tensor.numel()):
        return value
    if value.shape == new.tensor.shape and _reduced(optimizer, key) is None:
        out = new.places.resized(value, _start(optimizer, group, key, new))
        return out.clone() if out is value else out
    places = _partial_places(value, new, _reduced(optimizer, key), new.tensor.shape)
    if places is None:
        raise EditError(
            f"the {type(optimizer).__name__} keeps {key!r} of shape {tuple(value.shape)} for {new.name}, "
            f"which has shape {tuple(new.tensor.shape)}, so it cannot follow; make a new optimizer after "
            "the edit"
        )
    out = places.taken(value)
    return out.clone() if out is value else out  # a new row begins with what is known of one like it


def _is_counter(optimizer: Optimizer, key: str, value: Any, size: int) -> bool:
    """Tell if a state is no tensor with entries of a parameter of this size."""
    if not isinstance(value, torch.Tensor) or not value.dim():
        return True
    return _reduced(optimizer, key) is None and value.numel() == 1 != size


def _start(optimizer: Optimizer, group: Mapping[str, Any], key: str, new: NewTensor) -> float | torch.Tensor:
    """The value that new entries of a state start with."""
    for kind, name, fill in _STARTS:
        if isinstance(optimizer, kind) and name == key:
            return fill(group, new)
    return 0.0


def _reduced(optimizer: Optimizer, key: str) -> int | None:
    """The dimension that a state of this name was summed over, counted from the last, if that is known."""
    found = (dim for kind, name, dim in _REDUCED if isinstance(optimizer, kind) and name == key)
    return next(found, None)


def _partial_places(
    value: torch.Tensor, new: NewTensor, reduced: int | None, shape: torch.Size
) -> Places | None:
    """The places of a state that lacks a dimension of a parameter of a shape; None if nothing tells which."""
    rank = len(shape)
    if value.dim() == rank:
        one = [d - rank == reduced if reduced is not None else value.shape[d] == 1 for d in range(rank)]
        kept = [d for d in range(rank) if not one[d]]
        fits = all(value.shape[d] == (shape[d] if d in kept else 1) for d in range(rank))
        return new.places.along(kept, keep=True) if fits else None
    without = [d for d in range(rank) if shape[:d] + shape[d + 1 :] == value.shape]
    if len(without) != 1:
        return None
    return new.places.along([d for d in range(rank) if d != without[0]], keep=False)


def given_back(state: NewState) -> dict[str, Any] | None:
    """The present state of an optimizer for a parameter, with the old state of removed neurons.

    Where there was none, they start as new ones do.
    """
    optimizer, new = state.optimizer, state.new
    now = optimizer.state.get(state.parameter)
    if not now:
        return None
    shape, out = torch.Size(new.places.new_shape), dict(now)
    for key, value in now.items():
        if _is_counter(optimizer, key, value, shape.numel()):
            continue
        whole = value.shape == shape and _reduced(optimizer, key) is None
        places = new.places if whole else _partial_places(value, new, _reduced(optimizer, key), shape)
        if places is None:
            continue
        old = state.before.get(key)
        if not isinstance(old, torch.Tensor) or old.shape != places.shape:
            start = _start(optimizer, state.group, key, new)
            # An average starts as the weight, which comes back as it was.
            old = new.before if isinstance(start, torch.Tensor) else value.new_full(places.shape, start)
        out[key] = places.given_back(old.to(value), value, ())
    return out
