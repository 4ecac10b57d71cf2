"""The numbers by which networks build another classifier, which follow the features in front of it.

Networks of timm have a method `reset_classifier(num_classes)`. Which numbers it builds the classifier by is
found by trying it on a copy without memory: a number on which a size of the new classifier depends follows
that size. The attributes that timm documents besides are found from what they say: `num_features` counts the
channels that `forward_features` returns, `head_hidden_size` those that the classifier takes, and
`in_features` of a head those that it takes.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from naivegraph.algebra.axis import Axis
from naivegraph.edits.config.rebuild import quiet
from naivegraph.edits.config.sizes_after import SizesAfter, Told
from naivegraph.edits.plan.change import AttributeChange
from naivegraph.graph.run.module_tensors import tensors_into, tensors_out_of
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.graph.torch_utils.module_paths import modules_of, parameters_of
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.ir.pytree import map_leaves
from naivegraph.ir.signature import nested_arguments

__all__ = ["classifier_features"]

_CLASSES = 7  # of the classifiers that are tried
_Place = tuple[str, str]  # the path of a module and the name of an attribute


def classifier_features(sizes: SizesAfter) -> Told:
    """The numbers of features that follow a change, and sentences on those that do not.

    Args:
        sizes: The change.
    """
    told = Told()
    for path, owner in modules_of(sizes.widths.graph.module):
        if callable(getattr(type(owner), "reset_classifier", None)):
            with quiet():
                _Classifier(sizes, path, owner).tell(told)
    return told


class _Classifier:
    """A network, or a part of one, that can be given another classifier."""

    def __init__(self, sizes: SizesAfter, path: str, owner: nn.Module) -> None:
        self.sizes, self.path, self.owner = sizes, path, owner
        self.prefix = f"{path}." if path else ""
        self._copy: Any = _without_memory(owner)

    def tell(self, told: Told) -> None:
        """Add what is found."""
        start = self._tried({})
        axes = {place: axis for place, size in start.items() if (axis := self._axis(place, size)) is not None}
        if not axes:
            return  # it has no classifier now, or the method makes another one
        around = list(self._around(axes))
        numbers = self._by_trying(around, start, axes) | self._by_meaning(around, axes, told)
        built = self._tried({**self._others(), **{place: after for place, (_, after) in numbers.items()}})
        for place, axis in axes.items():
            if built.get(place) != self.sizes.of(axis):
                told.notes.append(
                    f"{self.prefix}reset_classifier would not build {self.prefix}{place[0]} for the "
                    f"{self.sizes.of(axis)} features that there are now: replace the layer itself"
                )
                break
        told.attributes += [
            AttributeChange(f"{self.prefix}{path}" if path else self.path, name, (), before, after)
            for (path, name), (before, after) in numbers.items()
            if before != after
        ]

    def _others(self) -> dict[_Place, int]:
        """The numbers that the change gives layers in any case, which the method may compare with its own."""
        return {
            (change.path[len(self.prefix) :], change.name): change.after
            for change in self.sizes.change.attributes
            if not change.keys and type(change.after) is int and change.path.startswith(self.prefix)
        }

    def _tried(self, numbers: dict[_Place, int]) -> dict[tuple[str, int], int]:
        """The sizes of features of the parameters that the method makes with other numbers."""
        made, before = self._copy, dict[_Place, int]()
        try:
            for (path, name), value in numbers.items():
                before[path, name] = vars(made.get_submodule(path))[name]
                setattr(made.get_submodule(path), name, value)
            old = list(made.parameters())  # kept, so that no new one gets the id of an old one
            with torch.device("meta"):
                made.reset_classifier(_CLASSES)
            own = {id(tensor) for tensor in old}
            return {
                (name, dim): size
                for name, tensor in parameters_of(made).items()
                if id(tensor) not in own
                for dim, size in enumerate(tensor.shape)
                if dim
            }
        except Exception:  # of the user's own code
            return {}
        finally:
            for (path, name), value in before.items():
                setattr(made.get_submodule(path), name, value)

    def _axis(self, place: tuple[str, int], size: int) -> Axis | None:
        """The axis of the present classifier in the place of one that is built; None if it has none."""
        axes = self.sizes.widths.axes.get(self.prefix + place[0], ())
        return axes[place[1]] if place[1] < len(axes) and axes[place[1]].length == size else None

    def _around(self, axes: dict[tuple[str, int], Axis]) -> Iterator[str]:
        """The paths, from the owner, of the modules that contain the classifier."""
        found = dict[str, None]()
        for name, _ in axes:
            parts = name.split(".")[:-2]
            found.update(dict.fromkeys(".".join(parts[:end]) for end in range(len(parts) + 1)))
        yield from found

    def _by_trying(
        self, around: list[str], start: dict[tuple[str, int], int], axes: dict[tuple[str, int], Axis]
    ) -> dict[_Place, tuple[int, int]]:
        """The numbers on which sizes of the classifier depend, in proportion, before and after."""
        found: dict[_Place, tuple[int, int]] = {}
        for path in around:
            for name, value in vars(self.owner.get_submodule(path)).items():
                if type(value) is not int or value < 2:
                    continue
                then = self._tried({(path, name): value + 1})
                for place, axis in axes.items():
                    factor = then.get(place, start[place]) - start[place]
                    after = self.sizes.of(axis)
                    if factor > 0 and factor * value == start[place] and after % factor == 0:
                        found[path, name] = value, after // factor
        return found

    def _by_meaning(
        self, around: list[str], axes: dict[tuple[str, int], Axis], told: Told
    ) -> dict[_Place, tuple[int, int]]:
        """The numbers of documented names, before and after."""
        graph, found = self.sizes.widths.graph, dict[_Place, tuple[int, int]]()
        wanted: list[tuple[str, str, Axis | None]] = []
        for path in around:
            own = vars(self.owner.get_submodule(path))
            if path == "" and type(own.get("head_hidden_size")) is int:
                taken = [axis for axis in axes.values() if axis.length == own["head_hidden_size"]]
                wanted.append((path, "head_hidden_size", taken[0] if taken else None))
            if path == "" and type(own.get("num_features")) is int:
                stubs = [stub for each in self._last_of_features() for stub in tensors_out_of(graph, each)]
                wanted.append((path, "num_features", self.sizes.common_axis(stubs, own["num_features"])))
            if path and type(own.get("in_features")) is int:
                stubs = tensors_into(graph, self.prefix + path)
                wanted.append((path, "in_features", self.sizes.common_axis(stubs, own["in_features"])))
        for path, name, axis in wanted:
            if axis is None and not self._changes(vars(self.owner.get_submodule(path))[name]):
                continue
            if axis is None:
                told.notes.append(
                    f"{'.'.join(filter(None, (self.prefix + path, name)))} stays as it is: it is not known "
                    "which size it tells"
                )
            else:
                found[path, name] = axis.length, self.sizes.of(axis)
        return found

    def _changes(self, size: int) -> bool:
        """Tell whether any axis of a size gets another one."""
        axes = {axis for found in self.sizes.widths.axes.values() for axis in found if axis.length == size}
        return any(self.sizes.of(axis) != size for axis in axes)

    def _last_of_features(self) -> list[str]:
        """The path of the module that makes what `forward_features` returns; empty if none is known to."""
        try:
            with torch.no_grad(), preserved(self.sizes.widths.graph.module):
                args, kwargs = self._given()
                small = map_leaves((args, kwargs), _to_meta)
                with torch.device("meta"):
                    found = _last_maker(self._copy, *small)
                # It takes no memory and no time, but for code that looks at numbers.
                return [self.prefix + path for path in found or _last_maker(self.owner, args, kwargs)]
        except Exception:  # of the user's own code, which need not have such a method
            return []

    def _given(self) -> tuple[Any, Any]:
        """The arguments that it is called with, for the example."""
        module = self.sizes.widths.graph.module
        args, kwargs = nested_arguments(module, self.sizes.widths.graph.example)
        if module is self.owner:
            return args, kwargs
        seen: list[tuple[Any, Any]] = []

        def note(module: nn.Module, args: Any, kwargs: Any) -> None:
            """Keep the arguments."""
            seen.append((args, kwargs))

        hook = self.owner.register_forward_pre_hook(note, with_kwargs=True)
        try:
            module(*args, **kwargs)
        finally:
            hook.remove()
        return seen[0]


def _last_maker(owner: Any, args: Any, kwargs: Any) -> list[str]:
    """The path of the module that makes what `forward_features` returns; empty if it fails or none does."""
    made: list[tuple[str, weakref.ref[Any]]] = []

    def watch(path: str, module: nn.Module, given: Any, out: Any) -> None:
        """Note what a module gives, without keeping it."""
        if isinstance(out, torch.Tensor):
            made.append((path, weakref.ref(out)))

    with contextlib.ExitStack() as stack:
        for path, module in modules_of(owner):
            stack.callback(module.register_forward_hook(functools.partial(watch, path)).remove)
        try:
            returned = owner.forward_features(*args, **kwargs)
        except Exception:  # of the user's own code
            return []
    return [path for path, out in made if out() is returned][-1:]


def _to_meta(leaf: Any) -> Any:
    return leaf.to("meta") if isinstance(leaf, torch.Tensor) else leaf


def _without_memory(owner: nn.Module) -> Any:
    """A copy of a module whose tensors have no memory; None if it cannot be copied."""
    memo: dict[int, Any] = {id(tensor): tensor.detach().to("meta") for tensor in owner.buffers()}
    for tensor in owner.parameters():
        memo[id(tensor)] = nn.Parameter(tensor.detach().to("meta"), requires_grad=tensor.requires_grad)
    try:
        return deep_copy(owner, memo)
    except Exception:  # of the user's own code
        return None
