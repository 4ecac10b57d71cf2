"""Networks rebuilt from their config, on the meta device, which has no weights."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from naivegraph.edits.apply.attribute_settings import replaced
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.labels import relabelled
from naivegraph.graph.record.record_run import unsaved_buffers
from naivegraph.graph.torch_utils.module_paths import INTERNAL, buffers_of, modules_of
from naivegraph.graph.torch_utils.preserve_state import same_seed
from naivegraph.ir.pytree import fields_of, is_record

__all__ = ["ConfigPlace", "Field", "Numbers", "Rebuilt", "numbers_of", "quiet"]

# Path to a number in the config; place of a size or number in the network.
Field = tuple[int | str, ...]
ConfigPlace = tuple[Any, ...]
Numbers = dict[ConfigPlace, float]

_DEPTH = 3


class Rebuilt:
    """Networks of the class of a network, built from its config with other numbers.

    Attributes:
        name: The name of the config's attribute.
        config: The config.
        fields: Its whole numbers from 1 up, also inside lists, tuples and other objects in it.

    Args:
        module: The network.
        name: The name of the config's attribute.
        change: A change whose labels the config has to have.
        config: The config, if it is another than the network keeps.
    """

    def __init__(
        self, module: nn.Module, name: str, change: Change | None = None, config: Any = None
    ) -> None:
        self.name, self.kind = name, type(module)
        self._change = change
        self.config = vars(module)[name] if config is None else config
        self.fields = dict(_fields(self.config, ()))

    def numbers(self, changed: Mapping[Field, int]) -> Numbers | None:
        """Sizes and numbers of the network that the config builds with these changes; None if it cannot."""
        try:
            config = self._changed(changed)
        except Exception:  # Any exception of a class of the user's.
            return None
        built = self.network(config)
        return None if built is None else numbers_of(built, self.name)

    def network(self, config: Any) -> nn.Module | None:
        """The network of a config, on the meta device; None if there is none."""
        try:
            with torch.device("meta"), _NoValues():
                return self.kind(config)
        except Exception:  # Any exception of the constructor: there is no network of such a config.
            return None

    def refusal(self, changed: Mapping[Field, int]) -> str | None:
        """The message of the config's own `validate()` if it refuses these changes; None if it does not.

        Nor where it has no such method, or refuses the config as it is.
        """
        try:
            _validate(self.config)
        except Exception:
            return None
        try:
            _validate(self._changed(changed))
        except Exception as error:
            return " ".join(str(error).split())
        return None

    def buffers(self, changed: Mapping[Field, int]) -> dict[str, torch.Tensor]:
        """The buffers that the network of these changes works out and does not save, with their values.

        It is built without weights, so that this takes no more memory than they do.
        """
        try:
            with torch.device("cpu"), _no_weights(), _NoValues():
                built = self.kind(self._changed(changed))
        except Exception:  # Some constructors read their weights.
            return {}
        return {name: found[name] for found in [buffers_of(built)] for name in unsaved_buffers(built)}

    def _changed(self, changed: Mapping[Field, int]) -> Any:
        config = copy.deepcopy(self.config)
        if self._change is not None:
            config = self._with_labels(config, self._change)
        for field, value in changed.items():
            config = replaced(config, field, functools.partial(_instead, value))
        return config

    def _with_labels(self, config: Any, change: Change) -> Any:
        """The config with labels that followed their neurons."""
        for each in {(each.keys, each.width, each.new): each for each in change.labels}.values():
            width, new = change.widths[each.width], each.new
            config = replaced(config, each.keys, functools.partial(relabelled, width=width, new=new))
        return config


def _validate(config: Any) -> None:
    """Call the config's own check of itself, if it has one that takes no arguments."""
    method = getattr(config, "validate", None)
    if callable(method) and not inspect.signature(method).parameters:
        method()


@contextlib.contextmanager
def _no_weights() -> Iterator[None]:
    """Parameters of modules that are built in this block are on the meta device."""

    def emptied(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        """Return a parameter without memory."""
        if parameter is None or parameter.is_meta:
            return parameter
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(emptied)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def _instead(value: int, before: object) -> int:
    return value


class _NoValues(TorchFunctionMode):
    """Mode that leaves out functions that fill tensors, as tensors on the meta device have no values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the function's result, or the tensor itself if it would only be filled."""
        if func in _FILLS:
            tensor = args[0] if args else (kwargs or {}).get("tensor")  # torch.nn.init gives it by name
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs or {})


# Torch's functions that fill a tensor, and the methods that these and others use.
_FILLS = frozenset(
    function
    for owner, names in ((nn.init, vars(nn.init)), (torch.Tensor, ("uniform_", "normal_", "fill_", "zero_")))
    for name in names
    for function in [getattr(owner, name)]
    if name.endswith("_") and not name.startswith("_") and callable(function)
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the logs, warnings and use of random numbers of constructors that are only tried."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), same_seed():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _fields(value: Any, at: Field) -> Iterator[tuple[Field, int]]:
    if type(value) is int and value > 0:
        yield at, value
    elif len(at) < _DEPTH and type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield from _fields(item, (*at, index))
    elif len(at) < _DEPTH and is_record(value):
        for key, item in (fields_of(value) or {}).items():
            yield from _fields(item, (*at, key))


def numbers_of(module: nn.Module, config: str) -> Numbers:
    """The sizes of all parameters and buffers, and the numbers in the attributes of all modules."""
    sizes: Numbers = {}
    out: Numbers = {}
    seen: set[int] = set()
    for path, owner in modules_of(module):
        for name, value in vars(owner).items():
            if name in ("_parameters", "_buffers"):
                for own, tensor in value.items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        full = f"{path}.{own}" if path else own
                        sizes.update({("size", full, dim): size for dim, size in enumerate(tensor.shape)})
            elif name in INTERNAL or name == config:
                continue
            elif type(value) in (int, float):
                out["number", path, name, ()] = value
            elif isinstance(value, (tuple, list)):
                for index, item in enumerate(value):
                    if type(item) in (int, float):
                        out["number", path, name, (index,)] = item
    return {**sizes, **out}
