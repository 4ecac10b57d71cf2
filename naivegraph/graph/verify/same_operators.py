"""Comparison of a network and its graph by the operators they call, without computing anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from naivegraph.graph.fake.fake_tensor import FakeMode, on_fake_tensors
from naivegraph.graph.record.record_run import state_of
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.pytree import leaves, pairs
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import bind

__all__ = ["same_operators"]

_FEW = 64  # a larger tensor of the code is the same if it is the same object


def same_operators(
    graph: Recording,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    seen: Callable[[Any], Any] = lambda output: output,
) -> Any:
    """The output of the network's forward, as fake tensors, if the graph calls exactly the same operators.

    The same operators on the same tensors with the same other arguments, in the same order, have the same
    results, so nothing needs to be computed to compare the two. Of the module's output what `seen` leaves is
    looked at.

    Returns:
        The output; None if the two differ, or if fake tensors cannot tell.
    """
    module = graph.module

    def forward(*args: Any, **kwargs: Any) -> Any:
        """Run the module."""
        return seen(module(*args, **kwargs))

    def repeat(*args: Any, **kwargs: Any) -> Any:
        """Run the graph."""
        return Interpreter(graph).run(bind(graph, args, kwargs))

    def both(fake: FakeMode) -> Any:
        """Run network and graph, and return the output if they are the same."""
        own, repeated = (_Tape(fake, module, run, args, kwargs) for run in (forward, repeat))
        fake.returned = own.output if own.same_as(repeated) else None
        return fake.returned

    return on_fake_tensors(module, both)


class _Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The operators of one run; tensors made in it are numbered, all others compared by identity."""

    def __init__(
        self, fake: FakeMode, module: torch.nn.Module, run: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fake = fake
        self.calls: list[tuple[Any, ...]] = []
        self._state = {id(tensor) for tensor in state_of(module).values()}
        self._made: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []
        own_args, own_kwargs = fake.of((args, kwargs))
        self._note((own_args, own_kwargs))
        with _left_as_it_was(module), self:
            self.output = run(*own_args, **own_kwargs)
        self._outputs = [self._plain(leaf) for leaf in leaves(self.output)]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note an operator and run it."""
        called = func, self._plain(args), self._plain(kwargs or {})
        result = self._fake.call(func, args, kwargs or {})
        self._note(result)
        self.calls.append(called)
        return result

    def _note(self, value: Any) -> None:
        for leaf in leaves(value):
            if isinstance(leaf, torch.Tensor) and id(leaf) not in self._made:
                self._made[id(leaf)] = len(self._made)
                self._alive.append(leaf)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            number = self._made.get(id(value))
            return ("made", number) if number is not None else self._constant(value)
        if isinstance(value, (list, tuple)):
            return [self._plain(item) for item in value]
        if isinstance(value, dict):
            return {name: self._plain(item) for name, item in value.items()}
        return type(value), value  # 1, 1.0 and True are equal

    def _constant(self, tensor: torch.Tensor) -> Any:
        """The key of a tensor that no operator made; its values if small, as code may make it in each run."""
        if tensor.numel() <= _FEW and id(tensor) not in self._state:
            return tensor.dtype, tensor.device, tuple(tensor.shape), repr(tensor.tolist())
        self._alive.append(tensor)
        return "tensor", id(tensor)

    def same_as(self, other: _Tape) -> bool:
        """Tell whether both made the same calls and returned the same."""
        if len(self.calls) != len(other.calls) or self._outputs != other._outputs:
            return False
        try:
            nested = all(True for _ in pairs(self.output, other.output))
        except ValueError:
            return False
        return nested and self.calls == other.calls


@contextlib.contextmanager
def _left_as_it_was(module: torch.nn.Module) -> Iterator[None]:
    with restored(module), preserved(module, buffers=False), torch.no_grad():
        yield
