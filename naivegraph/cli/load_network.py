"""From words on the command line to a network, its weights and example inputs."""

import importlib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from naivegraph.cli.read_weights import few_names, read_weights
from naivegraph.cli.usage_errors import UsageError, first_line
from naivegraph.edits import load
from naivegraph.edits.save.checked_safetensors import is_saved
from naivegraph.errors import nearest

# Exceptions that code raises for arguments or files it cannot use; others are faults of the code itself, and
# end in a traceback.
_REFUSALS = (TypeError, ValueError, RuntimeError, LookupError, OSError)

_SHAPE = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<dtype>[a-z]\w*):)?(?P<sizes>[1-9]\d*(?:,[1-9]\d*)*)")


def build_model(name: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Build the network that a name stands for.

    A name is `package.module:attribute`: a function or class that makes the network, or the network itself.
    If the module has no such attribute but a function `create_model` (as timm has), that one is called with
    the attribute's name.

    Args:
        name: the name, such as `torchvision.models:resnet18` or `timm:resnet18`.
        arguments: keyword arguments for the function or class.

    Raises:
        UsageError: there is no such module or attribute, or it did not make a network.

    Examples:
        >>> build_model("torch.nn:Linear", {"in_features": 3, "out_features": 2})
        Linear(in_features=3, out_features=2, bias=True)
    """
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").replace("/", ".")
        raise UsageError(f"'{module_name}' is a file; name the module: {dotted}:{attribute or 'function'}")
    if not module_name or not attribute:
        raise UsageError(f"'{name}' names no model: write package.module:function, such as timm:resnet18")
    target = _find(_import(module_name), attribute)
    arguments = dict(arguments or {})
    if isinstance(target, nn.Module):
        if arguments:
            raise UsageError(f"'{name}' is a network already, so it takes no --arguments")
        return target
    if not callable(target):
        raise UsageError(
            f"'{name}' is a {type(target).__name__}; name a function or class that makes the network"
        )
    try:
        model = target(**arguments)
    except _REFUSALS as error:
        raise UsageError(
            f"'{name}' could not be built with arguments {arguments}: {first_line(error)}"
        ) from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"'{name}' made a {type(model).__name__}, not a torch.nn.Module")
    return model


def find_object(name: str) -> object:
    """Find what `package.module:name` stands for; modules of the current folder are found, too.

    Raises:
        UsageError: There is no such module or name.

    Examples:
        >>> find_object("math:sqrt")(4.0)
        2.0
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"'{name}' names nothing: write package.module:name")
    return _find(_import(module_name), attribute)


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Load weights into a network, every name of which must be in the file, and no other.

    Args:
        model: the network, changed in place.
        path: a `.safetensors` file, or a state dict written by `torch.save` (read without running any code),
            alone or in a checkpoint beside other things, of the network itself or of one wrapped around it;
            of one that `save` wrote, the network gets the edits, too.

    Returns:
        The network; another one if the file has edits of its structure.

    Raises:
        UsageError: the file cannot be read, is no state dict, or belongs to another network.
    """
    if is_saved(path):
        return load(model, path)
    state = read_weights(path, model.state_dict().keys())
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(f"{path} belongs to a network of another shape: {reason}") from error
    tensors = model.state_dict(keep_vars=True)
    # A file may keep one copy of weights that have two names.
    present = {id(tensors[key]) for key in state if key in tensors}
    missing = [key for key in missing if id(tensors[key]) not in present]
    if missing or unexpected:
        lacks = [f"{few_names(missing)} missing"] if missing else []
        extra = [f"{few_names(unexpected)} unknown to the network"] if unexpected else []
        raise UsageError(f"{path} belongs to another network: {', '.join(lacks + extra)}")
    return model


def example_inputs(shapes: Sequence[str]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Make example inputs from shapes such as `1,3,224,224`, `int64:1,16` or `mask=bool:1,16`.

    Floating-point inputs are drawn from a normal distribution with a fixed seed; integers and booleans are
    ones, which are valid tokens and masks.

    Args:
        shapes: one text per input, `[name=][dtype:]size,size,...`; those with a name are passed by keyword.

    Returns:
        The positional inputs and those passed by keyword.

    Raises:
        UsageError: there is no shape, or one does not read as a shape.

    Examples:
        >>> args, kwargs = example_inputs(["2,3", "mask=bool:2,4"])
        >>> args[0].shape, kwargs["mask"].dtype
        (torch.Size([2, 3]), torch.bool)
    """
    if not shapes:
        raise UsageError(
            "an example of the network's input is needed: give its shape, such as --shape 1,3,224,224"
        )
    generator = torch.Generator().manual_seed(0)
    args: list[Tensor] = []
    kwargs: dict[str, Tensor] = {}
    for text in shapes:
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise UsageError(
                f"'{text}' is no shape: write sizes with commas, such as 1,3,224,224 or int64:1,16"
            )
        sizes = [int(size) for size in match["sizes"].split(",")]
        dtype = getattr(torch, match["dtype"] or "float32", None)
        if not isinstance(dtype, torch.dtype):
            raise UsageError(
                f"'{match['dtype']}' in '{text}' is no torch dtype: write one such as float32 or int64"
            )
        try:
            tensor = _example(sizes, dtype, generator)
        except RuntimeError as error:
            raise UsageError(f"an input '{text}' cannot be made: {first_line(error)}") from error
        if match["name"]:
            kwargs[match["name"]] = tensor
        else:
            args.append(tensor)
    return tuple(args), kwargs


def _example(sizes: list[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Make one example input: normal for floating point, else ones."""
    if dtype.is_floating_point:
        return torch.randn(sizes, generator=generator).to(dtype)
    return torch.ones(sizes, dtype=dtype)


def _import(name: str) -> ModuleType:
    """Import a module, or say why that does not work."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            where = "in the current folder or among the installed packages"
            raise UsageError(f"there is no module '{error.name}' {where}") from error
        raise UsageError(f"'{name}' could not be imported: {first_line(error)}") from error
    except (ImportError, SyntaxError, *_REFUSALS) as error:
        raise UsageError(f"'{name}' could not be imported: {first_line(error)}") from error


def _find(module: ModuleType, attribute: str) -> object:
    """Find what a name inside a module stands for."""
    try:
        return operator.attrgetter(attribute)(module)
    except AttributeError as error:
        create: Callable[..., object] | None = getattr(module, "create_model", None)
        if create is not None:
            return partial(create, attribute)
        hint = nearest(attribute, dir(module))
        raise UsageError(f"module '{module.__name__}' has no '{attribute}'{hint}") from error
