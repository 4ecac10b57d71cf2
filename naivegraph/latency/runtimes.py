"""Runtimes: what runs a network where its latency counts, by name or as a function of the user's."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from naivegraph.errors import EditError, NaivegraphError, nearest
from naivegraph.ir.pytree import map_leaves
from naivegraph.optional_package import optional_package

__all__ = ["RUNTIMES", "AnyRuntime", "Inside", "Runtime", "device_of", "runtime_of"]

Run = Callable[[], object]
Prepare = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Run]
Inside = Callable[[nn.Module, Any], tuple[nn.Module, Any]]


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A runtime of networks.

    Attributes:
        name: Its name.
        prepare: Makes a function without arguments that runs a network (in eval mode) on positional and
            keyword inputs.
        step: The number whose multiples are the sizes of layers that it is quick at.
        inside: Whether calls inside the network take as long when they are run one by one; it then gives the
            network and inputs as they are to be run, else None.
        on_thread: Whether all work is done on the thread of the caller where torch has one thread, so that
            the processor time of that thread is the latency of an idle machine.
    """

    name: str
    prepare: Prepare
    step: int = 1
    inside: Inside | None = None
    on_thread: bool = False


AnyRuntime = str | Runtime | Callable[[nn.Module, Any], Run]


def runtime_of(runtime: AnyRuntime) -> Runtime:
    """The runtime of a name, or one that a function of the user's stands for.

    Args:
        runtime: "eager", "channels_last", "compiled", "onnxruntime", or a function `f(model, example)` that
            returns a function without arguments, which runs the model on the example and returns when that
            is done. The example is the input where there is one, else the tuple of the positional inputs, or
            the dict of keyword inputs where there are only these, or a pair of both.

    Raises:
        EditError: There is no such runtime.

    Example:
        >>> runtime_of("eager").step
        8
        >>> def twice(model, example):
        ...     return lambda: (model(example), model(example))
        >>> runtime_of(twice).name
        'twice'
    """
    if isinstance(runtime, Runtime):
        return runtime
    if isinstance(runtime, str):
        if runtime not in RUNTIMES:
            hint = nearest(runtime, RUNTIMES, otherwise=f"there are {', '.join(RUNTIMES)}")
            raise EditError(
                f"there is no runtime {runtime!r}{hint}; or give a function (model, example) -> run"
            )
        return RUNTIMES[runtime]
    if not callable(runtime):
        raise EditError(
            f"runtime= takes {', '.join(map(repr, RUNTIMES))} or a function (model, example) that returns a "
            f"function which runs it, not {runtime!r}"
        )
    name = getattr(runtime, "__qualname__", type(runtime).__qualname__).rpartition(".")[2]
    return Runtime(name, functools.partial(_own, runtime))


def device_of(module: nn.Module, inputs: Any = ()) -> torch.device:
    """The device of the first parameter, buffer or input; the processor where there is none."""
    found: list[Tensor] = [*module.parameters(), *module.buffers()][:1]
    if not found:
        map_leaves(inputs, lambda leaf: found.append(leaf) if isinstance(leaf, Tensor) else None)
    return found[0].device if found else torch.device("cpu")


def _own(
    function: Callable[[nn.Module, Any], Run],
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Run:
    """The run that a function of the user's makes of a network."""
    positional: Any = args[0] if len(args) == 1 else args
    example = positional if not kwargs else kwargs if not args else (positional, kwargs)
    run = function(module, example)
    if not callable(run):
        raise EditError(
            f"runtime= was given a function that returned {type(run).__name__} for a network; it is to "
            "return a function without arguments that runs the network"
        )
    return run


def _eager(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    def run() -> object:
        """Run the network without gradients."""
        with torch.no_grad():
            return module(*args, **kwargs)

    return run


def _in_channels_last(module: nn.Module, inputs: Any) -> tuple[nn.Module, Any]:
    """A network, in place, and inputs, with the channels of images last in memory."""

    def last(leaf: Any) -> Any:
        """Return an image with its channels last."""
        is_image = isinstance(leaf, Tensor) and leaf.dim() == 4
        return leaf.contiguous(memory_format=torch.channels_last) if is_image else leaf

    changed: nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return changed, map_leaves(inputs, last)


def _channels_last(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    changed, (args, kwargs) = _in_channels_last(module, (args, kwargs))
    return _eager(changed, args, kwargs)


def _compiled(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    # Every network that is compared has its own code: what one compiled may not be taken for another.
    torch.compiler.reset()
    compiled: Any = torch.compile(module, dynamic=False)
    run = _eager(compiled, args, kwargs)
    try:
        run()
    except Exception as error:
        raise NaivegraphError(
            f"torch.compile could not compile the network: {' '.join(str(error).split())[:300]}"
        ) from error
    return run


def _onnxruntime(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    for needed in ("onnx", "onnxscript"):
        optional_package(needed, "onnxruntime", "runtime='onnxruntime'")
    onnxruntime = optional_package("onnxruntime", "onnxruntime", "runtime='onnxruntime'")
    program = torch.onnx.export(module, args, kwargs=kwargs or None, dynamo=True, verbose=False)
    if program is None:
        raise NaivegraphError("torch.onnx.export gave no program of the network")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if device_of(module, (args, kwargs)).type == "cuda":
        providers.insert(0, "CUDAExecutionProvider")
    with tempfile.TemporaryDirectory() as folder:  # weights above 2 GB are files beside the program
        file = Path(folder) / "network.onnx"
        program.save(str(file))
        session = onnxruntime.InferenceSession(str(file), options, providers=providers)
    given: list[Tensor] = []
    map_leaves((args, kwargs), lambda leaf: given.append(leaf) if isinstance(leaf, Tensor) else None)
    names = [each.name for each in session.get_inputs()]
    if len(names) != len(given):
        raise NaivegraphError(
            f"the exported network takes {len(names)} tensors, and the example has {len(given)}: give "
            "runtime= a function that exports and runs it"
        )
    feed = {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, given, strict=True)}
    return lambda: session.run(None, feed)


RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        each.name: each
        for each in (
            Runtime("eager", _eager, 8, lambda module, inputs: (module, inputs), on_thread=True),
            Runtime("channels_last", _channels_last, 8, _in_channels_last, on_thread=True),
            Runtime("compiled", _compiled, 8, on_thread=True),
            Runtime("onnxruntime", _onnxruntime, 8, on_thread=True),
        )
    }
)
