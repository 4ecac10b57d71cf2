"""State dicts in files: of a network itself or of one wrapped around it, alone or inside a checkpoint."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from naivegraph.cli.usage_errors import UsageError, first_line

__all__ = ["few_names", "read_weights"]

_DEEP = 4  # levels of dicts that are looked into
# What torch puts into the names of layers that it wraps.
_WRAPPED = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

# What checkpoints hold beside tensors, and torch would not read: parsed arguments, and numbers of numpy. The
# names are those of numpy 1.
_HARMLESS: list[Any] = [argparse.Namespace, np.ndarray, np.dtype, *map(type, map(np.dtype, "?bBhHiIlLqQefd"))]
_RECONSTRUCT: list[Any] = [np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]]
_HARMLESS += _RECONSTRUCT + [(each, f"numpy.core.multiarray.{each.__name__}") for each in _RECONSTRUCT]


class _Fit(NamedTuple):
    """A state dict by the network's own names.

    Attributes:
        where: The keys that lead to it in the file.
        state: Its tensors.
        prefix: The text before each of its names in the file.
        left: Names in the file that do not begin with it.
    """

    where: str
    state: dict[str, Tensor]
    prefix: str
    left: Sequence[str]


def read_weights(path: Path, own: AbstractSet[str]) -> dict[str, Tensor]:
    """Read a network's state dict, by its own names, without running any code.

    A prefix that all names of the network have in the file, such as `module.` of DataParallel or `model.` of
    a Lightning module, is taken off.

    Args:
        path: A file of safetensors or of `torch.save`; a state dict alone, or in a checkpoint.
        own: The names in the network's state dict.

    Raises:
        UsageError: The file cannot be read, or holds no state dict or several that could be meant.
    """
    found = list(_state_dicts(_read(path)))
    if not found:
        raise UsageError(
            f"{path} holds no state dict, a dict of tensors by their names; write one by "
            "torch.save(network.state_dict(), ...)"
        )
    fits = [fit for where, state in found if (fit := _fit(path, where, state, own))]
    complete = [fit for fit in fits if own <= fit.state.keys()]
    if len(complete or fits) > 1:
        raise UsageError(
            f"{path} holds several state dicts that could be meant, "
            f"{', '.join(repr(fit.where) for fit in complete or fits)}; save the one to load alone"
        )
    if not fits:
        return found[0][1]
    (fit,) = complete or fits
    if fit.left:
        told = f"of {path} the weights under '{fit.prefix}' are taken, and {few_names(fit.left)} left"
        sys.stderr.write(f"naivegraph: {told}\n")
    return fit.state


def few_names(names: Sequence[str]) -> str:
    """The first three of some names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"'{name}'" for name in names[:3]) + more


def _read(path: Path) -> object:
    if not path.is_file():
        raise UsageError(f"there is no weights file {path}")
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        if path.suffix == ".safetensors" or start[8:] == b"{":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever: any bytes may be in the file
        told = first_line(error)
        other = re.search(r"GLOBAL ([\w.]+)", str(error))
        if other:
            told = (
                f"it holds {other[1]} beside tensors, and to unpickle that could run code; save the state "
                "dict alone, by torch.save(network.state_dict(), ...)"
            )
        raise UsageError(f"{path} cannot be read as weights: {told}") from error


def _state_dicts(value: object, where: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The dicts of tensors by name, however deep, with the keys that lead there."""
    if not isinstance(value, Mapping):
        return
    items: Mapping[Any, Any] = value
    if items and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in items.items()):
        yield where, dict(items)
    elif depth < _DEEP:
        for key, inner in items.items():
            yield from _state_dicts(inner, f"{where}.{key}" if where else str(key), depth + 1)


def _fit(path: Path, where: str, state: Mapping[str, Tensor], own: AbstractSet[str]) -> _Fit | None:
    """The state dict by the network's own names; None if it has none of them."""
    if not own & state.keys() or not own <= state.keys():
        state = {_WRAPPED.sub("", name): value for name, value in state.items()}
    if own & state.keys():
        return _Fit(where, dict(state), "", ())
    prefixes: dict[str, int] = {}
    for name in state:
        parts = name.split(".")
        for i in range(1, len(parts)):
            if ".".join(parts[i:]) in own:
                prefix = ".".join(parts[:i]) + "."
                prefixes[prefix] = prefixes.get(prefix, 0) + 1
    if not prefixes:
        return None
    best = [prefix for prefix, count in prefixes.items() if count == max(prefixes.values())]
    if len(best) > 1:
        raise UsageError(
            f"{path} has the network's names in several places, under {few_names(best)}; save the state dict "
            "that is meant alone"
        )
    mine = {name.removeprefix(best[0]): value for name, value in state.items() if name.startswith(best[0])}
    return _Fit(where, mine, best[0], [name for name in state if not name.startswith(best[0])])
