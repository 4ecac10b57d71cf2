"""Modules that the example does not reach, such as experts: they are as their siblings are."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from naivegraph.algebra.axis import Atom
from naivegraph.graph.torch_utils.module_paths import modules_of
from naivegraph.ir.recording import Recording
from naivegraph.operators.relation import Relation

__all__ = ["tie_siblings"]


def tie_siblings(relation: Relation, graph: Recording, read: Collection[int]) -> set[tuple[int, int]]:
    """Let modules that nothing computes with have the sizes that a sibling shares with the network.

    Siblings are modules of one class in one module, whose parameters and buffers have the same names and
    shapes: the experts of a mixture, of which an example reaches some. Sizes that a sibling has for itself,
    such as an expert's hidden one, stay as they are.

    Args:
        relation: The relation of all operators.
        graph: The graph.
        read: The numbers of the parameters and buffers that some run computes with.

    Returns:
        The number and dimension of each axis that was tied.
    """
    tied: set[tuple[int, int]] = set()
    for one, other in _pairs(graph, read):
        shared = _atoms(relation, [n for n in graph.state if n not in other.values()], graph, read)
        for name, mine in one.items():
            stub, model = graph.state[mine], graph.state[other[name]]
            for dim, axis in enumerate(relation.of(model)):
                atoms = set(relation.algebra.resolve(axis).atoms())
                if atoms and atoms <= shared:
                    relation.algebra.unify(relation.of(stub)[dim], axis)
                    tied.add((stub.id, dim))
    return tied


def _pairs(graph: Recording, read: Collection[int]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The state of each module that is not reached and that of a sibling which is, by name inside them."""
    for path, module in modules_of(graph.module, every_path=False):
        children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
        if len(children) < 2:
            continue
        states = {where: _state(graph, where, child) for where, child in children}
        reached = {
            where: any(graph.state[name].id in read for name in state.values())
            for where, state in states.items()
        }
        for where, child in children:
            if reached[where] or not states[where]:
                continue
            for model, other in children:
                if (
                    reached[model]
                    and type(other) is type(child)
                    and _alike(graph, states[where], states[model])
                ):
                    yield states[where], states[model]
                    break


def _state(graph: Recording, path: str, module: nn.Module) -> dict[str, str]:
    names = (*(n for n, _ in module.named_parameters()), *(n for n, _ in module.named_buffers()))
    return {name: f"{path}.{name}" for name in names if f"{path}.{name}" in graph.state}


def _alike(graph: Recording, one: dict[str, str], two: dict[str, str]) -> bool:
    return one.keys() == two.keys() and all(
        graph.state[one[name]].shape == graph.state[two[name]].shape for name in one
    )


def _atoms(relation: Relation, names: list[str], graph: Recording, read: Collection[int]) -> set[Atom]:
    """The free atoms in the axes of parameters and buffers that some run computes with."""
    stubs = {graph.state[name] for name in names if graph.state[name].id in read}
    axes = (axis for stub in stubs for axis in relation.of(stub))
    return {atom for axis in axes for atom in relation.algebra.resolve(axis).atoms()}
