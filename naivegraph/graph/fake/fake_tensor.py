"""Fake tensors: shape, strides, dtype and device without values, which cost next to nothing to compute with.

A network that runs on them calls the same operators with the same arguments as on its real inputs, as long as
no decision depends on a value in a tensor. Where one does, or the shape of a result depends on values, the
run fails, and the caller has to run the network on real tensors. torch's own `FakeTensorMode` does more and
takes longer.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from naivegraph.graph.fake.shape_inference import infer, pointwise, signature
from naivegraph.graph.torch_utils.gc_pause import uncollected
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.graph.torch_utils.torch_functions import mutated_arguments
from naivegraph.ir.pytree import leaves, map_leaves
from naivegraph.operators import record_of
from naivegraph.operators.relation import arguments_of
from naivegraph.operators.shapes import NOTHING, FakeResult, FakeResults

__all__ = ["FakeMode", "FakeTensor", "NoValuesError", "on_fake_tensors"]

_T = TypeVar("_T")
_PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer)


def on_fake_tensors(module: nn.Module, run: Callable[[FakeMode], _T], *, buffers: bool = False) -> _T | None:
    """The result of a run of the network on fake tensors; None where that is not possible.

    It is not possible where hooks of the user see what passes through the network, nor where the network
    keeps a tensor of the run somewhere, for it has to find a real one there.

    Args:
        module: The network.
        run: The function that runs it.
        buffers: Whether the network may write into its buffers, which `run` then restores.
    """
    if _watched(module):
        return None
    fake = FakeMode(module, buffers=buffers)
    try:
        with uncollected():
            found = run(fake)
    except Exception:
        # Whatever the reason, the network does not run on fake tensors and has to run on real ones.
        return None
    return None if fake.failed or fake.kept() else found


def _watched(module: nn.Module) -> bool:
    everywhere = torch.nn.modules.module
    return bool(everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks) or any(
        each._forward_hooks or each._forward_pre_hooks for _, each in modules_of(module)
    )


class NoValuesError(RuntimeError):
    """Error raised where only a run on real tensors can tell the result."""


class FakeTensor(torch.Tensor):
    """A tensor with shape, strides, dtype and device, but without values; made by `FakeMode`."""

    _fake: FakeMode

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return fake tensors of the results."""
        return _owner(args, kwargs or {}).call(func, args, kwargs or {})


def _owner(args: tuple[Any, ...], kwargs: dict[str, Any]) -> FakeMode:
    waiting = [*args, *kwargs.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, FakeTensor):
            return value._fake
        if isinstance(value, (tuple, list)):
            waiting.extend(value)
    raise NoValuesError("an operator was called on no fake tensor")


