"""The state of a network and its followers: tensors, gradients, submodules, optimizers, schedulers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from naivegraph.edits.apply.give import give
from naivegraph.graph.torch_utils.module_paths import modules_of

__all__ = ["Checkpoint"]


class Checkpoint:
    """The state of networks, optimizers and schedulers at one time, and the way back to it.

    Tensors which an edit replaces are kept as they are, as nothing writes to them any more; all others are
    cloned, on their device or, where that has no room, in main memory. So it takes as much memory as the
    parameters, buffers, gradients and optimizer states did at that time.

    Args:
        networks: The network and the averages of it.
        followers: The optimizers and schedulers.
        replaced: The ids of the tensors that the edit replaces.
    """

    @torch.no_grad()
    def __init__(
        self, networks: Iterable[nn.Module], followers: Iterable[Any] = (), replaced: Collection[int] = ()
    ) -> None:
        self._networks = list(networks)
        self._modules = [_ModuleState(m) for network in self._networks for _, m in modules_of(network)]
        tensors = {id(t): t for module in self._modules for t in module.tensors() if not is_lazy(t)}
        shared = {_storage(t) for key, t in tensors.items() if key not in replaced}
        self._tensors = [
            _TensorState(t) for key, t in tensors.items() if key not in replaced or _storage(t) in shared
        ]
        self._optimizers: list[_OptimizerState] = []
        self._schedulers: list[tuple[LRScheduler, dict[str, Any]]] = []
        for follower in followers:
            if isinstance(follower, Optimizer):
                self._optimizers.append(_OptimizerState(follower, tensors.keys(), replaced))
            elif isinstance(follower, LRScheduler):
                self._schedulers.append((follower, copy.deepcopy(follower.state_dict())))

    def restore(self) -> None:
        """Put everything back; tensors stay the same objects, and where they can in the same memory."""
        for module in self._modules:
            module.restore()
        self.restore_tensors()
        for optimizer in self._optimizers:
            optimizer.restore()
        for scheduler, state in self._schedulers:
            scheduler.load_state_dict(copy.deepcopy(state))

    def present(self) -> set[int]:
        """The ids of the parameters and buffers that the networks have now."""
        modules = [module for network in self._networks for _, module in modules_of(network)]
        return {id(t) for m in modules for t in (*m._parameters.values(), *m._buffers.values())}

    def restore_tensors(self, without: Collection[int] = ()) -> None:
        """Put the values and gradients of tensors back, but for those with these ids."""
        for tensor in self._tensors:
            if id(tensor.tensor) not in without:
                tensor.restore()


def _storage(tensor: torch.Tensor) -> Any:
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):  # A sparse tensor has none.
        return id(tensor)


def _cloned(tensor: torch.Tensor) -> torch.Tensor:
    try:
        return tensor.detach().clone()
    except torch.OutOfMemoryError:
        return tensor.detach().cpu()


def _value(value: Any) -> Any:
    """A copy of a value of an optimizer that later steps do not change."""
    if isinstance(value, torch.Tensor):
        return _cloned(value)
    if isinstance(value, dict):
        return {key: _value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_value(each) for each in value]
    return value


_STATE = ("_parameters", "_buffers", "_modules")
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
)
_KEPT = (*_STATE, *_HOOKS)


class _ModuleState:
    """Parameters, buffers and submodules of one module by name, and tensors among its attributes."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._class = module, type(module)
        own = vars(module)
        self._attributes = dict(own)
        self._entries = {name: dict(own[name]) for name in _KEPT if name in own}
        self._plain = {name: v for name, v in own.items() if isinstance(v, torch.Tensor)}

    def tensors(self) -> list[torch.Tensor]:
        """The tensors in it."""
        own = [*self._entries["_parameters"].values(), *self._entries["_buffers"].values()]
        return [tensor for tensor in (*own, *self._plain.values()) if tensor is not None]

    def restore(self) -> None:
        """Put the entries back; of a module that was rebuilt since (parametrised, say) all attributes."""
        now = vars(self._module)
        rebuilt = type(self._module) is not self._class or any(
            now[name].keys() != self._entries[name].keys() for name in ("_parameters", "_buffers")
        )
        if rebuilt:
            self._module.__class__ = self._class
            training = self._module.training
            now.clear()
            now.update(self._attributes)
            now["training"] = training
        for name, entries in self._entries.items():
            if (rebuilt or name in _STATE) and not _same(now[name], entries):
                now[name].clear()
                now[name].update(entries)
        now.update({name: tensor for name, tensor in self._plain.items() if now.get(name) is not tensor})


