"""Which widths `keep=` holds: module paths, glob patterns and modules."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence

from torch import nn

from naivegraph.errors import EditError
from naivegraph.graph import Graph, Vertex
from naivegraph.widths import Widths
from naivegraph.widths.axis import Atom
from naivegraph.widths.relation import tensors_in

__all__ = ["Keep", "kept_atoms"]

Keep = str | nn.Module


def kept_atoms(widths: Widths, keep: Sequence[Keep] | Keep) -> dict[Atom, str]:
    """The atoms of every output of the modules named, each with the reason.

    A path names the module and everything inside it.

    Raises:
        EditError: A path or pattern names nothing, or a module is not part of the network.
    """
    graph = widths.graph
    out: dict[Atom, str] = {}
    for item in [keep] if isinstance(keep, (str, nn.Module)) else keep:
        for vertex in _vertices(graph, item):
            for stub in tensors_in(vertex.output):
                for axis in widths.of(stub):
                    out.update(
                        dict.fromkeys(
                            axis.atoms(), f"keep names {item if isinstance(item, str) else vertex.path}"
                        )
                    )
    return out


def _vertices(graph: Graph, item: Keep) -> Iterable[Vertex]:
    vertices = [vertex for run in graph.runs for vertex in run.vertices]
    if isinstance(item, nn.Module):
        paths = [
            path for path, module in graph.module.named_modules(remove_duplicate=False) if module is item
        ]
        if not paths:
            raise EditError(f"keep holds a {type(item).__name__} which is no part of the network")
    elif isinstance(item, str):
        known = dict.fromkeys([path for path, _ in graph.module.named_modules()] + [v.name for v in vertices])
        paths = [path for path in known if path and fnmatch.fnmatchcase(path, item)]
        if not paths:
            near = difflib.get_close_matches(item, [path for path in known if path], n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise EditError(f"keep names {item!r}, and no module of the network has that path{hint}")
    else:
        raise EditError(f"keep takes module paths, glob patterns and modules, not {type(item).__name__}")
    return [v for v in vertices if any(v.name == p or (v.path + ".").startswith(p + ".") for p in paths)]
