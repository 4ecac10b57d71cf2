"""Validation of users' arguments, before anything is done, with messages in their own words."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from naivegraph.errors import EditError, nearest
from naivegraph.graph.torch_utils.obstacle import obstacle
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.network import Graph
from naivegraph.solvers import Backend, backends
from naivegraph.solvers.backend.interface import find_backend

__all__ = [
    "LARGEST",
    "at_least_zero",
    "backend",
    "editable",
    "file_path",
    "function",
    "mapping",
    "network",
    "whole",
]

LARGEST = 2**31  # no size of a tensor that fits anywhere is larger


def network(value: Any) -> nn.Module | Graph:
    """The network, without a wrapper, or graph.

    Raises:
        EditError: It is neither.
    """
    if not isinstance(value, (nn.Module, Graph)):
        raise EditError(f"a torch.nn.Module or a graph is needed, not {_kind(value)}")
    found: nn.Module | Graph = unwrapped(value)
    return found


def editable(value: Any) -> nn.Module | Graph:
    """The network, without a wrapper, or graph; nothing about it stands in the way of an edit.

    Raises:
        EditError: It is neither, or something does; the message says what to do.
    """
    found = network(value)
    reason = obstacle(value.module if isinstance(value, Graph) else value)
    if reason:
        raise EditError(reason)
    return found


def mapping(value: Any, name: str, what: str) -> Mapping[Any, Any]:
    """The dict, empty for None.

    Raises:
        EditError: It is none.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise EditError(f"{name} is a dict {what}, not {_kind(value)}")
    return value


def function(value: Any, name: str, what: str) -> Any:
    """The function.

    Raises:
        EditError: It cannot be called.
    """
    if not callable(value):
        raise EditError(f"{name}={value!r}: give {what}")
    return value


def backend(value: Any) -> None:
    """Check that this is a solver that can be used here, or the name of one.

    Raises:
        EditError: It is none; the message lists those there are.
    """
    if not isinstance(value, (str, Backend)):
        raise EditError(f"backend={value!r}: give a solver's name ({', '.join(backends())}) or a Backend")
    try:
        find_backend(value)
    except ValueError as error:
        raise EditError(f"backend={value!r}: {error}{nearest(str(value), backends())}") from error


def whole(value: Any, name: str, least: int, most: int = LARGEST) -> int:
    """The whole number.

    Raises:
        EditError: It is none, or out of bounds.
    """
    number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not number or not least <= int(value) <= most:
        far = f" to {most}" if number and int(value) > most else ""
        raise EditError(f"{name} must be a whole number from {least} up{far}, not {value!r}")
    return int(value)


def at_least_zero(value: Any, name: str) -> float:
    """The number.

    Raises:
        EditError: It is none, or below zero.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or math.isnan(value) or value < 0:
        raise EditError(f"{name} must be a number from 0 up, not {value!r}")
    return float(value)


def above_zero(value: Any, name: str) -> float:
    """The number.

    Raises:
        EditError: It is none, not finite, or not above zero.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise EditError(f"{name} must be a number above 0, not {value!r}")
    return float(value)


def file_path(value: Any) -> str | os.PathLike[str]:
    """The path of a file.

    Raises:
        EditError: It is none.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise EditError(f"the path of a file is needed, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
