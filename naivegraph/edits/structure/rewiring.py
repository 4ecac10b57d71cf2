"""Steps that change a graph's structure, recorded as data when they are made, to be repeated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from naivegraph.edits.structure.copy_block import check_identity, copy_block, silence
from naivegraph.edits.structure.expand import expanded
from naivegraph.edits.structure.fold import fold_weights, folding_of
from naivegraph.edits.structure.vertices import new_name, output_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.export.history import forget_history
from naivegraph.graph.list_argument import add_part, remove_part
from naivegraph.graph.mutate import add_vertex, remove_vertex, replace_argument, set_output
from naivegraph.graph.run.blocks import Uses, region_of
from naivegraph.graph.run.caches import without_tensors
from naivegraph.graph.run.liveness import changed_in_place, idle
from naivegraph.graph.run.snapshot import snapshot
from naivegraph.ir.pytree import leaves, with_tensors
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.undo import UndoLog

__all__ = ["Rewiring", "carry_out"]

# Makes the layer of an insertion: from its step, as data.
MakeLayer = Callable[["Rewiring", Mapping[str, Any]], nn.Module]

_FUNCTIONS: dict[str, Callable[..., Any]] = {"add": torch.add, "cat": torch.cat, "clone": torch.clone}


class Rewiring:
    """Change of a graph step by step, each of which is recorded.

    In what is written a vertex stands by its name and a tensor by the name of the first vertex that gives it
    and its place among what that one gives, so that the steps can be carried out on another copy.

    Args:
        graph: Changed in place.
        undo: Takes what undoes each step.

    Attributes:
        steps: What was done, as data; `carry_out` does it again.
    """

    def __init__(self, graph: Graph, undo: UndoLog) -> None:
        self.graph = graph
        self.undo = undo
        self.steps: list[dict[str, Any]] = []

    def add_layer(
        self,
        name: str,
        layer: nn.Module,
        stub: Stub,
        at: int,
        spec: dict[str, Any],
        behind: Vertex,
        *,
        inside: bool = False,
    ) -> Vertex:
        """Call a layer, which trains or evaluates as the network does, on a tensor.

        Args:
            name: Of the new vertex.
            layer: The layer.
            stub: What it is called on.
            at: The position of the vertex.
            spec: How the layer is made, as data.
            behind: The vertex whose size the layer was made for.
            inside: Whether a module of several layers becomes a vertex for each of its calls.

        Returns:
            The vertex that gives what the layer does.
        """
        more = {"inside": True} if inside else {}
        self._write("layer", name=name, of=self._tensor(stub), before=self._at(at), behind=behind.name,
                    layer=spec, **more)  # fmt: skip
        self._as_the_network(layer)
        if inside:
            last = expanded(self.graph, name, layer, stub, at, self.undo)
            if last is not None:
                return last
        return add_vertex(self.graph, name, layer, (stub,), at=at, undo=self.undo)

    def kept(self, name: str, stub: Stub, at: int, path: str, users: Collection[Vertex] = ()) -> Stub:
        """A tensor as it is at a position, of which a layer's gradient may be worked out: perhaps a copy.

        Args:
            name: Of the layer that takes it.
            stub: The tensor.
            at: The position.
            path: Of the module in which it is copied.
            users: Vertices from there on that will take, and perhaps change, another tensor in its place.

        Returns:
            The tensor, or a copy made at that position if it is changed in place later.
        """
        later = [v for v in self.graph.vertices[at:] if not any(v is user for user in users)]
        # A user may change the memory by another tensor that it takes, as in `x[1:] = layer(x[:1])`.
        changed = changed_in_place(self.graph, stub, later) or changed_in_place(
            self.graph, stub, users, through_others=True
        )
        return self.copied(name, stub, at, path) if changed else stub

    def copied(self, name: str, stub: Stub, at: int, path: str) -> Stub:
        """A copy of a tensor, made at a position for the vertex of this name in the module at `path`."""
        called = new_name(self.graph, f"{name}_clone")
        return output_of(self.add_function(called, "clone", (stub,), at, path))

    def _as_the_network(self, layer: nn.Module) -> None:
        flags = [(module, module.training) for module in layer.modules()]

        def put_back() -> None:
            """Restore the training flags."""
            for module, flag in flags:
                module.training = flag

        self.undo.push(put_back)
        if not any(module is layer for module in self.graph.module.modules()):
            layer.train(self.graph.module.training)
            forget_history(layer, self.undo)

    def double(self, names: Sequence[str], path: str, name: str, *, identity: bool) -> None:
        """Call a copy of a module behind its calls; what used their output uses the copy's.

        Args:
            names: The names of the calls.
            path: The path of the module.
            name: The path of the copy.
            identity: Whether the copy starts as the identity.
        """
        self._write("double", vertices=list(names), path=path, name=name, identity=identity)
        graph = self.graph
        vertices = [graph[each] for each in names]
        original, uses = region_of(graph, vertices, repr(path)), Uses(graph)
        users = dict.fromkeys(user for user, _ in uses.users.get(id(original.end), ()))
        returned = uses.is_returned(original.end)
        made = copy_block(graph, vertices, path, name, self.undo)
        if identity:
            silence(graph, original, made, name, self.undo)
            check_identity(graph, original, made, name)
        for user in users:
            if not any(user is vertex for vertex in vertices):
                replace_argument(graph, user, original.exit, made.exit, undo=self.undo)
        if returned:
            output = with_tensors(graph.output, {original.exit.id: made.exit})
            set_output(graph, output, undo=self.undo)

    def add_function(
        self, name: str, what: str, stubs: Sequence[Stub], at: int, path: str, *, dim: int | None = None
    ) -> Vertex:
        """Call a function ("add", "clone", or "cat" along `dim`) on tensors, for the module at `path`.

        Where that is a layer, it is for the module around it: a layer makes no calls of its own.
        """
        along = {} if dim is None else {"dim": dim}
        self._write(
            "function", name=name, function=what, of=[self._tensor(stub) for stub in stubs],
            before=self._at(at), path=path, **along,
        )  # fmt: skip
        args: tuple[Any, ...] = (list(stubs),) if what == "cat" else tuple(stubs)
        vertex = add_vertex(self.graph, name, _FUNCTIONS[what], args, along, at=at, undo=self.undo)
        layers = {other.path for other in self.graph if isinstance(other.target, nn.Module)}
        vertex.path = path.rpartition(".")[0] if path in layers else path
        return vertex

    def remove(self, vertex: Vertex, old: Stub | None = None, new: Stub | None = None) -> None:
        """Take a vertex out; whatever used its tensor `old` uses `new`."""
        both = None if old is None or new is None else [self._tensor(old), self._tensor(new)]
        self._write("remove", vertex=vertex.name, instead=both)
        other = {} if old is None or new is None else {old.id: new}
        remove_vertex(self.graph, vertex, other, undo=self.undo)

    def fold(self, norm: Vertex) -> None:
        """Let the layer before a batch norm do the norm, too, in eval mode; that is to be removed."""
        folding = folding_of(self.graph, norm, trained=False)
        self._write("fold", norm=norm.name)
        fold_weights(self.graph, folding, self.undo)

    def remove_idle(self, before: Sequence[Vertex]) -> None:
        """Take out the vertices that nothing needs any more; those which nothing needed before stay."""
        for vertex in reversed(idle(self.graph, kept=before)):
            self.remove(vertex)

    def replace(self, user: Vertex, old: Stub, new: Stub) -> None:
        """Let a vertex use another tensor."""
        self._write("replace", user=user.name, old=self._tensor(old), new=self._tensor(new))
        replace_argument(self.graph, user, old, new, undo=self.undo)

    def give_back(self, old: Stub, new: Stub) -> None:
        """Let the network return another tensor."""
        self._write("return", old=self._tensor(old), new=self._tensor(new))
        output = with_tensors(self.graph.output, {old.id: new})
        set_output(self.graph, output, undo=self.undo)

    def forget(self, stubs: Sequence[Stub]) -> None:
        """Let the network return caches without these tensors."""
        self._write("forget", of=[self._tensor(stub) for stub in stubs])
        output = without_tensors(self.graph.output, {stub.id for stub in stubs})
        set_output(self.graph, output, undo=self.undo)

    def add_part(self, user: Vertex, part: Stub, index: int | None = None) -> None:
        """Add a tensor to the list a vertex takes, at `index` or at the end."""
        self._write("add part", user=user.name, part=self._tensor(part), index=index)
        add_part(self.graph, user, part, index, undo=self.undo)

    def remove_part(self, user: Vertex, index: int) -> None:
        """Take a tensor from the list a vertex takes."""
        self._write("remove part", user=user.name, index=index)
        remove_part(self.graph, user, index, undo=self.undo)

    def move(self, vertices: Sequence[Vertex], at: int) -> None:
        """Record vertices, all from a position `at` on, at that position, in the order given."""
        self._write("move", vertices=[vertex.name for vertex in vertices], before=self._at(at))
        self.undo.push(snapshot(self.graph))
        moved = {id(vertex) for vertex in vertices}
        listed = self.graph.vertices
        earlier = [vertex for vertex in listed[:at] if id(vertex) not in moved]
        later = [vertex for vertex in listed[at:] if id(vertex) not in moved]
        listed[:] = [*earlier, *vertices, *later]

    # As data

    def _write(self, do: str, **more: Any) -> None:
        self.steps.append({"do": do, **more})

    def _at(self, position: int) -> str | None:
        vertices = self.graph.vertices
        return vertices[position].name if position < len(vertices) else None

    def _tensor(self, stub: Stub) -> list[Any]:
        for vertex in self.graph.vertices:
            for place, leaf in enumerate(leaves(vertex.output)):
                if isinstance(leaf, Stub) and leaf.id == stub.id:
                    return [vertex.name, place]
        for name, other in self.graph.state.items():
            if other.id == stub.id:
                return [None, name]
        raise EditError(f"no vertex of the graph makes the tensor {stub.id}")


def carry_out(step: Mapping[str, Any], rewiring: Rewiring, make: MakeLayer) -> None:
    """Repeat a recorded step.

    Args:
        step: The step as data.
        rewiring: Of the graph it is done to.
        make: Makes the layers that are put in.

    Raises:
        EditError: The step is none, or the graph is not like the one it was written for.
    """
    graph = rewiring.graph
    tensor = functools.partial(_tensor_at, graph)
    match step["do"]:
        case "layer":
            layer = make(rewiring, step)
            rewiring.add_layer(
                step["name"], layer, tensor(step["of"]), _position(graph, step), dict(step["layer"]),
                graph[step["behind"]], inside=step.get("inside", False),
            )  # fmt: skip
        case "function":
            stubs = [tensor(each) for each in step["of"]]
            at = _position(graph, step)
            rewiring.add_function(
                step["name"], step["function"], stubs, at, step["path"], dim=step.get("dim")
            )
        case "double":
            rewiring.double(step["vertices"], step["path"], step["name"], identity=step["identity"])
        case "remove":
            rewiring.remove(graph[step["vertex"]], *map(tensor, step["instead"] or ()))
        case "fold":
            rewiring.fold(graph[step["norm"]])
        case "replace":
            rewiring.replace(graph[step["user"]], tensor(step["old"]), tensor(step["new"]))
        case "return":
            rewiring.give_back(tensor(step["old"]), tensor(step["new"]))
        case "forget":
            rewiring.forget([tensor(each) for each in step["of"]])
        case "add part":
            rewiring.add_part(graph[step["user"]], tensor(step["part"]), step["index"])
        case "remove part":
            rewiring.remove_part(graph[step["user"]], step["index"])
        case "move":
            rewiring.move([graph[name] for name in step["vertices"]], _position(graph, step))
        case other:
            raise EditError(f"no step of an edit is called {other!r}")


def _tensor_at(graph: Graph, where: Sequence[Any]) -> Stub:
    name, place = where
    if name is None:
        return graph.state[place]
    found = list(leaves(graph[name].output))[place]
    if not isinstance(found, Stub):
        raise EditError(f"what {name!r} gives at place {place} is no tensor")
    return found


def _position(graph: Graph, step: Mapping[str, Any]) -> int:
    before = step["before"]
    return len(graph.vertices) if before is None else graph.vertices.index(graph[before])
