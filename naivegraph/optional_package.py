"""Packages that only some users have."""

from __future__ import annotations

import importlib
from typing import Any

from naivegraph.errors import NaivegraphError

__all__ = ["MissingPackageError", "optional_package"]


class MissingPackageError(NaivegraphError):
    """A package that is not installed is needed; the message says how to install it."""


def optional_package(module: str, extra: str, purpose: str) -> Any:
    """Import a module of a package that comes with an extra.

    Args:
        module: The module.
        extra: The extra of this package that installs it.
        purpose: What it is needed for.

    Raises:
        MissingPackageError: It is not installed.

    Example:
        >>> optional_package("math", "ray", "engine 'ray'").floor(1.5)
        1
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingPackageError(
            f"{purpose} needs {error.name}, which is not installed: pip install 'naivegraph[{extra}]'"
        ) from None
