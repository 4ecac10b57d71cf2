"""One form for all networks that differ by the order, sign or scale of their neurons alone.

The neurons of a layer can be put into any order, those of tanh have their signs turned, and those of ReLU be
scaled, if what takes them follows (Hecht-Nielsen, "On the algebraic structure of feedforward network weight
spaces", 1990). Layers that add what they were given have neurons in common with the layer before, and all of
them follow.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from naivegraph.errors import EditError
from naivegraph.optional_package import optional_package
from naivegraph.tokens.frame import ACTIVATIONS, Frame
from naivegraph.tokens.networks import Networks

__all__ = ["canonical"]


def canonical(networks: Networks, reference: Networks | None = None) -> Networks:
    """Put networks into a form that is the same for all that differ by order, signs and scales alone.

    What they compute stays, but for rounding. Norms take away what all neurons of a layer have in common, and
    so does this form: the mean of their biases, and on vectors the mean of what they have of a neuron that
    leads to all of them. From the first layer on, each neuron whose activation is
    homogeneous (as ReLU is) is scaled so that the numbers of its row have a norm of 1, and each whose
    activation is odd (as tanh is) has a positive sum of them. Then the layer is sorted by the sum of each
    neuron's incoming weights and its bias, the largest first, at the first places; or, with a reference, put
    into the order whose rows are nearest to the reference's.

    Args:
        networks: Valid networks.
        reference: A batch of one network of the same frame; needs scipy.

    Raises:
        EditError: A network is not valid, or the reference is of another frame, or not one network.

    Example:
        >>> from naivegraph.tokens.random_structure import random_structure
        >>> some = random_structure(Frame("dense", 3, 1, depth=2, width=4), 5, seed=0)
        >>> one, x = canonical(some), torch.ones(1, 3)
        >>> torch.allclose(one.run(x), some.run(x), atol=1e-5)
        True
        >>> torch.allclose(canonical(one).tokens(), one.tokens(), atol=1e-5)
        True
    """
    if not networks.valid().all():
        number = int((~networks.valid()).nonzero()[0, 0])
        raise EditError(f"network {number} is none: {'; '.join(networks.faults(number))}")
    if reference is not None and (reference.frame != networks.frame or len(reference) != 1):
        raise EditError("reference= is to be a batch of one network of the same frame")
    form = _Form(networks)
    aim = None if reference is None else _Form(reference)
    scaled, odd = _groups(networks)
    order = torch.arange(networks.frame.width).expand(len(networks), -1)
    factor = torch.ones(order.shape, dtype=networks.weights.dtype)
    for layer in range(networks.frame.depth):
        form.centre(layer)
        own = form.factors(layer, scaled[:, layer], odd[:, layer])
        factor = torch.where(form.follows(layer), factor, own)
        form.multiply(layer, factor)
        found = form.order(layer) if aim is None else form.order_like(layer, aim)
        order = torch.where(form.follows(layer), order, found)
        form.permute(layer, order)
    return networks.replaced(**form.tensors)


def _groups(networks: Networks) -> tuple[Tensor, Tensor]:
    """Masks of layers whose neurons can be scaled, and of those whose signs can be turned, `[n, depth]`.

    It has to hold for all layers that add the same neurons.
    """
    frame = networks.frame
    known = [ACTIVATIONS[name] for name in frame.activations]
    # A place without a layer has nothing that could change.
    table = torch.tensor([[True, True], *[[a.homogeneous, a.odd] for a in known], [False, False]])
    may = table[networks.operator[:, :-1]]
    if networks.skips is not None:
        skips = networks.skips > 0.5
        for layer in range(frame.depth - 2, -1, -1):
            may[:, layer] &= may[:, layer + 1] | ~skips[:, layer + 1, None]
        may[:, 0] &= ~skips[:, 0, None]  # the inputs stay as they are
    return may[..., 0], may[..., 1]


@dataclasses.dataclass
class _Form:
    """Copies of the tensors of networks, in the course of being changed."""

    networks: Networks

    def __post_init__(self) -> None:
        self.frame: Frame = self.networks.frame
        self.tensors = {name: value.clone() for name, value in self.networks.tensors().items()}
        self.tensors["weights"] *= self.networks.edges[..., None]
        for name in ("bias", "scale", "shift"):
            if name in self.tensors:
                self.tensors[name] *= self.networks.presence
        following = self.networks.operator[:, 1:] != 0  # the layer that takes a layer's neurons, or the head
        places = torch.arange(1, self.frame.depth + 1)
        self.takers = torch.where(following, places, self.frame.depth)
        self.rows = torch.arange(len(self.networks))

    def follows(self, layer: int) -> Tensor:
        """A mask `[n, 1]` of the networks where a layer has the neurons of the one before."""
        if self.networks.skips is None:
            return torch.zeros(len(self.networks), 1, dtype=torch.bool)
        return self.networks.skips[:, layer, None] > 0.5

    def centre(self, layer: int) -> None:
        """Take away what the norm of a layer, where there is one, takes away."""
        if not self.frame.norm:
            return
        width, tensors = self.frame.width, self.tensors
        there = self.networks.presence[:, layer, :width].to(tensors["bias"])
        count = there.sum(1).clamp_min(1)
        bias, weights = tensors["bias"][:, layer, :width], tensors["weights"][:, layer, :width]
        bias -= (bias.sum(1) / count)[:, None] * there
        if not self.frame.images:  # at the rim of an image not all of a kernel counts
            missing = there.bool()[..., None] & ~tensors["edges"][:, layer, :width].bool()
            mean = weights.sum(1) / count[:, None, None] * ~missing.any(1)[..., None]
            weights -= mean[:, None] * there[..., None, None]

    def factors(self, layer: int, scaled: Tensor, odd: Tensor) -> Tensor:
        """The numbers by which the neurons of a layer are to be multiplied, `[n, width]`."""
        row = self._numbers(layer)
        norm, total = row.norm(dim=-1), row.sum(-1)
        one = torch.ones_like(norm)
        by_norm = torch.where(scaled[:, None] & (norm > 0), 1 / norm.clamp_min(1e-30), one)
        return by_norm * torch.where(odd[:, None] & (total < 0), -one, one)

    def _numbers(self, layer: int) -> Tensor:
        """The numbers that are proportional to a neuron's value, `[n, width, numbers]`."""
        width, tensors = self.frame.width, self.tensors
        if self.frame.norm:
            return torch.stack([tensors["scale"], tensors["shift"]], -1)[:, layer, :width]
        weights = tensors["weights"][:, layer, :width].flatten(2)
        return torch.cat([weights, tensors["bias"][:, layer, :width, None]], -1)

    def multiply(self, layer: int, factor: Tensor) -> None:
        """Multiply neurons of a layer, and divide the weights by which they are taken."""
        width, tensors = self.frame.width, self.tensors
        if self.frame.norm:
            for name in ("scale", "shift"):
                tensors[name][:, layer, :width] *= factor
        else:
            tensors["bias"][:, layer, :width] *= factor
            tensors["weights"][:, layer, :width] *= factor[..., None, None]
        there = (self.networks.operator[:, layer] != 0)[:, None]
        taker = self.takers[:, layer]
        columns = torch.where(there, 1 / factor, torch.ones_like(factor))
        tensors["weights"][self.rows, taker, :, :width] *= columns[:, None, :, None]

    def order(self, layer: int) -> Tensor:
        """The neurons of a layer by the sum of their incoming weights and bias, `[n, width]`."""
        width = self.frame.width
        key = self.tensors["weights"][:, layer, :width].flatten(2).sum(-1)
        key = key + self.tensors["bias"][:, layer, :width]
        key = key.masked_fill(~self.networks.presence[:, layer, :width].bool(), -torch.inf)
        return key.argsort(dim=1, descending=True, stable=True)

    def order_like(self, layer: int, aim: _Form) -> Tensor:
        """The order in which the rows of a layer are nearest to another network's, `[n, width]`."""
        assign = optional_package("scipy.optimize", "surgery", "canonical(reference=)").linear_sum_assignment
        mine, other = self._compared(layer), aim._compared(layer)
        distances = torch.cdist(other.expand(len(mine), -1, -1).contiguous(), mine).square()
        return torch.stack([torch.from_numpy(assign(each.numpy())[1]) for each in distances.detach()])

    def _compared(self, layer: int) -> Tensor:
        """Numbers by which neurons are told apart, `[n, width, numbers]`."""
        width, tensors = self.frame.width, self.tensors
        weights = tensors["weights"][:, layer, :width].flatten(2)
        there = tensors["presence"][:, layer, :width, None].to(weights)
        return torch.cat([weights, tensors["bias"][:, layer, :width, None], self._numbers(layer), there], -1)

    def permute(self, layer: int, order: Tensor) -> None:
        """Put the neurons of a layer into another order, wherever they are."""
        width, rows = self.frame.width, self.rows[:, None]
        there = (self.networks.operator[:, layer] != 0)[:, None]
        order = torch.where(there, order, torch.arange(width))
        for name in ("presence", "bias", "scale", "shift", "weights", "edges"):
            if name in self.tensors:
                self.tensors[name][:, layer, :width] = self.tensors[name][:, layer, :width][rows, order]
        taker = self.takers[:, layer]
        for name in ("weights", "edges"):
            taken = self.tensors[name][self.rows, taker, :, :width].transpose(1, 2)[rows, order]
            self.tensors[name][self.rows, taker, :, :width] = taken.transpose(1, 2)
