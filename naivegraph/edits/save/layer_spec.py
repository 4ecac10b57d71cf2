"""Layers as data: a class of torch.nn and the arguments that make it again."""

from __future__ import annotations

import inspect
import json
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from naivegraph.edits.plan.initialise import seeded
from naivegraph.edits.structure.identity_weights import start_as_identity, start_as_zero
from naivegraph.errors import EditError
from naivegraph.undo import UndoLog

__all__ = ["checksum", "class_spec", "layer_from_class_spec", "layer_from_spec", "layer_spec"]

_OWN = ("_parameters", "_buffers", "_modules", "training")
_HISTORY = "_naivegraph_"
_ELSEWHERE = ("self", "device", "dtype")


def checksum(tensor: torch.Tensor, start: int = 0) -> int:
    """CRC-32 of a tensor's bytes."""
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return zlib.crc32(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"", start)


def layer_spec(network: nn.Module, layer: nn.Module, seed: int, identity: bool) -> dict[str, Any]:
    """Specification of a layer as data, from which it can be made again.

    A layer that the network has already is its path there. One of torch.nn that its attributes make again
    (which is tried) is its class, the arguments and a checksum of its initial numbers; a Sequential of such
    layers is these in order. For any other layer there is only the name of its class.

    Args:
        network: The network that the layer is inserted into.
        layer: The layer.
        seed: The seed it was initialised with.
        identity: Whether it was initialised as the identity.
    """
    for path, module in network.named_modules():
        if module is layer:
            return {"path": path}
    spec: dict[str, Any] = {"class": type(layer).__name__, "identity": identity}
    described = _described(layer)
    if described is None:
        return spec
    dtypes = {str(t.dtype).removeprefix("torch.") for t in _tensors(layer).values() if t.is_floating_point()}
    full = {**spec, **described, "dtype": min(dtypes, default=None), "seed": seed}
    try:
        twin = _made(json.loads(json.dumps(full)))
    except (TypeError, ValueError, RuntimeError):
        return spec
    return {**full, "start": _start(layer)} if _alike(layer, twin) else spec


def class_spec(layer: nn.Module) -> dict[str, Any] | None:
    """The class and arguments of a layer of torch.nn, without its numbers; None if these do not make it.

    Example:
        >>> class_spec(nn.ReLU())
        {'class': 'ReLU', 'arguments': {'inplace': False}}
    """
    kind = type(layer)
    arguments = _arguments(layer) if getattr(nn, kind.__name__, None) is kind else None
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if arguments is None or any(vars(layer).get(hook) for hook in hooks):
        return None
    spec = {"class": kind.__name__, "arguments": arguments}
    try:
        twin = layer_from_class_spec(json.loads(json.dumps(spec)))
    except (TypeError, ValueError, RuntimeError):
        return None
    return spec if _alike(layer, twin, of_tensors=lambda t: tuple(t.shape)) else None


def layer_from_class_spec(spec: Mapping[str, Any]) -> nn.Module:
    """The layer of a `class_spec`, on the device "meta": without memory for its numbers.

    Raises:
        ValueError: torch.nn has no such layer; or any error of its constructor.
    """
    kind = _layer_class(spec["class"])
    with torch.device("meta"):
        made: nn.Module = kind(**{key: _tuples(value) for key, value in spec["arguments"].items()})
    return made


def layer_from_spec(spec: Mapping[str, Any], name: str, device: torch.device, *, exact: bool) -> nn.Module:
    """The layer of a specification.

    Args:
        spec: A result of `layer_spec`, of a layer that the network does not have yet.
        name: The name of its vertex, for messages.
        device: The device of the layer.
        exact: Whether it must have the same initial numbers as the layer that was specified.

    Raises:
        EditError: The specification does not suffice to make it, or its initial numbers would be others.
    """
    what = f"the layer {name!r} ({spec['class']})"
    remedy = f"give layers={{{name!r}: the layer, or a function of the size that makes it}}"
    if not {"arguments", "layers"} & spec.keys():
        raise EditError(f"{what} is none of torch.nn which its attributes make again: {remedy}")
    try:
        layer = _made(spec)
    except (TypeError, ValueError, RuntimeError) as error:
        made_of = spec.get("arguments", spec.get("layers"))
        raise EditError(f"{what} cannot be made of {made_of} ({error}): {remedy}") from error
    if spec["identity"]:
        start_as_identity(layer, name, UndoLog())
    if spec.get("zero"):
        start_as_zero(layer, name, UndoLog())
    if exact and _start(layer) != spec["start"]:
        raise EditError(
            f"{what} started with numbers of its own, not with those the seed of its insertion gives here: "
            f"{remedy}"
        )
    return layer.to(device)


