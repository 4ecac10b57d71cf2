"""Networks that read and change their own parameters by address, while they read a sequence.

Schmidhuber, "An introspective network that can learn to run its own weight change algorithm", 1993. Addresses
are met softly, so that all of it can be trained by gradients.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from naivegraph.edits.request.target import check_model
from naivegraph.edits.request.validate import above_zero, whole
from naivegraph.errors import EditError
from naivegraph.graph.export.history import history_of
from naivegraph.weights.addresses import Addresses
from naivegraph.weights.batched_operators import batched_operators
from naivegraph.weights.weight_vector import WeightVector

__all__ = ["FastWeights", "Introspective"]


@dataclasses.dataclass(frozen=True)
class FastWeights:
    """The weights of each sequence of a batch at some time.

    Attributes:
        weights: All weights, `[batch, weights]`, in the order of the body's parameters.
        value: The value that was read last, `[batch, 1]`.
    """

    weights: Tensor
    value: Tensor


class Introspective(nn.Module):
    """A network that reads and changes its own parameters at each time step of a sequence.

    Beside an input it takes the value that it read from its parameters in the step before, and an evaluation
    of what it did, such as a reward. Beside an output it gives an address to read, an address to change, and
    a change. A weight meets an address by the softmax of `sharpness` times the cosine of the address and the
    weight's code: the value read is the mean of the weights by it, and each weight changes by its part of the
    change. Changes last for a sequence, and gradients go through them; parameters stay as they are, until
    `store` is called.

    Args:
        body: The network: from `[batch, inputs + 2]` to `[batch, outputs + 2 address + 1]`. It runs in its
            mode, with other weights for each sequence.
        address: The numbers of an address.
        sharpness: How sharply addresses are met.
        modify: Change the weights; if not, they are the same at each step, the control.
        seed: The seed of the codes of the weights, which follow edits of the body.

    Raises:
        EditError: The body has no parameters, or some that are no numbers; an argument is none of its kind.

    Example:
        >>> net = Introspective(nn.Sequential(nn.Linear(3 + 2, 8), nn.Tanh(), nn.Linear(8, 4 + 2 * 6 + 1)), 6)
        >>> net(torch.randn(2, 5, 3)).shape
        torch.Size([2, 5, 4])
    """

    codes: Tensor

    def __init__(
        self,
        body: nn.Module,
        address: int = 8,
        *,
        sharpness: float = 10.0,
        modify: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        whole(address, "address", 1)
        above_zero(sharpness, "sharpness")
        check_model("weights.Introspective", body)
        if next(body.parameters(), None) is None:
            raise EditError("the body has no parameters that it could read or change")
        WeightVector(body).check_finite()
        self.body, self.address, self.sharpness, self.modify = body, address, sharpness, modify
        self._addresses, self._edits = Addresses(body, address, seed), list(history_of(body))
        self.register_buffer("codes", self._directions(), persistent=False)

    def start(self, batch: int) -> FastWeights:
        """The weights at the start of sequences."""
        edits = list(history_of(self.body))
        if edits != self._edits:
            self._addresses.follow()
            self.codes, self._edits = self._directions(), edits
        weights = torch.cat([each.reshape(-1) for each in self.body.parameters()])
        return FastWeights(weights.expand(batch, -1), weights.new_zeros(batch, 1))

    def step(
        self, x: Tensor, state: FastWeights, evaluation: Tensor | None = None
    ) -> tuple[Tensor, FastWeights]:
        """Read one time step.

        Args:
            x: The inputs, `[batch, inputs]`.
            state: The weights, as `start` and the step before give them.
            evaluation: The evaluations, `[batch]`; zeros if None.

        Returns:
            The outputs, `[batch, outputs]`, and the weights from then on.

        Raises:
            EditError: The body does not take the inputs, or gives too few outputs.
        """
        told = x.new_zeros(len(x)) if evaluation is None else evaluation
        out = self._run(state.weights, torch.cat([x, state.value, told[:, None]], 1))
        outputs = out.shape[-1] - 2 * self.address - 1
        y, read, change, amount = torch.split(out, [outputs, self.address, self.address, 1], dim=1)
        value = (self._met(read) * state.weights).sum(1, keepdim=True)
        weights = state.weights
        if self.modify:
            weights = weights + amount * self._met(change)
        return y, FastWeights(weights, value)

    def forward(self, x: Tensor, evaluations: Tensor | None = None) -> Tensor:
        """Read whole sequences.

        Args:
            x: The inputs, `[batch, time, inputs]`.
            evaluations: The evaluations, `[batch, time]`.

        Returns:
            The outputs, `[batch, time, outputs]`.
        """
        if x.dim() != 3 or not x.shape[1]:
            raise ValueError(f"sequences are [batch, time, inputs], and these are {list(x.shape)}")
        if evaluations is not None and evaluations.shape != x.shape[:2]:
            raise ValueError(
                f"evaluations are [batch, time], {list(x.shape[:2])} here, and these are "
                f"{list(evaluations.shape)}"
            )
        state, found = self.start(len(x)), []
        for time, now in enumerate(x.unbind(1)):
            y, state = self.step(now, state, None if evaluations is None else evaluations[:, time])
            found.append(y)
        return torch.stack(found, 1)

    def store(self, state: FastWeights, sequence: int = 0) -> None:
        """Write the weights of one sequence into the parameters.

        Raises:
            EditError: There is no sequence of that number.
        """
        if not -len(state.weights) <= sequence < len(state.weights):
            raise EditError(f"there is no sequence {sequence} among {len(state.weights)}")
        WeightVector(self.body).write(state.weights[sequence].detach())

    def extra_repr(self) -> str:
        """The options."""
        return f"address={self.address}, sharpness={self.sharpness:g}, modify={self.modify}"

    def _run(self, weights: Tensor, given: Tensor) -> Tensor:
        """Run the body for each sequence with weights of its own."""
        vector = WeightVector(self.body)

        def one(own: Tensor, row: Tensor) -> Tensor:
            """Run it for one."""
            out: Tensor = functional_call(self.body, dict(vector.split(own)), (row[None],))
            return out[0]

        try:
            with batched_operators():
                out: Tensor = vmap(one, randomness="different")(weights, given)
        except (RuntimeError, ValueError) as error:
            raise EditError(
                f"the body does not take {given.shape[1]} numbers (inputs, value read, evaluation) "
                f"with weights for each sequence: {error}"
            ) from error
        least = 2 * self.address + 2
        if out.dim() != 2 or out.shape[1] < least:
            raise EditError(
                f"the body gives {tuple(out.shape[1:])} for each input, and is to give {least} or more: "
                f"outputs, two addresses of {self.address} and a change"
            )
        return out

    def _met(self, address: Tensor) -> Tensor:
        """The share that each weight has in an address, `[batch, weights]`."""
        return torch.softmax(self.sharpness * F.normalize(address, dim=1) @ self.codes.T, dim=1)

    def _directions(self) -> Tensor:
        """The codes of the weights, `[weights, address]`, of norm 1."""
        return F.normalize(self._addresses.codes(), dim=1).to(next(self.body.parameters()))
