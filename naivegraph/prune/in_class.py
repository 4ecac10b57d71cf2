"""Leaving branches out in the network's own class: which modules change, and what is left of each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.edits.plan.module_change import ModuleChange
from naivegraph.graph.run.blocks import Uses, is_activation
from naivegraph.graph.torch_utils.deep_copy import deep_copy
from naivegraph.graph.torch_utils.module_paths import common_path, modules_of
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.bypass_module import BypassCall, name_of_function
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.ir.vertex import Vertex
from naivegraph.prune.branches import Branch

__all__ = ["CallForm", "InClass", "call_forms"]


@dataclasses.dataclass(frozen=True)
class CallForm:
    """The form in which the code of a network calls a module.

    Attributes:
        count: The number of calls in a run.
        single: Whether each has one tensor as its only argument.
        outputs: The number of things it returns as a tuple, a tensor first; None for a tensor by itself.
        known: Whether it returns either.
    """

    count: int
    single: bool
    outputs: int | None
    known: bool

    @property
    def plain(self) -> bool:
        """True if `nn.Identity` can be called in this way."""
        return self.single and self.outputs is None


def call_forms(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, CallForm]:
    """The form of the calls of every module of a network, by path, from one run in eval mode."""
    found: dict[int, CallForm] = {}

    def note(module: nn.Module, given: Any, named: Any, output: Any) -> None:
        """Note one call."""
        single = len(given) == 1 and not named and isinstance(given[0], torch.Tensor)
        listed = isinstance(output, tuple) and len(output) > 0 and isinstance(output[0], torch.Tensor)
        known = listed or isinstance(output, torch.Tensor)
        before = found.get(id(module))
        count, single = (1, single) if before is None else (before.count + 1, single and before.single)
        outputs = len(output) if listed else None
        known = known and (before is None or (before.known and before.outputs == outputs))
        found[id(module)] = CallForm(count, single, outputs, known)

    modules = modules_of(network)
    hooks = [module.register_forward_hook(note, with_kwargs=True) for _, module in modules]
    try:
        with torch.no_grad(), restored(network), preserved(network):
            network(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: found[id(module)] for path, module in modules if id(module) in found}


class InClass:
    """Search for the modules to change so that the network's own forward does without branches.

    The smallest module around a branch and its sum becomes what is left of it, where that is a chain of its
    layers and functions, or nothing. Otherwise the modules inside of the branch change: the last of them with
    parameters gives a zero, which changes no sum, and the others give on what they take. Nothing here is sure
    to be right, as the code may do anything else: the result is to be compared with the graph.

    Args:
        graph: The graph, before branches are left out.
        branches: Those that go.
        forms: How modules are called.
    """

    def __init__(self, graph: Recording, branches: Sequence[Branch], forms: Mapping[str, CallForm]) -> None:
        self._branches, self._forms = branches, forms
        self._gone = {name for branch in branches for name in branch.vertices}
        self._paths = {vertex.name: vertex.path for vertex in graph.vertices if vertex.kind != "input"}
        self._around = {branch: self._common(branch) for branch in branches}
        owners = dict(modules_of(graph.module, every_path=True))
        self._weighty = {p for p, m in owners.items() if next(m.parameters(), None) is not None}

    def _common(self, branch: Branch) -> str:
        """The path of the smallest module with a branch and its sum; "" for the network."""
        return common_path(self._paths[name] for name in (*branch.vertices, branch.total))

    def changes(self, after: Recording) -> tuple[ModuleChange, ...] | None:
        """The remainder of each module that changes; None if no way is known.

        Args:
            after: The graph without the branches.
        """
        found: list[ModuleChange] = []
        uses = Uses(after)
        for path in sorted(dict.fromkeys(self._around.values()), key=len):
            if any(_under(path, other.path) for other in found):
                continue
            left = self._left(after, uses, path)
            if left is not None:
                found.append(left)
                continue
            inside = [self._inside(b) for b, around in self._around.items() if around == path]
            if not all(inside):
                return None
            found += [change for changes in inside for change in changes]
        return tuple(found)

    # The module around

    def _left(self, after: Recording, uses: Uses, path: str) -> ModuleChange | None:
        """The remainder of the module around, if that is a chain of calls."""
        form = self._forms.get(path)
        if not path or form is None or form.count != 1 or not form.known:
            return None
        vertices = [v for v in after.vertices if v.kind != "input" and _under(v.path, path)]
        calls = [_call(vertex, path) for vertex in vertices]
        known = [call for call in calls if call is not None]
        if len(known) < len(calls) or not _one_after_another(vertices):
            return None
        if vertices and _does_nothing(uses, vertices):
            known = []
        return ModuleChange(path, form.plain and not known, tuple(known), outputs=form.outputs)

    # The modules inside

    def _inside(self, branch: Branch) -> list[ModuleChange]:
        """The change of each module that is called for a branch alone; none if one cannot be changed."""
        found = [path for path in self._whole(branch) if path in self._weighty]
        forms = [self._forms.get(path) for path in found]
        changes = [
            ModuleChange(path, form.plain and path != found[-1], (), path == found[-1], form.outputs)
            for path, form in zip(found, forms, strict=True)
            if form is not None and form.known
        ]
        return changes if len(changes) == len(found) else []

    def _whole(self, branch: Branch) -> list[str]:
        """The outermost modules all of whose calls are of branches that go, in the order of last calls."""
        stay = [path for name, path in self._paths.items() if name not in self._gone]
        found: dict[str, None] = {}
        for name in branch.vertices:
            whole = [p for p in _prefixes(self._paths[name]) if not any(_under(path, p) for path in stay)]
            if whole:
                found.pop(whole[0], None)
                found[whole[0]] = None
        return list(found)


def _prefixes(path: str) -> Iterator[str]:
    """The paths of the modules that one is in, the outermost first, and its own."""
    parts = path.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _under(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.") or not other


def _call(vertex: Vertex, path: str) -> BypassCall | None:
    """The call of a vertex on one tensor, in a module; None if it is none, or takes something else."""
    plain = len(vertex.args) == 1 and isinstance(vertex.args[0], Stub)
    if not plain or set(vertex.kwargs) - {"inplace"} or len(stubs_in(vertex.output)) != 1:
        return None
    if isinstance(vertex.target, nn.Module):
        inside = vertex.path != path and not vertex.kwargs
        return ("layer", vertex.path.removeprefix(f"{path}.")) if inside else None
    name = None if vertex.target is None else name_of_function(vertex.target)
    return None if name is None else ("function", name)


def _one_after_another(vertices: Sequence[Vertex]) -> bool:
    """Tell whether each vertex takes what the one before gives."""
    pairs = itertools.pairwise(vertices)
    return all(stubs_in(one.output)[0].id == two.args[0].id for one, two in pairs)


def _does_nothing(uses: Uses, vertices: Sequence[Vertex]) -> bool:
    """Tell whether functions of single elements give on what the vertex before them gives, such as a ReLU.

    They are tried on numbers of both signs, in train mode, in which a dropout would show.
    """
    before = uses.maker(vertices[0], vertices[0].args[0])
    behind = [v for v in vertices if name_of_function(v.target or torch.clone) != "torch.clone"]
    if before is None or not all(is_activation(uses, vertex) for vertex in (before, *behind)):
        return False
    if len(before.args) != 1:
        return False
    numbers = torch.linspace(-20, 20, 401)
    given = _applied(before, numbers)
    taken = given.clone()
    for vertex in behind:
        taken = _applied(vertex, taken)
    return bool((taken == given).all())


def _applied(vertex: Vertex, numbers: torch.Tensor) -> torch.Tensor:
    target: Any = vertex.target
    call: Callable[..., Any] = deep_copy(target).train() if isinstance(target, nn.Module) else target
    with torch.no_grad():
        made: torch.Tensor = call(numbers.clone(), **vertex.kwargs)
    return made
