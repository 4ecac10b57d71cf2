"""Networks that give back a cache, going on from it as they do without one."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run.caches import Keys, caches_at, item_at, without_caches
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.pytree import leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import bind, nested_arguments

__all__ = ["Continuation"]

_Inputs = dict[str, Any]
_ROUNDING = 1e-3


class Continuation:
    """A way to run a network on the example in two parts, the second with the cache that the first gave.

    Args:
        graph: The graph, whose module is run.
        caches: The places of caches in its output, each under the name of an argument.
        first: The inputs of the first part by name.
        second: Those of the second.
        whole: The example.
    """

    def __init__(
        self, graph: Recording, caches: Collection[Keys], first: _Inputs, second: _Inputs, whole: _Inputs
    ) -> None:
        self._module, self._constants, self._caches = graph.module, dict(graph.constants), list(caches)
        self._first, self._second, self._whole = first, second, whole

    @classmethod
    def of(cls, graph: Recording, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Continuation | None:
        """A way that gives what the network gives for all of the example at once; None if none is found.

        The last step of a tensor's second dimension is the second part. Which tensors have steps is tried: in
        masks the second part has all of them, in what an encoder takes both parts.
        """
        forward = inspect.signature(graph.module.forward).parameters
        caches = [keys for keys in caches_at(graph) if keys and keys[0] in forward and len(keys) == 1]
        if not caches:
            return None
        whole = bind(graph, args, kwargs)
        for first, second in _parts(whole):
            found = cls(graph, caches, first, second, whole)
            if found.holds():
                return found
        return None

    def holds(self) -> bool:
        """Tell whether the network, as it is now, gives the same in two parts."""
        try:
            with torch.no_grad(), restored(self._module), preserved(self._module, training=False):
                at_once = self._run(self._whole, {})
                begun = self._run(self._first, {})
                last = self._run(self._second, {keys[0]: item_at(begun, keys) for keys in self._caches})
        except Exception:  # Any exception of the network's code.
            return False
        pairs = list(zip(self._tensors(at_once), self._tensors(last), strict=False))
        return bool(pairs) and all(_ends_with(one, two) for one, two in pairs)

    def _run(self, inputs: Mapping[str, Any], caches: Mapping[str, Any]) -> Any:
        constants = {name: value for name, value in self._constants.items() if name not in caches}
        args, kwargs = nested_arguments(self._module, {**constants, **copy_tensors(dict(inputs))})
        return self._module(*args, **{**kwargs, **caches})

    def _tensors(self, output: Any) -> list[torch.Tensor]:
        found = leaves(without_caches(output, self._caches))
        return [leaf for leaf in found if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def _parts(whole: Mapping[str, Any]) -> Iterator[tuple[_Inputs, _Inputs]]:
    """The ways to take the inputs apart."""
    steps = {
        name: value.shape[1]
        for name, value in whole.items()
        if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[1] > 1
    }
    for main, others in itertools.product(steps, ("begun", "apart", "whole")):
        first, second = dict(whole), dict(whole)
        for name, count in steps.items():
            if name == main or (count == steps[main] and others != "whole"):
                first[name] = whole[name][:, :-1]
                if name == main or others == "apart":
                    second[name] = whole[name][:, -1:]
        yield first, second


def _ends_with(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Tell whether a tensor is another one, or what that ends with along one dimension."""
    if one.dim() != two.dim():
        return False
    other = [dim for dim in range(one.dim()) if one.shape[dim] != two.shape[dim]]
    for dim in other:
        if len(other) > 1 or two.shape[dim] > one.shape[dim]:
            return False
        one = one.narrow(dim, one.shape[dim] - two.shape[dim], two.shape[dim])
    scale = float(one.abs().amax()) if one.numel() else 0.0
    return torch.allclose(one, two, rtol=_ROUNDING, atol=_ROUNDING * max(scale, 1e-6))