def _made(spec: Mapping[str, Any]) -> nn.Module:
    with seeded(spec["seed"]):
        layer = _built(spec)
    if spec["dtype"] is not None:
        dtype = vars(torch).get(spec["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"torch has no type {spec['dtype']!r}")
        layer = layer.to(dtype)
    return layer


def _built(described: Mapping[str, Any]) -> nn.Module:
    """The layer of a result of `_described`."""
    if "layers" in described:
        return nn.Sequential(OrderedDict((name, _built(each)) for name, each in described["layers"].items()))
    kind = _layer_class(described["class"])
    made: nn.Module = kind(**{key: _tuples(value) for key, value in described["arguments"].items()})
    return made


def _described(layer: nn.Module) -> dict[str, Any] | None:
    """The class of a layer of torch.nn with its arguments, or with its layers in order; None for others."""
    kind = type(layer)
    if getattr(nn, kind.__name__, None) is not kind:
        return None
    if isinstance(layer, nn.Sequential):
        layers = {name: _described(each) for name, each in layer.named_children()}
        return None if None in layers.values() else {"class": kind.__name__, "layers": layers}
    arguments = _arguments(layer)
    return None if arguments is None else {"class": kind.__name__, "arguments": arguments}


def _layer_class(name: str) -> type[nn.Module]:
    kind = vars(nn).get(name)
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise ValueError(f"torch.nn has no layer {name!r}")
    return kind


def _arguments(layer: nn.Module) -> dict[str, Any] | None:
    """The constructor's arguments, read from the attributes of the same names; None if one has none."""
    out: dict[str, Any] = {}
    for name, parameter in _constructor(type(layer)).items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if name in _ELSEWHERE or not named:
            continue
        if not hasattr(layer, name):
            if parameter.default is parameter.empty:
                return None
            continue
        value = getattr(layer, name)
        if type(parameter.default) is bool and (value is None or isinstance(value, torch.Tensor)):
            value = value is not None
        if not _plain(value):
            return None
        out[name] = value
    return out


def _constructor(kind: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The parameters of the constructor; those of recurrent layers are told by the class they share."""
    found = dict(inspect.signature(kind).parameters)
    if issubclass(kind, nn.RNNBase) and kind is not nn.RNNBase:
        mode, *rest = inspect.signature(nn.RNNBase).parameters.values()
        named = [mode.replace(name="nonlinearity"), *rest] if kind is nn.RNN else rest
        found = {each.name: each for each in named if kind is nn.LSTM or each.name != "proj_size"}
    return found


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _tuples(value: Any) -> Any:
    """A value with tuples for the lists that JSON made of them, as layers take tuples and keep them."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _tensors(layer: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(layer.named_parameters()), **dict(layer.named_buffers())}


def _start(layer: nn.Module) -> int:
    out = 0
    for tensor in _tensors(layer).values():
        out = checksum(tensor, out)
    return out


def _facts(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype, tensor.requires_grad, type(tensor)


def _alike(
    one: nn.Module, two: nn.Module, of_tensors: Callable[[torch.Tensor], tuple[Any, ...]] = _facts
) -> bool:
    """Check that two layers differ in nothing but their numbers, device, training flag and labels.

    A label is a plain value that somebody else than its class gave a layer, which its forward does not read.

    Args:
        one: A layer.
        two: Another one.
        of_tensors: What must be alike of their tensors.
    """
    mine, other = dict(one.named_modules()), dict(two.named_modules())
    if mine.keys() != other.keys():
        return False
    for name, module in mine.items():
        left, right = vars(module), vars(other[name])
        own = {key for key in left if not key.startswith(_HISTORY)}
        labels = {key for key in own - right.keys() if _plain(left[key]) and not hasattr(type(module), key)}
        if type(module) is not type(other[name]) or own - labels != right.keys():
            return False
        if not all(_same(left[key], right[key]) for key in own - labels - set(_OWN)):
            return False
    first, second = _tensors(one), _tensors(two)
    return list(first) == list(second) and all(
        of_tensors(t) == of_tensors(second[n]) for n, t in first.items()
    )


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, list) and one and all(isinstance(each, (torch.Tensor, weakref.ref)) for each in one):
        return isinstance(two, list) and len(one) == len(two)  # a layer's own list of its parameters
    return one is two or (type(one) is type(two) and not isinstance(one, torch.Tensor) and bool(one == two))
