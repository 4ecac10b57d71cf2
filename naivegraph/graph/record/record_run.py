"""Recording one run of a network: what is replaced for it, and the recording that results."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from naivegraph.errors import CaptureError, NaivegraphError
from naivegraph.graph.fake.fake_tensor import FakeMode, FakeTensor, NoValuesError
from naivegraph.graph.record.left_behind import left_behind
from naivegraph.graph.record.modes_seen import modes_seen
from naivegraph.graph.record.recorder import Recorder, Watch
from naivegraph.graph.record.returned_objects import tensors_in_objects
from naivegraph.graph.record.symbolic_attributes import SymbolicAttributes
from naivegraph.graph.record.symbolic_int import ledger, symbolic_ints
from naivegraph.graph.record.torch_modes import DispatchMode, FunctionMode
from naivegraph.graph.torch_utils.leaf_modules import places
from naivegraph.graph.torch_utils.module_paths import modules_of, tensors_of
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.torch_utils.preserve_state import same_seed
from naivegraph.graph.torch_utils.source_lines import runs_network
from naivegraph.ir.pytree import leaves, map_leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import flat_arguments
from naivegraph.ir.vertex import Vertex

__all__ = ["copy_tensors", "record", "slow_attention", "state_of", "uncompiled", "unsaved_buffers"]

_SECOND = 1 << 40  # number of the first tensor of a second run; no first run has as many
_ONE_AT_A_TIME = threading.RLock()  # builtins and methods are replaced meanwhile, for all threads
_UNINITIALIZED = (nn.UninitializedParameter, nn.UninitializedBuffer)


@ordinary_mode()
def record(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    watch: Watch | None = None,
    fake: FakeMode | None = None,
    first: Recording | None = None,
) -> tuple[Recording, Any]:
    """Run the network once and record it; the caller restores flags, buffers and seeds.

    Args:
        module: The network.
        args: Its inputs.
        kwargs: Its keyword inputs.
        watch: Called with name and value of each vertex as it is recorded.
        fake: The mode by which the network runs on fake tensors of its inputs; None for real tensors.
        first: A run recorded before, in another mode. Parameters and buffers keep the numbers they have in
            it, and all other tensors get numbers that it never uses.

    Returns:
        The recording, and a copy of the output.
    """
    opened: set[str] = set()
    while True:
        with same_seed():
            graph, output, found = _record(module, args, kwargs, watch, fake, first, opened)
        if found <= opened:
            return graph, output
        opened |= found  # layers whose weights are set from outside, to be looked into


def _record(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    watch: Watch | None,
    fake: FakeMode | None,
    first: Recording | None,
    opened: set[str],
) -> tuple[Recording, Any, set[str]]:
    """Record a run in which the layers at some paths are looked into; return which ones have to be."""
    args, kwargs = copy_tensors((args, kwargs))
    inputs, constants = _split_arguments(module, args, kwargs)
    example = copy_tensors(inputs)
    if fake is not None:
        args, kwargs = fake.of((args, kwargs))
        inputs, constants = _split_arguments(module, args, kwargs)
    recorder = _recorder(module, watch, first, fake, opened)
    with (
        _ONE_AT_A_TIME,
        torch.no_grad(),
        symbolic_ints() as escapes,
        uncompiled(module),
        SymbolicAttributes(module),
        _layers_seen(recorder),
        modes_seen(recorder.modes),
    ):
        vertices = [recorder.enter_input(name, value) for name, value in inputs.items()]
        given = list(leaves((args, kwargs)))
        # The forward may store something in a list or dict that it is given.
        as_given = map_leaves(constants, lambda leaf: leaf)
        output = _run(module, args, kwargs, recorder)
        comparisons = ledger.comparisons
        left = {
            **left_behind(recorder, module, {**inputs, **constants}, (given, output)),
            **tensors_in_objects(module, output, recorder),
        }
    graph = Recording(
        module,
        recorder.vertices,
        recorder.state,
        vertices,
        recorder.encode(output),
        constants=as_given,
        escapes=escapes,
        comparisons=comparisons,
        example=example,
        left_behind=left,
    )
    if any(isinstance(constant.tensor, FakeTensor) for constant in recorder.constants.values()):
        raise NoValuesError("the network used a result that no torch function returned")
    return graph, copy_tensors(output), recorder.foreign.opened


def _recorder(
    module: nn.Module, watch: Watch | None, first: Recording | None, fake: FakeMode | None, opened: set[str]
) -> Recorder:
    """A recorder for the network; arguments as for `record`."""
    state = state_of(module)
    call = fake.call if fake is not None else None
    at = places(module, opened)
    if first is None:
        return Recorder(at, state, watch, training=module.training, call=call)
    known = {id(tensor): first.state[name] for name, tensor in state.items() if name in first.state}
    return Recorder(at, state, watch, start=_SECOND, known=known, training=module.training, call=call)


@runs_network
def _run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], recorder: Recorder) -> Any:
    """Call the network under the recorder's modes; its errors become a CaptureError that says where."""
    try:
        with DispatchMode(recorder), FunctionMode(recorder):
            return module(*args, **kwargs)
    except CaptureError:
        raise
    except Exception as error:
        last: Vertex | None = recorder.vertices[-1] if recorder.vertices else None
        after = f" (after {last.name!r})" if last is not None and last.kind != "input" else ""
        raise CaptureError(
            f"{type(module).__name__} does not run on the example input{after}: {type(error).__name__}: "
            f"{error}. It got {_described(args, kwargs)}; give an example its forward takes{_hint(args)}"
        ) from error


