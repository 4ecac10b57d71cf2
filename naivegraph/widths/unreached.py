"""Modules that the example does not reach, such as experts or other heads: they stay fit for later runs.

Nothing was recorded that says what they take or give. A sibling that is reached says it: the sizes that it
shares with the network are theirs, too. In a list or dict of modules, of which a later run may choose others,
the sizes around them are held where there is none, or siblings disagree. Elsewhere they stay as they are, and
edits tell of them: they are mostly parts that a configuration leaves out for good.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Iterator, Mapping

from torch import nn

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.recording import Recording
from naivegraph.ir.values import Stub
from naivegraph.operators.relation import Relation

__all__ = ["fit_unreached"]

# The names of a module's parameters and buffers in the network, by their names in the module.
State = Mapping[str, str]


def fit_unreached(relation: Relation, graph: Recording, read: Collection[int]) -> set[tuple[int, int]]:
    """Let modules that nothing computes with have sizes that siblings share with the network, or hold sizes.

    Siblings are modules of one class in one module, with parameters and buffers of the same names and, but in
    lists and dicts, shapes. A size that a sibling has for itself, such as an expert's hidden one, is that of
    the module alone. In lists and dicts all sizes are held where siblings share different ones with the
    network, as the layers of a chain of which some are left out; without a sibling, what the module around
    hands from one of its parts to another is held where it has one of its sizes.

    Args:
        relation: The relation of all operators.
        graph: The graph.
        read: The numbers of the parameters and buffers that some run computes with.

    Returns:
        The number and dimension of each axis that was tied.
    """
    tied: set[tuple[int, int]] = set()
    if graph.rewired:  # it is the graph that runs, which never reaches them
        return tied
    modules = dict(modules_of(graph.module, every_path=True))
    places, held = _places(relation, graph, read), list[tuple[str, Axis]]()
    for one in _unreached(graph, modules, read):
        sizes, fits = set[int](), False
        for name, mine in one.state.items():
            stub = graph.state[mine]
            for dim, axis in enumerate(relation.of(stub)):
                known = _known(relation, graph, places, [(s, s[name]) for s in one.siblings], dim)
                same = dict.fromkeys(shared for length, shared in known if length == stub.shape[dim])
                if len(same) == 1 and (found := next(iter(same))) is not None:
                    relation.algebra.unify(axis, found)
                    tied.add((stub.id, dim))
                    fits = True
                elif not one.alternative:
                    continue
                elif len(same) > 1:
                    held += [(one.path, each) for each in same if each is not None]
                elif not same and (not known or any(each is not None for _, each in known)):
                    sizes |= _taken_or_given(modules, mine, stub, dim)
        # Of what is tied to a sibling the rest is told of: holding all of its size would hold too much.
        if sizes and not fits:
            held += [(one.path, each) for each in _around(relation, graph, modules, one.path, sizes)]
    for path, axis in held:
        relation.algebra.pin(axis, f"the example does not reach {path}, which may use it")
    return tied


@dataclasses.dataclass(frozen=True)
class _Unreached:
    """A module of which nothing is read.

    Attributes:
        path: Its path.
        state: Its state.
        siblings: The state of its siblings that are reached.
        alternative: Whether it is one of a list or dict, which gives it no role of its own.
    """

    path: str
    state: State
    siblings: list[State]
    alternative: bool


def _unreached(
    graph: Recording, modules: Mapping[str, nn.Module], read: Collection[int]
) -> Iterator[_Unreached]:
    """The modules with parameters of which none is read, the outermost alone."""
    for path, module in modules.items():
        children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
        states = {where: _state(graph, where, child) for where, child in children}
        reached = {w for w, s in states.items() if any(graph.state[name].id in read for name in s.values())}
        if path and not reached:
            continue
        for where, child in children:
            if where in reached or next(child.parameters(), None) is None:
                continue
            alternative = not _has_forward(module)
            alike = [
                states[other] for other, each in children if type(each) is type(child) and other in reached
            ]
            named, shapes = states[where].keys(), _shapes(graph, states[where])
            siblings = [
                state
                for state in alike
                if state.keys() == named and (alternative or _shapes(graph, state) == shapes)
            ]
            yield _Unreached(where, states[where], siblings, alternative)


def _state(graph: Recording, path: str, module: nn.Module) -> State:
    names = (*(n for n, _ in module.named_parameters()), *(n for n, _ in module.named_buffers()))
    return {name: f"{path}.{name}" for name in names if f"{path}.{name}" in graph.state}


def _shapes(graph: Recording, state: State) -> list[tuple[int, ...]]:
    return [graph.state[name].shape for name in state.values()]


def _places(relation: Relation, graph: Recording, read: Collection[int]) -> dict[Atom, set[str]]:
    """The parameters and buffers, of those that some run computes with, that have each free atom."""
    places: dict[Atom, set[str]] = {}
    for name, stub in graph.state.items():
        if stub.id in read:
            for axis in relation.of(stub):
                for atom in relation.algebra.resolve(axis).atoms():
                    places.setdefault(atom, set()).add(name)
    return places


def _known(
    relation: Relation,
    graph: Recording,
    places: Mapping[Atom, set[str]],
    siblings: list[tuple[State, str]],
    dim: int,
) -> list[tuple[int, Axis | None]]:
    """The length of one dimension of a parameter of each sibling, and its axis if the network shares it."""
    found: list[tuple[int, Axis | None]] = []
    for state, name in siblings:
        stub = graph.state[name]
        if dim < len(stub.shape):
            axis, own = relation.algebra.resolve(relation.of(stub)[dim]), set(state.values())
            shared = not axis.fixed and all(places.get(atom, own) - own for atom in axis.atoms())
            found.append((stub.shape[dim], axis if shared else None))
    return found


def _taken_or_given(modules: Mapping[str, nn.Module], name: str, stub: Stub, dim: int) -> set[int]:
    """The sizes of tensors that a dimension of a parameter tells of; none for that of a kernel."""
    owner, _, attribute = name.rpartition(".")
    module = modules.get(owner)
    if module is None or attribute not in module._parameters or stub.shape[dim] == 1:
        return set()
    if isinstance(module, nn.modules.conv._ConvNd) and len(stub.shape) > 1:
        return {module.in_channels, module.out_channels} - {1}
    return {stub.shape[dim]}


def _around(
    relation: Relation,
    graph: Recording,
    modules: Mapping[str, nn.Module],
    path: str,
    sizes: Collection[int],
) -> Iterator[Axis]:
    """The axes of these sizes, of dimensions alone or flattened, that the module around one hands on."""
    home = path.rpartition(".")[0]
    while home and not _has_forward(modules[home]):
        home = home.rpartition(".")[0]
    part = functools.partial(_part, modules, home)
    for run in graph.runs:
        makers: dict[int, str | None] = {}
        seen: dict[int, Stub] = {}
        for vertex in run.vertices:
            here = part(vertex.path) if vertex.kind != "input" else None
            for stub in stubs_in((vertex.args, vertex.kwargs)):
                made = makers.get(stub.id)
                if here == "" or made == "" or (here != made and (here, made) != (None, None)):
                    seen[stub.id] = stub
            makers.update({stub.id: here for stub in stubs_in(vertex.output)})
        seen.update({s.id: s for s in stubs_in(run.output) if makers.get(s.id) is not None})
        for stub in seen.values():
            axes = relation.of(stub)
            yield from (axis for axis in axes if axis.length in sizes)
            for start in range(1, len(axes)):  # the batch is not flattened with what comes after it
                for stop in range(start + 2, len(axes) + 1):
                    if math.prod(axis.length for axis in axes[start:stop]) in sizes:
                        yield from axes[start:stop]


def _has_forward(module: nn.Module) -> bool:
    """Tell whether a module can be called; lists and dicts of modules cannot."""
    return type(module).forward is not nn.Module.forward


def _part(modules: Mapping[str, nn.Module], home: str, path: str) -> str | None:
    """The part of a module in which a path is: "" for the module itself, None if it is outside."""
    if path == home:
        return ""
    if home and not path.startswith(f"{home}."):
        return None
    names = path[len(home) + 1 if home else 0 :].split(".")
    for count in range(1, len(names) + 1):
        where = ".".join(names[:count])
        module = modules.get(f"{home}.{where}" if home else where)
        if module is None or _has_forward(module):
            return where if module is not None else ""
    return names[0]
