"""What a capture remembers of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from naivegraph.errors import EditError, NaivegraphError, nearest
from naivegraph.ir.values import Comparison, Escape, Stub
from naivegraph.ir.vertex import Vertex

__all__ = ["TRAIN_MODE", "Recording"]

TRAIN_MODE = "train mode"  # the check that tells whether the graph follows its network there


class Recording:
    """The vertices of a network in order, the module they are bound to, and how to look things up in both.

    Args:
        module: The network.
        vertices: Its vertices in recorded order; in-place operators rely on it.
        state: Every parameter and buffer by every name it has; tied names share one stub.
        inputs: The vertices among `vertices` which are inputs.
        output: The structure the network returned, with stubs at the tensors.
        constants: Arguments of the forward which are no tensors, by name; they keep their value.
        held: `(expression, where, how)` for every number which left the integers or was counted through.
        compared: The comparisons of different numbers in the code, which must come out as they did.
        checks: What verification found, by the name of the check.
        example: A copy of the inputs of the recorded run, by the name of the input vertex.
        rewired: Whether vertices or their connections were changed since; then the module's own forward is
            not what the graph computes, `to_module()` is.
        training: A run in train mode, if that uses parameters which this one in eval mode does not, or the
            network was made of two such runs. It shares the numbers of parameters and buffers, and counts for
            how sizes hang together.
        instead: A run in train mode, if that calls other operators on the same parameters.
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
        held: list[Escape] | None = None,
        compared: list[Comparison] | None = None,
        checks: dict[str, str] | None = None,
        example: dict[str, Any] | None = None,
        rewired: bool = False,
        training: Recording | None = None,
        instead: Recording | None = None,
    ) -> None:
        self.module = module
        self.vertices = vertices
        self.state = state
        self.inputs = inputs
        self.output = output
        self.constants = constants or {}
        self.held = held or []
        self.compared = compared or []
        self.checks = checks or {}
        self.example = example or {}
        self.rewired = rewired
        self.training = training
        self.instead = instead
        self.reserved = 0  # numbers of tensors below this one may be given away already

    @property
    def runs(self) -> list[Recording]:
        """The runs that count for how sizes hang together."""
        return [self] if self.training is None else [self, self.training]

    @property
    def in_train_mode(self) -> Recording:
        """The run which is repeated while the network trains."""
        return self.training or self.instead or self

    @property
    def present(self) -> Recording:
        """The run which is repeated with the network's flag as it is now."""
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
            EditError: There is none; the message lists the names most like it.
        """
        if not isinstance(name, str):
            raise EditError(f"a vertex is found by its name, a string, not by {name!r}")
        for vertex in self.vertices:
            if vertex.name == name:
                return vertex
        names = [vertex.name for vertex in self.vertices]
        hint = nearest(name, names, otherwise="see graph.summary() for names")
        raise EditError(f"the graph has no vertex {name!r}{hint}")

    def tensor(self, name: str) -> torch.Tensor:
        """The parameter or buffer of this name, as the module has it now."""
        path, _, attribute = name.rpartition(".")
        found = getattr(self.module.get_submodule(path), attribute)
        if not isinstance(found, torch.Tensor):
            raise NaivegraphError(f"{name!r} of the network is no tensor any more")
        return found
