"""The transformers library, which is imported when it is needed, as importing it takes seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from naivegraph.optional_package import optional_package

__all__ = ["MODEL_TYPE", "auto_classes", "config_class", "library", "pretrained_kind", "real_device"]

# What config.json calls the networks of this package.
MODEL_TYPE = "naivegraph"


def library() -> Any:
    """The library.

    Raises:
        MissingPackageError: It is not installed.
    """
    return optional_package("transformers", "transformers", "naivegraph.hf")


def pretrained_kind() -> Any:
    """The class that all its networks are derived from."""
    return library().PreTrainedModel


def auto_classes() -> list[Any]:
    """All classes that open a network by the type of its config, and those that users derived from them."""
    library()
    optional_package("transformers.models.auto.modeling_auto", "transformers", "naivegraph.hf")
    factory = optional_package("transformers.models.auto.auto_factory", "transformers", "naivegraph.hf")
    found: list[Any] = []
    waiting = [factory._BaseAutoModelClass]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind._model_mapping is not None and kind not in found:
            found.append(kind)
    return found


def config_class(model_type: str) -> Any:
    """The config class of a type of networks; None if the library has no such type."""
    known = library().models.auto.configuration_auto.CONFIG_MAPPING
    try:
        return known[model_type]  # which loads it; `get` would not
    except KeyError:
        return None


@contextlib.contextmanager
def real_device() -> Iterator[None]:
    """Tensors made in this block are on the CPU and of float32 by default, whatever is set around it."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)
