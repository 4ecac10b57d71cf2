"""Layers that compute with tensors which are neither their own nor their arguments.

Code may set the weight of a layer before it calls it (`self.layer.weight = f(self.raw)`, or by
`torch.func.functional_call`), or read a weight that another layer worked out. A call of the layer by itself
would not find these tensors again, so such a layer has to be looked into instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from naivegraph.errors import CaptureError
from naivegraph.graph.torch_utils.source_lines import user_line
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.ir.values import State, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["ForeignTensors"]


class ForeignTensors:
    """The layers of a run that have to be looked into, in another run.

    Args:
        state: The stubs of parameters and buffers by every name.

    Attributes:
        opened: The paths of these layers.
        makers: The vertex inside which each tensor was computed, by its number.
    """

    def __init__(self, state: Mapping[str, Stub]) -> None:
        self.opened: set[str] = set()
        self.makers: dict[int, Vertex] = {}
        self._names: dict[int, list[str]] = {}
        self._numbers = {name: stub.id for name, stub in state.items()}
        for name, stub in state.items():
            self._names.setdefault(stub.id, []).append(name)

    def enter(self, vertex: Vertex) -> None:
        """Note what a vertex computed."""
        for operation in vertex.operations:
            for stub in operation.outputs:
                if stub is not None:
                    self.makers.setdefault(stub.id, vertex)

    def enter_input(self, vertex: Vertex) -> None:
        """Note an input of the network."""
        self.makers.update((stub.id, vertex) for stub in stubs_in(vertex.output))

    def check(self, layer: Vertex) -> None:
        """Open a layer that computed with others' tensors, and a layer that does not return what it used."""
        prefix = f"{layer.path}." if layer.path else ""
        arguments = (layer.args, layer.kwargs)
        # Most layers compute with their arguments and their own weights; that is seen without a walk.
        given = {leaf.id for leaf in layer.args if type(leaf) is Stub}
        if all(self._is_known(stub, layer, prefix, given) for stub in _operands(layer)):
            return
        given.update(stub.id for stub in stubs_in(arguments))
        given.update(self._numbers[leaf.name] for leaf in leaves(arguments) if type(leaf) is State)
        for stub in _operands(layer):
            if not self._is_known(stub, layer, prefix, given):
                self.opened.add(layer.path)
                maker = self.makers.get(stub.id)
                if maker is not None and all(stub.id != out.id for out in stubs_in(maker.output)):
                    self.open_maker(stub)

    def _is_known(self, stub: Stub, layer: Vertex, prefix: str, given: set[int]) -> bool:
        """Tell whether a tensor is the layer's own, by one of its names, an argument, or a constant."""
        maker = self.makers.get(stub.id)
        if maker is not None or stub.id in given:
            return maker is layer or stub.id in given
        names = self._names.get(stub.id)
        return names is None or any(name.startswith(prefix) for name in names)

    def open_maker(self, stub: Stub) -> None:
        """Open the layer inside which a tensor was computed that others use, if it was inside any vertex.

        Raises:
            CaptureError: That vertex calls no layer.
        """
        maker = self.makers.get(stub.id)
        if maker is not None and maker.kind != "layer":
            where = user_line()
            place = f"{where[0]}:{where[1]}" if where else "an unknown place"
            raise CaptureError(
                f"a tensor used at {place} was computed inside {maker.name!r}, which does not return it; "
                "return it from that layer's forward instead of storing it"
            )
        if maker is not None:
            self.opened.add(maker.path)


def _operands(vertex: Vertex) -> Iterator[Stub]:
    """The tensors that the operators of a vertex take."""
    for operation in vertex.operations:
        for value in (*operation.args, *operation.kwargs.values()):
            if type(value) is Stub:
                yield value
            elif type(value) is list or type(value) is tuple:
                yield from (item for item in value if type(item) is Stub)
