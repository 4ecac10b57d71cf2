"""The recording of one or two runs of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from naivegraph.errors import EditError, NaivegraphError, nearest
from naivegraph.ir.pytree import stubs_in
from naivegraph.ir.tuple_of_kind import with_kinds, without_kinds
from naivegraph.ir.values import Comparison, Escape, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["TRAIN_MODE", "Recording"]

TRAIN_MODE = "train mode"  # the check that tells whether the graph follows its network there


class Recording:
    """The vertices of a network in recorded order, and the module they belong to.

    Args:
        module: The network.
        vertices: Its vertices in recorded order, on which in-place operators rely.
        state: A stub for every parameter and buffer by every name it has; shared ones have one stub.
        inputs: The vertices among `vertices` that are inputs.
        output: The pytree the network returned, with stubs for tensors.
        constants: Arguments of the forward that are no tensors, by name; they keep their value.
        escapes: The symbolic integers that the code turned into ordinary numbers; these keep their value.
        comparisons: The comparisons of different symbolic integers, which have to come out as recorded.
        checks: Results of verification, by the name of the check.
        example: A copy of the inputs of the recorded run, by the name of the input vertex.
        rewired: Whether vertices or their connections were changed since; then `to_module()` computes what
            the graph does, the module's own forward something else.
        training: A run in train mode, if that uses parameters that this one in eval mode does not, or the
            network was made of two such runs. It shares the numbers of parameters and buffers, and sizes are
            related by both runs.
        train_replay: A run in train mode that calls other operators on the same parameters. It is repeated
            while the network trains, but sizes are not related by it.
        left_behind: Where a forward keeps tensors of its own, for others to read, by the numbers of these:
            "Net.logits", or "the Result that Net returns". They are outputs, too.
    """

    def __init__(
        self,
        module: nn.Module,
        vertices: list[Vertex],
        state: dict[str, Stub],
        inputs: list[Vertex],
        output: Any,
        *,
        constants: dict[str, Any] | None = None,
        escapes: list[Escape] | None = None,
        comparisons: list[Comparison] | None = None,
        checks: dict[str, str] | None = None,
        example: dict[str, Any] | None = None,
        rewired: bool = False,
        training: Recording | None = None,
        train_replay: Recording | None = None,
        left_behind: dict[int, str] | None = None,
    ) -> None:
        self.module = module
        self.vertices = vertices
        self.state = state
        self.inputs = inputs
        self.output = output
        self.constants = constants or {}
        self.escapes = escapes or []
        self.comparisons = comparisons or []
        self.checks = checks or {}
        self.example = example or {}
        self.rewired = rewired
        self.training = training
        self.train_replay = train_replay
        self.left_behind = left_behind or {}
        self.first_example: dict[str, Any] | None = None  # the one of the capture, if inputs were resized
        self.reserved = 0  # numbers of tensors below this one may be taken already
        self.found: dict[Any, Any] = {}  # what was worked out from it as it is; copies share it

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "found": {}, "output": without_kinds(self.output)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, output=with_kinds(state["output"]))

    @property
    def runs(self) -> list[Recording]:
        """The runs that sizes are related by."""
        return [self] if self.training is None else [self, self.training]

    @property
    def in_train_mode(self) -> Recording:
        """The run to repeat while the network trains."""
        return self.training or self.train_replay or self

    @property
    def present(self) -> Recording:
        """The run to repeat with the network's `training` flag as it is now."""
        return self.in_train_mode if self.module.training else self

    def __len__(self) -> int:
        return len(self.vertices)

    def __iter__(self) -> Iterator[Vertex]:
        return iter(self.vertices)

    def __contains__(self, name: object) -> bool:
        return any(vertex.name == name for vertex in self.vertices)

    def __getitem__(self, name: str) -> Vertex:
        """The vertex of this name.

        Raises:
            EditError: There is none; the message lists the names most like it, or, for a module that the
                graph looks into, the vertices that give its outputs.
        """
        if not isinstance(name, str):
            raise EditError(f"a vertex is found by its name, a string, not by {name!r}")
        for vertex in self.vertices:
            if vertex.name == name:
                return vertex
        ends = [vertex.name for vertex in self._ends(name)]
        if ends:
            raise EditError(
                f"the graph has no vertex {name!r}, which is a module that it looks into: what that gives is "
                f"the value of {' or '.join(map(repr, ends))}"
            )
        names = [vertex.name for vertex in self.vertices]
        hint = nearest(name, names, otherwise="see graph.summary() for names")
        raise EditError(f"the graph has no vertex {name!r}{hint}")

    def _ends(self, path: str) -> list[Vertex]:
        """The vertices in the module of a path whose tensors are used outside of it."""
        inside = [v for v in self.vertices if path and f"{v.path}.".startswith(f"{path}.")]
        chosen = set(map(id, inside))
        others = [(v.args, v.kwargs) for v in self.vertices if id(v) not in chosen]
        used = {stub.id for stub in stubs_in([others, self.output])}
        # Of a tensor that is changed in place, the last that does so.
        makers = {stub.id: v.name for v in inside for stub in stubs_in(v.output) if stub.id in used}
        return [v for v in inside if v.name in makers.values()]

    def tensor(self, name: str) -> torch.Tensor:
        """The parameter or buffer of this name, as the module has it now."""
        path, _, attribute = name.rpartition(".")
        found = getattr(self.module.get_submodule(path), attribute)
        if not isinstance(found, torch.Tensor):
            raise NaivegraphError(f"{name!r} of the network is no tensor any more")
        return found
