"""A network as a graph: its calls in order, with their arguments."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from torch import fx, nn

from naivegraph.costs import Cost, Costs, cost_named
from naivegraph.costs.costs import usual_costs
from naivegraph.errors import NaivegraphError
from naivegraph.graph.build.from_nodes import build
from naivegraph.graph.build.nodes import Node
from naivegraph.graph.export.to_module import to_module
from naivegraph.graph.record.record_run import copy_tensors
from naivegraph.graph.run import query
from naivegraph.graph.run.blocks import Block, find_blocks
from naivegraph.graph.run.hidden_values import hidden_values
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.run.interventions import Intervened, Interventions
from naivegraph.graph.run.lint import lint
from naivegraph.graph.run.neuron_dims import output_sizes
from naivegraph.graph.run.summary import summary, summary_html
from naivegraph.graph.torch_utils.deep_copy import copied_argument, deep_copy, reaches_modules
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.verify.catch_up import catch_up
from naivegraph.graph.verify.shape_prop import propagate_shapes
from naivegraph.graph.verify.train_mode import follow_training
from naivegraph.ir.pytree import leaves, map_leaves
from naivegraph.ir.recording import TRAIN_MODE, Recording
from naivegraph.ir.signature import bind
from naivegraph.ir.step_module import BuiltModule
from naivegraph.ir.values import ConstantTensor
from naivegraph.ir.vertex import Vertex
from naivegraph.picture import NetworkPicture, Pictured
from naivegraph.widths import Widths, relate, rewritable

if TYPE_CHECKING:
    import networkx

__all__ = ["Graph"]


class Graph(Recording, Pictured):
    """A network as vertices in recorded order, and the module they belong to.

    `capture` makes one of any module; `Graph(inputs, outputs)` makes one, and its module, of nodes written by
    hand. Calling it runs the vertices with the module's present layers, parameters and attributes.

    Args:
        inputs: The network's inputs, in order.
        outputs: Its output: a node (or a list of one), several, or a dict of them.

    Raises:
        NaivegraphError: The nodes are no network.
        CaptureError: It does not run, or calls a function with no rule that is not made of torch functions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from naivegraph.graph import input_node, layer
        >>> from naivegraph.network import Graph
        >>> x = input_node("x", 3)
        >>> hidden = layer(nn.Linear(3, 8), x, name="hidden")
        >>> graph = Graph([x], [hidden.then(nn.ReLU()) + hidden])
        >>> graph.sizes
        {'x': 3, 'hidden': 8, 'relu': 8, 'add': 8}
    """

    interventions: Interventions  # those under way; see `ng.surgery.intervene`

    def __init__(self, inputs: Node | Sequence[Node], outputs: Any) -> None:
        vars(self).update(vars(build(inputs, outputs)))
        self.interventions = Interventions()

    @classmethod
    def of(cls, recorded: Recording) -> Self:
        """A graph that is this recording."""
        graph = cls.__new__(cls)
        vars(graph).update(vars(recorded))
        graph.interventions = Interventions()
        return graph

    def __repr__(self) -> str:
        what = (
            "written by hand" if isinstance(self.module, BuiltModule) else f"of {type(self.module).__name__}"
        )
        return f"Graph {what}: {len(self.vertices)} vertices"

    def _repr_html_(self) -> str:
        return summary_html(self)

    def summary(self) -> str:
        """A table of the vertices and the results of verification, as plain text."""
        return summary(self)

    def lint(self) -> None:
        """Check every invariant of a graph.

        Raises:
            NaivegraphError: One is violated; the message names the vertex.
        """
        lint(self)

    # Running

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The network's output for these arguments, computed vertex by vertex.

        In train mode it is the network's output there, if `checks["train mode"]` is "equal".
        """
        now = self._now()
        interpreter = Intervened(now, self.interventions) if self.interventions else Interpreter(now)
        return interpreter.run(bind(self, args, kwargs))

    def _now(self) -> Recording:
        """The run to repeat with the network's flags as they are."""
        if TRAIN_MODE not in self.checks and any(module.training for module in self.module.modules()):
            follow_training(self)
        return self.present

    def run(self, inputs: Any, outputs: Iterable[str]) -> dict[str, Any]:
        """The values of named vertices, from the network's inputs or from values of other vertices.

        What is given is not computed again, and nothing runs that no output needs. A value is what its vertex
        gave, even if the network changes the tensor in place afterwards; given tensors are never changed.

        Args:
            inputs: One tensor, a tuple of positional arguments or a dict of keyword arguments of the network;
                or a dict of values by vertex.
            outputs: Names of vertices.

        Raises:
            EditError: There is no such vertex.
            NaivegraphError: The arguments are not those recorded, or an input is needed that is not given.

        Example:
            >>> import torch
            >>> from naivegraph.network import capture
            >>> layers = torch.nn.Linear(4, 3), torch.nn.ReLU(inplace=True), torch.nn.Linear(3, 2)
            >>> net = torch.nn.Sequential(*layers)
            >>> x = torch.randn(5, 4)
            >>> graph = capture(net, x)
            >>> hidden = graph.run(x, ["0", "1"])
            >>> torch.equal(hidden["0"], net[0](x)), torch.equal(hidden["1"], net[0](x).relu())
            (True, True)
            >>> torch.equal(graph.run({"1": hidden["1"]}, ["2"])["2"], net(x))
            True
        """
        if isinstance(outputs, str) or not isinstance(outputs, Iterable):
            raise NaivegraphError(f"outputs= takes a list of names of vertices, not {outputs!r}")
        now = self._now()
        wanted = [now[name].name for name in outputs]
        if isinstance(inputs, dict) and any(name in now and now[name].kind != "input" for name in inputs):
            given = {now[name].name: value for name, value in inputs.items()}
        else:
            args, kwargs = _arguments(inputs)
            given = bind(self, args, kwargs)
        return hidden_values(now, given, wanted, self.interventions)

    # Looking

    def find(self, what: str | Callable[[Vertex], object]) -> list[Vertex]:
        """The vertices whose name matches a pattern (`layer1.*.conv?`), or for which a predicate is true."""
        return query.find(self, what)

    def inputs_of(self, vertex: str | Vertex) -> list[Vertex]:
        """The vertices whose tensors this one uses, in the order of its arguments, each once."""
        mine = self._own(vertex)
        return list(dict.fromkeys(maker for maker, user, _ in query.edges(self) if user is mine))

    def outputs_of(self, vertex: str | Vertex) -> list[Vertex]:
        """The vertices that use the tensors of this one, in order, each once."""
        mine = self._own(vertex)
        return list(dict.fromkeys(user for maker, user, _ in query.edges(self) if maker is mine))

    def ancestors(self, vertex: str | Vertex) -> list[Vertex]:
        """All vertices that this one depends on, in order."""
        return query.related(self, self._own(vertex), upwards=True)

    def descendants(self, vertex: str | Vertex) -> list[Vertex]:
        """All vertices that depend on this one, in order."""
        return query.related(self, self._own(vertex), upwards=False)

    def blocks(self) -> list[Block]:
        """Blocks that can be taken out (`ng.remove`) or doubled (`ng.duplicate`), in order.

        They are found from the graph, not from names: from where ways part to the sum or concatenation where
        they meet, with the activations that follow. Nested ones are listed, too.

        Example:
            >>> import torch, naivegraph as ng
            >>> class Block(torch.nn.Module):
            ...     def __init__(self):
            ...         super().__init__()
            ...         self.one, self.two = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
            ...     def forward(self, x):
            ...         return x + self.two(self.one(x).relu())
            >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), Block(), Block())
            >>> graph = ng.capture(net, torch.ones(1, 3))
            >>> for block in graph.blocks():
            ...     print(block)
            1: 4 vertices, around it the identity
            2: 4 vertices, around it the identity
            >>> edit = ng.remove(graph, "1")
            >>> [vertex.name for vertex in graph]
            ['input', '0', '2.one', '2.relu', '2.two', '2.add']
        """
        return find_blocks(self)

    def _own(self, vertex: str | Vertex) -> Vertex:
        return self[vertex if isinstance(vertex, str) else vertex.name]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of neurons of every vertex's (first) output, by name.

        They are counted along dimension 1 after a convolution or batch norm, along the last after a linear
        layer, embedding or layer norm, and along the same dimension as before otherwise.
        """
        catch_up(self)
        return output_sizes(self)

    @property
    def widths(self) -> Widths:
        """The runs of neurons that always occur together, and the axes of every tensor.

        Worked out from the operators at each access, which takes longer than a look at `sizes`.
        """
        catch_up(self)
        return relate(self)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The network's parameters, tied ones once, as `nn.Module.parameters` gives them."""
        return self.module.parameters()

    def costs(self, *names: str | Cost) -> Costs:
        """The costs of the network as it is now.

        Args:
            names: Costs by name; by default those that are counted unasked.

        Raises:
            EditError: There is no such cost.

        Example:
            >>> import torch, naivegraph as ng
            >>> graph = ng.capture(torch.nn.Linear(4, 2), torch.zeros(10, 4))
            >>> print(graph.costs("macs", "params"))
            MACs       80
            parameters 10
            >>> graph.macs, graph.costs().params
            (80, 10)
        """
        wanted = [cost_named(name) for name in names] if names else usual_costs()
        found = {cost.name: cost.of_module(self.module) for cost in wanted}
        if any(value is None for value in found.values()):
            widths = self.widths
            found.update((c.name, c.value(widths)) for c in wanted if found[c.name] is None)
        return Costs({name: value for name, value in found.items() if value is not None})

    @property
    def macs(self) -> int | float:
        """Multiply-accumulates of one run on the example; worked out from the operators at each access."""
        return self.costs("macs").macs

    @property
    def params(self) -> int | float:
        """Number of parameters, tied ones counted once."""
        return self.costs("params").params

    def to_networkx(self) -> networkx.MultiDiGraph[str]:
        """Names as nodes (with `kind`, `what`, `path`), uses of tensors as edges (with `tensor`, `shape`)."""
        return query.to_networkx(self)

    def picture(
        self,
        *,
        groups: Mapping[str, str] | None = None,
        before: NetworkPicture | None = None,
        title: str | None = None,
    ) -> NetworkPicture:
        """The graph as a picture: vertices with sizes and costs, modules as boxes, coloured.

        `graph.page("net.html")` writes it as a page to zoom and search in, `graph.svg("net.svg")` as SVG;
        notebooks show the page of a picture.

        Args:
            groups: The name of a group by the name of each of its vertices, such as
                `{"layer1.0.conv1": "donor a"}`; each group has a colour. By default they are by what vertices
                compute with.
            before: A picture of the network from before some edits: both are shown as one, coloured by what
                shrank, grew, came and went.
            title: The heading; by default the class of the network.

        Raises:
            EditError: There is no vertex of a name.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> graph = ng.capture(net, torch.ones(1, 4))
            >>> before = graph.picture()
            >>> vertex = before.vertices[1]
            >>> vertex.name, vertex.sizes.shapes, vertex.sizes.costs["params"]
            ('0', ((1, 8),), 40)
            >>> edit = ng.resize(graph, {"0": +2})
            >>> sorted({vertex.group for vertex in graph.picture(before=before).vertices})
            ['as before', 'grew']
        """
        from naivegraph.picture.compare import compared
        from naivegraph.picture.graph_picture import graph_picture, grouped
        from naivegraph.picture.related_graph import RelatedGraph

        found = graph_picture(RelatedGraph.of(self.widths))
        if before is not None:
            found = compared(before, found)
        if groups is not None:
            found = grouped(found, groups)
        return found if title is None else dataclasses.replace(found, title=title)

    # Changing

    def refresh(self) -> None:
        """Run the vertices once on the stored example, and update shapes, operators and state.

        To be called after parameters were resized or vertices changed. Flags, buffers, random numbers and
        attributes of the network are as before.

        Raises:
            NaivegraphError: The graph has no example, or a vertex returns another structure than before.
            Exception: Any exception of a vertex, with a note that names it; the graph is as it was.
        """
        propagate_shapes(self)

    # Copying

    def to_module(self, outputs: Iterable[str] | Mapping[str, str] | None = None) -> fx.GraphModule:
        """A `torch.fx.GraphModule` that computes the same and shares nothing with the original.

        Args:
            outputs: The names of vertices; the module then returns a dict of what these give, as `run` does,
                and has the layers alone that they need. Or a dict of names by the keys of that dict.

        Raises:
            EditError: There is no such vertex; the message lists the names most like it.
            NaivegraphError: There is none in train mode, in which the network calls other functions.

        Example:
            >>> import torch
            >>> from naivegraph.network import capture
            >>> layers = torch.nn.Linear(4, 3), torch.nn.ReLU(inplace=True), torch.nn.Linear(3, 2)
            >>> net, x = torch.nn.Sequential(*layers), torch.randn(5, 4)
            >>> features = capture(net, x).to_module(outputs={"before": "0", "after": "1"})
            >>> {key: bool((value < 0).any()) for key, value in features(x - 9).items()}
            {'before': True, 'after': False}
            >>> [name for name, _ in features.named_parameters()]
            ['0.weight', '0.bias']
        """
        return to_module(self, rewritable, None if outputs is None else self._named_outputs(outputs))

    def _named_outputs(self, outputs: Any) -> dict[str, str]:
        """Names of vertices by the keys of a dict."""
        if isinstance(outputs, str) or not isinstance(outputs, Iterable):
            raise NaivegraphError(
                f"outputs= takes a list of names of vertices or a dict of them, not {outputs!r}"
            )
        named = outputs if isinstance(outputs, Mapping) else {name: name for name in outputs}
        if not named:
            raise NaivegraphError("outputs= names no vertex")
        for key in named:
            if not isinstance(key, str):
                raise NaivegraphError(f"a key of outputs= is {key!r}, not a string")
        return {key: self[name].name for key, name in named.items()}

    @ordinary_mode()
    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return type(self).of(_copy(self, deep_copy(self.module, memo), memo))


