"""Many small networks of one frame: run all at once, read and written as tokens, and as plain modules."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.masked_run import MaskedRun, masked_run
from naivegraph.tokens.network_tensors import NetworkTensors
from naivegraph.tokens.plain_module import plain_module
from naivegraph.tokens.token_form import tokens_of, tokens_to_tensors
from naivegraph.tokens.validity import faults

__all__ = ["Networks"]


class Networks(NetworkTensors):
    """A batch of n networks of one frame; see `NetworkTensors` for the tensors.

    Example:
        >>> import torch
        >>> frame = Frame("dense", inputs=2, outputs=1, depth=1, width=2, activations=("relu",))
        >>> networks = Networks.empty(frame, 1)
        >>> networks.operator[0, 0] = 1
        >>> networks.presence[0, 0, 0] = True
        >>> networks.edges[0, 0, 0], networks.edges[0, 1, 0, 0] = True, True
        >>> networks.weights[0, 0, 0, :, 0], networks.weights[0, 1, 0, 0] = torch.tensor([1.0, -1.0]), 2.0
        >>> networks.run(torch.tensor([[5.0, 2.0], [2.0, 5.0]])).flatten().tolist()
        [6.0, 0.0]
    """

    def run(self, inputs: Tensor) -> Tensor:
        """The outputs of all networks, which can be derived by all floating tensors.

        Args:
            inputs: What every network is given, `[b, inputs]` or `[b, inputs, height, width]`; or with
                an axis `n` in front, what each is given.

        Returns:
            `[n, b, outputs]`.

        Raises:
            ValueError: The inputs are of another shape.
        """
        return self.run_hidden(inputs).outputs

    def run_hidden(self, inputs: Tensor) -> MaskedRun:
        """The same, with what goes into each activation."""
        return masked_run(self, inputs)

    def valid(self) -> Tensor:
        """A mask `[n]` of those that are networks.

        Layers fill the places from the front, each with a neuron at least; edges are between neurons that are
        there; what a layer adds has the same neurons as it; all outputs are there.
        """
        wrong = faults(self)
        found = next(iter(wrong.values()))
        for mask in wrong.values():
            found = found | mask
        return ~found

    def faults(self, number: int) -> list[str]:
        """The faults of one of them, in words; none if it is a network."""
        return [what for what, mask in faults(self[number]).items() if mask.item()]

    def module(self, number: int) -> nn.Module:
        """One of them as a plain module, of `nn.Linear` or `nn.Conv2d`, norms and activations.

        It shares nothing with this batch, and gives the same outputs.

        Raises:
            EditError: It is no network; the message says why.
            IndexError: There is none of that number.
        """
        return plain_module(self, number)

    def tokens(self) -> Tensor:
        """The tokens, `[n, tokens, features]`, one for each place of a neuron; see `Frame.features`.

        Weights without an edge, and the numbers of neurons that are not there, are 0.
        """
        return tokens_of(self)

    @classmethod
    def from_tokens(cls, frame: Frame, tokens: Tensor, *, soft: bool = False) -> Self:
        """The networks that tokens say, exactly if they are of networks; they need not be valid.

        A layer's operator is the largest of the mean over its tokens; presence, edges and skips are
        there from .5 on. Numbers are those of the tokens, through which they can be derived.

        Args:
            frame: The frame.
            tokens: `[n, tokens, features]`.
            soft: Keep presence, edges, skips and operators as shares, by which outputs can be derived, too.

        Raises:
            ValueError: The tokens are of another shape, or not finite.
        """
        return tokens_to_tensors(cls, frame, tokens, soft=soft)