def _same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return list(one) == list(two) and all(one[name] is value for name, value in two.items())


class _TensorState:
    """The values and the gradient of one tensor."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self._data = _cloned(tensor)
        self._device, self._strides = (
            tensor.device,
            tensor.stride() if tensor.layout is torch.strided else None,
        )
        self._grad = tensor.grad if tensor.is_leaf else None
        self._grad_data = None if self._grad is None else _cloned(self._grad)

    def restore(self) -> None:
        """Put them back."""
        if self._grad is not None and self._grad_data is not None:
            if _alike(self._grad, self._grad_data):
                _write(self._grad, self._grad_data)
            else:
                self._grad.data = self._grad_data
        if self._fits():
            _write(self.tensor, self._data)
            if self.tensor.is_leaf:
                self.tensor.grad = self._grad
        else:
            give(self.tensor, self._data.to(self._device), self._grad)

    def _fits(self) -> bool:
        now, then = self.tensor, self._data
        kind = _alike(now, then) and now.device == self._device
        strided = now.layout is torch.strided
        strides = now.stride() if strided else None
        overlaps = strided and any(s == 0 and n > 1 for s, n in zip(now.stride(), now.shape, strict=True))
        return kind and strides == self._strides and not overlaps


def _alike(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.shape == two.shape and one.dtype == two.dtype


def _write(tensor: torch.Tensor, data: torch.Tensor) -> None:
    mode = torch.inference_mode() if tensor.is_inference() else torch.no_grad()
    with mode:
        tensor.copy_(data)


class _OptimizerState:
    """The groups of an optimizer, hyperparameters included, and all it remembers of a network's parameters.

    Args:
        optimizer: The optimizer.
        own: The ids of the network's tensors: what it remembers of others is not touched.
        replaced: The ids of those for which it gets new tensors.
    """

    def __init__(self, optimizer: Optimizer, own: Collection[int], replaced: Collection[int]) -> None:
        self._optimizer = optimizer
        self._own = own
        self._groups = [
            (group, list(group["params"]), {k: _value(v) for k, v in group.items() if k != "params"})
            for group in optimizer.param_groups
        ]
        self._states = {
            p: {key: self._kept(p, value, replaced) for key, value in state.items()}
            for p, state in optimizer.state.items()
            if id(p) in own
        }

    @staticmethod
    def _kept(parameter: torch.Tensor, value: Any, replaced: Collection[int]) -> Any:
        whole = isinstance(value, torch.Tensor) and value.dim() and value.shape == parameter.shape
        return value if whole and id(parameter) in replaced else _value(value)

    def restore(self) -> None:
        """Put them back, into what the optimizer has now, as `load_state_dict` makes new groups."""
        optimizer = self._optimizer
        for group, params, settings in self._groups:
            group["params"][:] = params
            kept = group["params"]
            group.clear()
            group.update({"params": kept, **{key: _value(value) for key, value in settings.items()}})
        optimizer.param_groups[:] = [group for group, _, _ in self._groups]
        if isinstance(optimizer, LBFGS):
            optimizer._numel_cache = None
            optimizer._params = optimizer.param_groups[0]["params"]
        order = {p: number for number, p in enumerate(p for _, params, _ in self._groups for p in params)}
        others = {p: s for p, s in optimizer.state.items() if p in order and id(p) not in self._own}
        own = {p: {key: _value(value) for key, value in state.items()} for p, state in self._states.items()}
        states = {**others, **own}
        optimizer.state.clear()
        for p in sorted(states, key=lambda p: order.get(p, len(order))):
            optimizer.state[p] = states[p]
