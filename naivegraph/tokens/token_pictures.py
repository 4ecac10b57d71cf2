"""Pictures of networks and of the space of their latent vectors, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from naivegraph.errors import EditError
from naivegraph.svg import BLUE, GREY, INK, RED, Axis2D, Drawing, short
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.validity import given_to

__all__ = ["draw_latent_space", "draw_networks"]

_WIDTH, _HEIGHT = 420.0, 340.0
_LOW, _MIDDLE, _HIGH = (37, 99, 168), (214, 205, 180), (194, 65, 12)


def draw_networks(networks: Sequence[Networks], names: Sequence[str]) -> Drawing:
    """Draw networks beside each other, such as an original and what was decoded of it.

    A column for each layer, a dot for each neuron, and a line for each edge, the wider the larger its weight;
    blue lines are positive, red ones negative. Of kernels the weight that is largest counts.

    Args:
        networks: Batches of one network each.
        names: The words above each.

    Raises:
        EditError: One of them is no network.
        ValueError: There are not as many names, or a batch holds more than one.
    """
    if not networks or len(names) != len(networks) or any(len(each) != 1 for each in networks):
        raise ValueError("give batches of one network each, such as networks[3], and a name for each")
    drawing = Drawing(_WIDTH * len(networks), _HEIGHT)
    for number, (one, name) in enumerate(zip(networks, names, strict=True)):
        wrong = one.faults(0)
        if wrong:
            raise EditError(f"{name!r} is no network: {'; '.join(wrong)}")
        _draw(drawing, one, name, number * _WIDTH)
    return drawing


def draw_latent_space(
    latent: Tensor, values: Tensor, name: str, *, tips: Sequence[str] | None = None
) -> Drawing:
    """Draw latent vectors along their first two principal components, coloured by a number of each.

    Args:
        latent: `[n, latent]`, two vectors at least.
        values: The numbers, `[n]`, such as a meta-feature of the data; those that are not finite are grey.
        name: What they are.
        tips: Words for who points at a dot.

    Raises:
        ValueError: The shapes do not fit.
    """
    if latent.dim() != 2 or len(latent) < 2 or values.shape != latent.shape[:1]:
        raise ValueError(
            f"latent is {tuple(latent.shape)} and values {tuple(values.shape)}; they are to be [n, latent] "
            "and [n], with n at least 2"
        )
    flat = _flattened(latent.detach().double())
    xs, ys = flat[:, 0].tolist(), flat[:, 1].tolist()
    drawing = Drawing(_WIDTH + 140, _HEIGHT + 60)
    axis = Axis2D(75, 45, _WIDTH, _HEIGHT, xs, ys)
    axis.draw(drawing, f"latent vectors by {name}", "first component", "second component")
    known = values[values.isfinite()].double()
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    for number, (x, y, value) in enumerate(zip(xs, ys, values.tolist(), strict=True)):
        colour = _colour((value - low) / (high - low or 1.0)) if math.isfinite(value) else GREY
        drawing.dot(*axis.place(x, y), colour, 3.0, tips[number] if tips else f"{name} {short(value)}")
    for step in range(21):
        drawing.bar(_WIDTH + 40, _HEIGHT - 12 * step - 12, 16, 12, _colour(step / 20))
    drawing.text(_WIDTH + 62, _HEIGHT, short(low), size=11)
    drawing.text(_WIDTH + 62, _HEIGHT - 242, short(high), size=11)
    return drawing


def _draw(drawing: Drawing, one: Networks, name: str, left: float) -> None:
    """Draw a network, from a place on."""
    frame = one.frame
    layers = [layer for layer in range(frame.depth + 1) if int(one.operator[0, layer]) != 0]
    given, columns = given_to(one)[0], len(layers) + 1
    drawing.text(left + 20, 24, name, size=14)
    before = _column(left, 0, columns, given[layers[0]])
    for dot in before.values():
        drawing.dot(*dot, GREY, 5.0)
    drawing.text(left + 45, _HEIGHT - 14, "input", "middle", 11, GREY)
    for number, layer in enumerate(layers, start=1):
        here = _column(left, number, columns, one.presence[0, layer] > 0.5)
        weights = one.weights[0, layer] * (one.edges[0, layer] > 0.5)[..., None]
        sizes = weights.gather(-1, weights.abs().argmax(-1, keepdim=True))[..., 0].detach()
        most = float(sizes.abs().max()) or 1.0
        for neuron, end in here.items():
            for source, start in before.items():
                weight = float(sizes[neuron, source])
                if weight:
                    width = 0.3 + 3.0 * abs(weight) / most
                    drawing.line([start, end], BLUE if weight > 0 else RED, width)
        for dot in [*before.values(), *here.values()]:
            drawing.dot(*dot, INK, 5.0)
        words = frame.operators[int(one.operator[0, layer])]
        if one.skips is not None and one.skips[0, layer] > 0.5:
            words += " + input"
        x = next(iter(here.values()))[0]
        drawing.text(x, _HEIGHT - 14, words, "middle", 11, GREY)
        before = here


def _column(left: float, number: int, columns: int, there: Tensor) -> dict[int, tuple[float, float]]:
    """Places of the neurons of a layer are, by their number."""
    found = [int(index) for index in there.nonzero()[:, 0]]
    x = left + 45 + number * (_WIDTH - 90) / max(columns - 1, 1)
    gap = (_HEIGHT - 90) / max(len(found), 1)
    return {index: (x, 45 + gap * (place + 0.5)) for place, index in enumerate(found)}


def _flattened(latent: Tensor) -> Tensor:
    """The first two principal components, `[n, 2]`."""
    centred = latent - latent.mean(0)
    _, _, rows = torch.linalg.svd(centred, full_matrices=False)
    found = centred @ rows[:2].mT
    return torch.nn.functional.pad(found, (0, 2 - found.shape[1]))


def _colour(share: float) -> str:
    """A colour between blue and red."""
    ends = (_LOW, _MIDDLE) if share < 0.5 else (_MIDDLE, _HIGH)
    within = 2 * share if share < 0.5 else 2 * share - 1
    mixed = [round(a + (b - a) * min(1.0, max(0.0, within))) for a, b in zip(*ends, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)