def _copy(recorded: Recording, module: nn.Module, memo: dict[int, Any]) -> Recording:
    """A copy of a recording, of a copy of its module."""

    def copied(leaf: Any) -> Any:
        """Return a copy of a constant tensor or of what calls the network's modules, or the leaf itself."""
        if isinstance(leaf, ConstantTensor):
            return ConstantTensor(copy.deepcopy(leaf.tensor, memo))
        return copied_argument(leaf, memo)

    def own(value: Any) -> Any:
        """Return a pytree with copies of these leaves; one without any is never changed."""
        changing = any(type(leaf) is ConstantTensor or reaches_modules(leaf) for leaf in leaves(value))
        return map_leaves(value, copied) if changing else value

    copies = {id(vertex): _copy_vertex(vertex, own, memo) for vertex in recorded.vertices}
    memo.update(copies)
    out = Recording.__new__(Recording)
    vars(out).update(vars(recorded))  # whatever is not copied below is not changed in place
    out.module = module
    out.vertices = [copies[id(vertex)] for vertex in recorded.vertices]
    out.state = dict(recorded.state)
    out.inputs = [copies[id(vertex)] for vertex in recorded.inputs]
    out.output = own(recorded.output)
    out.constants = copy.deepcopy(recorded.constants, memo)
    out.escapes, out.comparisons = list(recorded.escapes), list(recorded.comparisons)
    out.checks, out.left_behind = dict(recorded.checks), dict(recorded.left_behind)
    out.example = copy_tensors(recorded.example)
    out.training = None if recorded.training is None else _copy(recorded.training, module, memo)
    out.train_replay = None if recorded.train_replay is None else _copy(recorded.train_replay, module, memo)
    return out


def _copy_vertex(vertex: Vertex, own: Any, memo: dict[int, Any]) -> Vertex:
    target = vertex.target
    return dataclasses.replace(
        vertex,
        target=memo.get(id(target), target) if isinstance(target, nn.Module) else target,
        args=own(vertex.args),
        kwargs=own(vertex.kwargs),
        output=own(vertex.output),
    )


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments, from one tensor, a tuple or a dict."""
    if isinstance(inputs, dict):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}