def _hint(args: tuple[Any, ...]) -> str:
    if len(args) == 1 and isinstance(args[0], Mapping):
        return ", such as kwargs={...} for keyword inputs"
    return ""


def _described(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Types and shapes of arguments, for messages."""

    def one(value: Any) -> str:
        """Describe one argument."""
        if isinstance(value, torch.Tensor):
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        return type(value).__name__

    parts = [one(arg) for arg in args] + [f"{key}={one(arg)}" for key, arg in kwargs.items()]
    return ", ".join(parts) if parts else "no input at all"


def copy_tensors(value: Any) -> Any:
    """The same pytree with a copy of every tensor, so that operators in place do not change the user's."""

    def change(leaf: Any) -> Any:
        """Return a copy of a tensor, and any other leaf as it is."""
        return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf

    return map_leaves(value, change)


def _split_arguments(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments by name: those with a tensor in them, and the others."""
    try:
        flat = flat_arguments(module, args, kwargs)
    except NaivegraphError as error:
        raise CaptureError(
            f"{error}. It got {_described(args, kwargs)}; give an example its forward takes, a tensor or a "
            "tuple of all its inputs, and keyword inputs as kwargs={...}"
        ) from error
    inputs: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for name, value in flat.items():
        has_tensor = any(isinstance(leaf, torch.Tensor) for leaf in leaves(value))
        (inputs if has_tensor else constants)[name] = value
    return inputs, constants


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by every name it has.

    Raises:
        CaptureError: A lazy one has no shape yet.
    """
    state = tensors_of(module)
    lazy = [name for name, value in state.items() if isinstance(value, _UNINITIALIZED)]
    if lazy:
        raise CaptureError(
            f"{lazy[0]!r} has no shape yet: call the module once on an example before capturing"
        )
    return state


def unsaved_buffers(module: nn.Module) -> list[str]:
    """The buffers that are not saved with a network, as it computes them itself, by every name they have."""
    return [
        f"{path}.{name}" if path else name
        for path, owner in modules_of(module, every_path=True)
        for name, buffer in owner._buffers.items()
        if buffer is not None and name in owner._non_persistent_buffers_set
    ]


@contextlib.contextmanager
def _layers_seen(recorder: Recorder) -> Iterator[None]:
    """Pass calls of modules to the recorder during a block.

    By replacing `nn.Module._call_impl`. Replacing `__call__` would be slow: Python goes through all
    subclasses of a class whose special methods change.
    """
    original: Callable[..., Any] = nn.Module._call_impl
    thread = threading.get_ident()

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Record a leaf module as one vertex, and call any other with its path noted."""
        place = recorder.places.get(id(module))
        if recorder.inside or place is None or threading.get_ident() != thread:
            return original(module, *args, **kwargs)
        if place.layer:
            return recorder.layer(original, module, place.path, args, kwargs)
        recorder.path.append(place.path)
        try:
            return original(module, *args, **kwargs)
        finally:
            recorder.path.pop()

    nn.Module._call_impl = call  # type: ignore[assignment, method-assign]
    try:
        with slow_attention(), _autograd_functions_seen(recorder):
            yield
    finally:
        nn.Module._call_impl = original  # type: ignore[method-assign]


@contextlib.contextmanager
def uncompiled(root: nn.Module) -> Iterator[None]:
    """Let modules that were compiled in place (`module.compile()`) run their own code during a block."""
    compiled = [vars(m) for _, m in modules_of(root) if vars(m).get("_compiled_call_impl") is not None]
    before = [attributes["_compiled_call_impl"] for attributes in compiled]
    try:
        for attributes in compiled:
            attributes["_compiled_call_impl"] = None
        yield
    finally:
        for attributes, call in zip(compiled, before, strict=True):
            attributes["_compiled_call_impl"] = call


@contextlib.contextmanager
def slow_attention() -> Iterator[None]:
    """Turn off the fast path of `nn.MultiheadAttention`, one operator for inference alone, during a block."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _autograd_functions_seen(recorder: Recorder) -> Iterator[None]:
    """Pass calls of the user's own `torch.autograd.Function`s to the recorder, so that backwards are kept."""
    base = torch.autograd.Function
    original = base.__dict__["apply"]
    thread = threading.get_ident()

    def apply(cls: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
        """Record the call as one vertex, unless it is torch's own."""
        run = original.__get__(None, cls)
        if cls.__module__.startswith("torch.") or threading.get_ident() != thread:
            return run(*args, **kwargs)
        return recorder.function(run, args, kwargs)

    base.apply = classmethod(apply)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        base.apply = original  # type: ignore[method-assign]
