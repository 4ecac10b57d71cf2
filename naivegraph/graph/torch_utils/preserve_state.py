"""Blocks after which a network, and the random number generators, are as before."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.graph.torch_utils.written_tensors import WrittenTensors
from naivegraph.undo import all_or_nothing

__all__ = ["preserved", "restored", "restored_on_error", "same_seed"]

_CONTAINERS = (dict, list, set)
_PLAIN = frozenset({bool, int, float, str, tuple, type(None)})  # of most attributes
# Attributes that every module has and no forward changes. Hooks are not among them: transformers installs
# some during the first forward.
_STILL = frozenset(
    name
    for name in INTERNAL
    if name not in ("_parameters", "_buffers", "_modules") and not name.startswith("_forward")
)


# The parameters that forwards were seen to write into, by the class of the network: the name of each, and
# the classes of the modules that it is in, as the children of an `nn.Sequential` can be anything.
_WRITTEN: weakref.WeakKeyDictionary[type[nn.Module], set[tuple[str, str]]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def preserved(
    module: nn.Module, *, training: bool = False, buffers: bool = True, watch: bool = False,
    spared: Sequence[torch.Tensor] = (),
) -> Iterator[None]:  # fmt: skip
    """Run a block with every `training` flag set, and restore flags, buffers and random numbers after it.

    Parameters that the block writes into are restored if it is watched, or if a watched block wrote into
    those of a network of the same classes: some forwards clamp or normalise their weights.

    Args:
        module: The network.
        training: The value of the flags inside the block.
        buffers: Whether the block may write into buffers.
        watch: Whether to look for operators that write into parameters, some microseconds for every operator.
        spared: Tensors that keep what the block gives them; it may add to them.
    """
    flags = [(m, m.training) for _, m in modules_of(module)]
    # Batch norms update their buffers by an operator that does not say so: these are copied beforehand.
    copied = [*(module.buffers() if buffers else ()), *([] if watch else _known_written(module))]
    values = [(tensor, tensor.detach().clone()) for tensor in copied]
    written = WrittenTensors(module.parameters()) if watch else None
    with same_seed():
        for m, _ in flags:
            _set_flag(m, training)
        try:
            with written or contextlib.nullcontext():
                yield
        finally:
            for m, flag in flags:
                _set_flag(m, flag)
            if written is not None:
                written.give_memory_back()
                _remember(module, written)
                values.extend(written.values)
            own = {id(tensor) for tensor in spared}
            _restore_values([(tensor, before) for tensor, before in values if id(tensor) not in own])


def _known_written(module: nn.Module) -> list[torch.Tensor]:
    """The parameters that the forward of these classes was seen to write into."""
    seen = _WRITTEN.get(type(module))
    if not seen:
        return []
    return [p for name, p in module.named_parameters() if (name, _classes_around(module, name)) in seen]


def _remember(module: nn.Module, written: WrittenTensors) -> None:
    """Note which parameters were written into."""
    if written.values:
        seen = {id(tensor) for tensor, _ in written.values}
        names = [name for name, parameter in module.named_parameters() if id(parameter) in seen]
        _WRITTEN.setdefault(type(module), set()).update((n, _classes_around(module, n)) for n in names)


def _classes_around(module: nn.Module, name: str) -> str:
    """The names of the classes inside a network that a parameter is in, outermost first."""
    classes = []
    for part in name.split(".")[:-1]:
        module = module._modules[part]  # type: ignore[assignment]
        classes.append(f"{type(module).__module__}.{type(module).__qualname__}")
    return " ".join(classes)


def _restore_values(values: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give tensors earlier values back where they differ, so that version numbers of others stay."""
    with torch.no_grad():
        for tensor, before in values:
            if not tensor.is_meta and not torch.equal(tensor, before):
                tensor.copy_(before)


def _set_flag(module: nn.Module, training: bool) -> None:
    """Set a `training` flag, but not by `train()`, which users override to do more."""
    if module.training is training:
        return
    if "training" in vars(module):
        vars(module)["training"] = training
    else:
        module.training = training  # a scripted module keeps it elsewhere


@contextlib.contextmanager
def same_seed() -> Iterator[None]:
    """Restore the random number generators of torch, Python and numpy after the block."""
    numpy: Any = sys.modules.get("numpy")
    saved = random.getstate(), numpy.random.get_state() if numpy is not None else None, torch.get_rng_state()
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if used else None
    try:
        yield
    finally:
        random.setstate(saved[0])
        if numpy is not None:
            numpy.random.set_state(saved[1])
        torch.set_rng_state(saved[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def restored(module: nn.Module) -> Iterator[None]:
    """Restore the attributes of every module, and the contents of containers in them, after the block."""
    before = _attributes(module)
    try:
        yield
    finally:
        _put_back(before)


@contextlib.contextmanager
def restored_on_error(module: nn.Module) -> Iterator[None]:
    """Restore as `restored` does, but only if the block fails."""
    with all_or_nothing() as undo:
        undo.push(functools.partial(_put_back, _attributes(module)))
        yield


_Container = dict[Any, Any] | list[Any] | set[Any]
_Before = list[tuple[_Container, _Container]]


def _attributes(module: nn.Module) -> _Before:
    """Copies of the attributes of every module, and of the contents of containers among them (caches)."""
    before: _Before = []
    for _, each in modules_of(module):
        attributes = vars(each)
        before.append((attributes, attributes.copy()))
        for name, value in attributes.items():
            if type(value) not in _PLAIN and name not in _STILL and isinstance(value, _CONTAINERS):
                before.append((value, _content(value)))
    return before


def _content(container: _Container) -> _Container:
    """A copy as a plain container, as those of other classes are slow to make and most are empty."""
    if isinstance(container, dict):
        return dict(container) if container else {}
    return container.copy()


def _put_back(attributes: _Before) -> None:
    """Restore containers to their copies, where they differ."""
    for now, before in attributes:
        if not (now or before):
            continue
        if isinstance(now, dict) and isinstance(before, dict):
            if list(now) != list(before) or _ids(now.values()) != _ids(before.values()):
                now.clear()
                now.update(before)
        elif isinstance(now, list) and isinstance(before, list):
            if _ids(now) != _ids(before):
                now[:] = before
        elif isinstance(now, set) and now != before:
            now.clear()
            now.update(before)


def _ids(values: Iterable[Any]) -> list[int]:
    return [*map(id, values)]
