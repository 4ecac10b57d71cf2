"""Tensors in the objects that a forward returns: outputs, but for those of caches that go back into it."""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from naivegraph.errors import CaptureError
from naivegraph.graph.fake.fake_tensor import FakeTensor
from naivegraph.graph.record.recorder import Recorder
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.pytree import fields_of, is_record, leaves

__all__ = ["tensors_in_objects"]

_TORCH = "torch.nn.modules."
_SEALED = (type, types.ModuleType, nn.Module, str, bytes, int, float, complex, type(None))


def tensors_in_objects(module: nn.Module, output: Any, recorder: Recorder) -> dict[int, str]:
    """The tensors of a run in objects that its forward returned, by their numbers, with the object in words.

    Those in tuples, lists, dicts and dataclasses are outputs in any case and not among them.
    An object that the forward takes, too, as an optional argument of that name or class, is a cache: what is
    in it goes back into the network, whose sizes it follows.

    Args:
        module: The network.
        output: What it returned.
        recorder: The recorder of the run, which is over.

    Raises:
        CaptureError: Something that cannot be made anew with other tensors, such as a generator, holds some.
    """
    net, stubs, arrays = type(module).__name__, recorder.stubs, []
    for leaf in leaves(output):
        if isinstance(leaf, np.ndarray):
            arrays.append(leaf)
        elif not isinstance(leaf, torch.Tensor) and any(id(t) in stubs for t in _reached(leaf)):
            raise CaptureError(
                f"{net} returns a {type(leaf).__name__} with tensors in it, which cannot be made anew with "
                "others; return them in a tuple, a list, a dict, a dataclass or a plain object"
            )
    found = {
        stubs[id(t)].id: f"{words} that {net} returns"
        for t, words in _inside(module, output)
        if id(t) in stubs
    }
    at = {array.ctypes.data for array in arrays}
    for tensor in recorder.made() if at else ():
        if not isinstance(tensor, FakeTensor) and tensor.data_ptr() in at:
            found[stubs[id(tensor)].id] = f"an array that {net} returns"
    return found


def _inside(
    module: nn.Module, value: Any, name: str = "", words: str = "", seen: set[int] | None = None
) -> Iterator[tuple[torch.Tensor, str]]:
    """The tensors in objects and attributes of a returned value, with the object in words.

    Args:
        module: The network.
        value: What it returned, or a part of that.
        name: The entry or field where it is.
        words: The object in which it is; empty in tuples, lists, dicts and dataclasses alone.
        seen: The ids of what was looked at.
    """
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor) and words:
        yield value, words
    if id(value) in seen or isinstance(value, _SEALED):
        return
    seen.add(id(value))
    own = f"the {type(value).__name__}"
    parts: list[tuple[str, Any, str]] = []
    if isinstance(value, (list, tuple, collections.deque)):
        names = getattr(value, "_fields", [name] * len(value))
        within = own if isinstance(value, collections.deque) else words
        parts += [(key, item, within) for key, item in zip(names, value, strict=True)]
    elif isinstance(value, dict):
        if any(isinstance(key, torch.Tensor) for key in value):
            raise CaptureError("the network returns a dict with a tensor as a key; return it as a value")
        parts += [(key if isinstance(key, str) else name, item, words) for key, item in value.items()]
    elif dataclasses.is_dataclass(value):
        parts += [(f.name, getattr(value, f.name, None), words) for f in dataclasses.fields(value)]
    elif is_record(value) and _goes_back(module, name, value):
        return
    entries = {id(item) for _, item, _ in parts}
    fields = fields_of(value) if is_record(value) else getattr(value, "__dict__", None)
    others = [(key, item) for key, item in (fields or {}).items() if id(item) not in entries]
    for key, item, within in [*parts, *((str(key), item, own) for key, item in others)]:
        yield from _inside(module, item, key, within, seen)


def _reached(value: Any) -> Iterator[torch.Tensor]:
    """The tensors that can be reached from an object whose fields cannot be copied."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, _SEALED):
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, types.FunctionType):  # whose globals are no part of it
            waiting += [*(each.__closure__ or ()), *(each.__defaults__ or ())]
        elif not isinstance(each, types.CodeType):
            waiting += gc.get_referents(each)


def _goes_back(module: nn.Module, name: str, value: Any) -> bool:
    """Tell whether the network, or a part of it, may be given such an object."""
    kinds: set[Any] = {type(each) for _, each in modules_of(module)}
    optional: dict[str, tuple[type, ...]] = {}
    for kind in kinds:
        if not kind.__module__.startswith(_TORCH):
            for parameter, classes in _optional(kind).items():
                optional[parameter] = (*optional.get(parameter, ()), *classes)
    return name in optional or any(isinstance(value, classes) for classes in optional.values())


@functools.cache
def _optional(kind: Any) -> dict[str, tuple[type, ...]]:
    """The optional arguments of a class's forward, with the classes that they are said to be of."""
    forward = inspect.unwrap(kind.forward)
    try:
        signature = inspect.signature(forward, eval_str=True)
    except Exception:  # an annotation that is a name for type checkers alone
        signature = inspect.signature(forward)
    return {
        parameter.name: tuple(c for c in _classes(parameter.annotation) if c.__module__ != "builtins")
        for parameter in signature.parameters.values()
        if parameter.default is None
    }


def _classes(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if annotation is not inspect.Parameter.empty:
            yield annotation
        return
    for part in typing.get_args(annotation):
        yield from _classes(part)
