"""Trained values of the neurons that an edit kept, beside the old ones of those it removed."""

from __future__ import annotations

from typing import Any

import torch

from naivegraph.edits.apply.change_module import ChangedModule
from naivegraph.edits.apply.checkpoint import Checkpoint
from naivegraph.edits.apply.give import give
from naivegraph.edits.apply.optimizer_state import NewState, given_back
from naivegraph.edits.apply.resize_tensors import NewTensor
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.module_paths import Modules

__all__ = ["TrainedValues"]


class TrainedValues:
    """The training since an edit, worked out before the edit is undone, and put back after that.

    Args:
        changed: The edited network, as it is now.
        checkpoint: The state before the edit.

    Raises:
        EditError: A layer that was resized was replaced since.
    """

    def __init__(self, changed: ChangedModule, checkpoint: Checkpoint) -> None:
        networks = [changed, *changed.averages]
        self._tensors = [_trained(new, each) for each in networks for new in each.tensors]
        self._states: list[tuple[NewState, dict[str, Any] | None]] = [
            (state, given_back(state)) for state in changed.states
        ]
        self._checkpoint = checkpoint
        self._present = checkpoint.present()

    def put_back(self) -> None:
        """Put the trained values back, and old ones into layers that the edit had removed."""
        self._checkpoint.restore_tensors(without=self._present)
        for tensor, data, grad in self._tensors:
            give(tensor, data, grad)
        for state, values in self._states:
            if values is None:
                state.optimizer.state.pop(state.parameter, None)
            else:
                state.optimizer.state[state.parameter] = dict(values)


@torch.no_grad()
def _trained(
    new: NewTensor, changed: ChangedModule
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The tensor of a name in the network of now, with its data and gradient to be."""
    present = new.name if changed.closing is None else changed.closing.after(new.name) or new.name
    path, _, name = present.rpartition(".")
    try:
        owner = Modules(changed.network)[path]
    except AttributeError:
        owner = None
    now = None if owner is not new.owner else getattr(owner, name, None)
    if not isinstance(now, torch.Tensor) or now.shape != new.places.new_shape:
        raise EditError(
            f"{new.name}, which the edit resized, was replaced since, so it has no trained values to keep: "
            "undo without keep_training=, or put the layer back first"
        )
    data = new.places.given_back(new.before.to(now), now.data, new.factors)
    if now.grad is None:
        return now, data, None
    old = new.before_grad
    base = torch.zeros_like(data) if old is None else old.to(data)
    return now, data, new.places.given_back(base, now.grad, ())