class FakeMode:
    """Factory of fake tensors for a few runs, which works out the shapes of results, each once.

    Args:
        module: The network that runs; no operator may write into its parameters.
        buffers: Whether operators may write into its buffers.

    Attributes:
        failed: Whether an operator could not be run on fake tensors, even if the network went on after that.
        returned: The pytree the caller keeps, which may have fake tensors in it.
    """

    def __init__(self, module: nn.Module, *, buffers: bool = False) -> None:
        self.failed = False
        self._module, self._buffers = module, buffers
        self.returned: Any = None
        self._known: dict[Any, Any] = {}
        self._made: list[weakref.ref[FakeTensor]] = []

    def of(self, value: Any) -> Any:
        """The pytree `value` with a fake tensor for every tensor in it.

        Raises:
            NoValuesError: One of them is no plain tensor.
        """
        return map_leaves(value, lambda leaf: self._of(leaf) if isinstance(leaf, torch.Tensor) else leaf)

    def _of(self, tensor: torch.Tensor) -> FakeTensor:
        _check_plain(tensor)
        return self._make(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)

    def _make(
        self, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> FakeTensor:
        out: FakeTensor = torch.Tensor._make_wrapper_subclass(
            FakeTensor, shape, strides=stride, dtype=dtype, device=device
        )
        out._fake = self
        self._made.append(weakref.ref(out))
        return out

    def kept(self) -> bool:
        """Tell whether any fake tensor is left after the run, apart from those returned."""
        returned = {id(leaf) for leaf in leaves(self.returned)}
        left = [fake_tensor for made in self._made if (fake_tensor := made()) is not None]
        return any(id(fake_tensor) not in returned for fake_tensor in left)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator: on fake tensors, on real tensors among them, or on real tensors alone."""
        try:
            tensors: list[torch.Tensor] = []
            _gather(args, tensors)
            if kwargs:
                _gather(tuple(kwargs.values()), tensors)
            real = FakeTensor not in [type(tensor) for tensor in tensors]
            for written in [
                *mutated_arguments(func, args, kwargs),
                *(_updated(func, args, kwargs) if real else ()),
            ]:
                if type(written) is not FakeTensor and not (real and self._is_new(written)):
                    raise NoValuesError(f"{func} writes into a tensor with numbers")
            if real:
                return func(*args, **kwargs)
            found = infer(func, args, kwargs, tensors)
            if found is None:
                found = self._tried(func, args, kwargs, tensors)
            return self._build(found, tensors, kwargs.get("device") or _device(func, tensors))
        except BaseException:
            self.failed = True
            raise

    def _is_new(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor shares no memory with the network's own tensors."""
        return tensor.untyped_storage().data_ptr() not in self._memory

    @functools.cached_property
    def _memory(self) -> set[int]:
        """Addresses of the network's own tensors that operators must not write into."""
        own = itertools.chain(self._module.parameters(), () if self._buffers else self._module.buffers())
        return {t.untyped_storage().data_ptr() for t in own if t.layout is torch.strided}

    def _tried(self, func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
        """The results of an operator without a shape rule, from the meta device or an equal call before."""
        found = pointwise(func, args, kwargs, tensors, self._known)
        if found is None:
            key = func, signature(args, tensors, _whole), signature(kwargs, tensors, _whole)
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = _on_meta(func, args, kwargs, tensors)
        return found

    def _build(self, found: Any, tensors: list[torch.Tensor], device: torch.device) -> Any:
        kind = type(found)
        if kind is FakeResult:
            return self._make(found.shape, found.stride, found.dtype, device)
        if kind is int:
            return tensors[found]
        if kind is FakeResults:
            return found.kind([self._build(item, tensors, device) for item in found.items])
        return found


def _gather(values: Sequence[Any], tensors: list[torch.Tensor]) -> None:
    """Append the tensors among an operator's arguments, each once."""
    for value in values:
        if isinstance(value, torch.Tensor):
            for known in tensors:
                if known is value:
                    break
            else:
                if type(value) is not FakeTensor:
                    _check_plain(value)
                tensors.append(value)
        elif isinstance(value, (tuple, list)):
            _gather(value, tensors)


def _updated(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The real tensors that an operator writes into, though its schema does not say so."""
    updates = record_of(func).updates
    if updates is None:
        return []
    named = arguments_of(func, args, kwargs)
    return [named[name] for name in updates(named) if isinstance(named[name], torch.Tensor)]


def _whole(tensor: torch.Tensor) -> Any:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _device(func: Any, tensors: list[torch.Tensor]) -> torch.device:
    """The device of a result; scalars on the CPU go with tensors of any device."""
    if len(tensors) == 1:
        return tensors[0].device
    devices = {t.device for t in tensors if t.dim()} or {
        t.device for t in tensors if isinstance(t, FakeTensor)
    }
    if len(devices) > 1:
        raise NoValuesError(f"{func} takes tensors on {' and '.join(map(str, devices))}")
    return next(iter(devices))


def _check_plain(tensor: torch.Tensor) -> None:
    strange = tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta
    if strange or type(tensor) not in _PLAIN:
        raise NoValuesError(f"a {type(tensor).__name__} of layout {tensor.layout} has no fake tensor")


def _on_meta(func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
    """The results of an operator on the meta device; an argument that it returns is told by its position."""
    metas = {id(t): torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta") for t in tensors}
    places = {id(metas[id(t)]): place for place, t in enumerate(tensors)}

    def meta(value: Any) -> Any:
        """Return the meta tensor of a tensor, and any other leaf as it is."""
        return torch.device("meta") if isinstance(value, torch.device) else metas.get(id(value), value)

    def result(value: Any) -> Any:
        """Return the description of a result."""
        if isinstance(value, torch.Tensor):
            return (
                places[id(value)]
                if id(value) in places
                else FakeResult(value.shape, value.stride(), value.dtype)
            )
        if isinstance(value, (tuple, list)):
            return FakeResults(type(value), [result(item) for item in value])
        if value is None:
            return NOTHING
        raise NoValuesError(f"{func} gives a {type(value).__name__}")

    found = func(*map_leaves(args, meta), **map_leaves(kwargs, meta))
    for tensor in tensors:
        now = metas[id(tensor)]
        if now.shape != tensor.shape or now.dtype != tensor.dtype:
            raise NoValuesError(f"{func} changes the shape of a tensor in place")
    return result(found)
