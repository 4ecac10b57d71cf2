"""The widths that `keep=` fixes: by module paths, glob patterns and modules."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.errors import EditError, nearest
from naivegraph.ir.recording import Recording
from naivegraph.operators.relation import tensors_in
from naivegraph.widths import Widths

__all__ = ["Keep", "kept_atoms", "named_axes", "named_paths"]

Keep = str | nn.Module


def kept_atoms(widths: Widths, keep: Sequence[Keep] | Keep) -> dict[Atom, str]:
    """The atoms of every output of the modules named, each with the reason.

    A path names the module and everything inside it.

    Raises:
        EditError: A path or pattern names nothing, or a module is not part of the network.
    """
    out: dict[Atom, str] = {}
    items = [keep] if isinstance(keep, (str, nn.Module)) else keep
    if not isinstance(items, Iterable):
        raise EditError(f"keep takes module paths, glob patterns and modules, not {type(keep).__name__}")
    for item in items:
        paths = named_paths(widths.graph, item, "keep")
        reason = f"keep names {item if isinstance(item, str) else paths[0] or 'the network itself'}"
        for path in paths:
            for axis in _axes(widths, path):
                out.update(dict.fromkeys(axis.atoms(), reason))
    return out


def named_axes(widths: Widths, item: Keep, argument: str) -> Iterator[Axis]:
    """The axes of every output of the modules that a path, a pattern or a module names.

    Args:
        widths: The widths.
        item: The path, pattern or module.
        argument: The argument that names them, for messages.

    Raises:
        EditError: Nothing is named, or a module is not part of the network.
    """
    for path in named_paths(widths.graph, item, argument):
        yield from _axes(widths, path)


def _axes(widths: Widths, path: str) -> Iterator[Axis]:
    """The axes of all outputs of a vertex or module, or of the parameters of a module that is never called.

    Other code uses the latter's parameters, as attention does with its projections.
    """
    vertices = [vertex for run in widths.graph.runs for vertex in run.vertices]
    found = [vertex for vertex in vertices if vertex.name == path or _inside(vertex.path, path)]
    for vertex in found:
        for stub in tensors_in(vertex.output):
            yield from widths.of(stub)
    if not found:
        for name, axes in widths.axes.items():
            if _inside(name, path):
                yield from axes


def _inside(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(f"{path}.")


def named_paths(graph: Recording, item: Keep, argument: str) -> list[str]:
    """The paths of modules, and names of vertices, that a path, a pattern or a module names.

    Raises:
        EditError: Nothing is named, or a module is not part of the network.
    """
    vertices = [vertex for run in graph.runs for vertex in run.vertices]
    if isinstance(item, nn.Module):
        paths = [
            path for path, module in graph.module.named_modules(remove_duplicate=False) if module is item
        ]
        if not paths:
            raise EditError(f"{argument} holds a {type(item).__name__} which is no part of the network")
    elif isinstance(item, str):
        known = dict.fromkeys([path for path, _ in graph.module.named_modules()] + [v.name for v in vertices])
        paths = [path for path in known if path and fnmatch.fnmatchcase(path, item)]
        if not paths:
            hint = nearest(item, filter(None, known))
            raise EditError(f"{argument} names {item!r}, and no module of the network has that path{hint}")
    else:
        raise EditError(
            f"{argument} takes module paths, glob patterns and modules, not {type(item).__name__}"
        )
    return paths
