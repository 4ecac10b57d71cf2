"""Measures of how well an autoencoder keeps networks, above all what they compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from naivegraph.tokens.network_losses import relative_errors
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.refit_heads import refit
from naivegraph.tokens.repair import repair
from naivegraph.tokens.token_numbers import number_mask
from naivegraph.tokens.vae import NetworkVAE

__all__ = ["Scores", "refitted_error", "scores", "structure_exact"]

_CONSTANT = 1e-3  # of the mean variance of outputs: networks below have no function to keep


@dataclasses.dataclass(frozen=True)
class Scores:
    """Measures of networks as they come out of an autoencoder, from their mean latent vectors.

    Attributes:
        edges: The share of all possible edges that are right.
        structure: The share of networks whose whole structure is right: operators, neurons, edges and skips.
        weights: R^2 of standard weights and biases that the originals have; 0 is what their means would have.
        cosine: The mean cosine of the embeddings of originals and of decoded networks.
        output_error: The squared error of the outputs over their variance, mean over networks; 1 is what a
            constant would have. That is the score to look at: the others can look excellent where the network
            is useless.
        median_error: The median over networks.
        valid: The share of decoded networks that are networks without repair.
        constant: The number of networks left out of the errors, for their outputs hardly vary.
    """

    edges: float
    structure: float
    weights: float
    cosine: float
    output_error: float
    median_error: float
    valid: float
    constant: int = 0

    def row(self) -> dict[str, float]:
        """The scores by name, rounded."""
        return {name: round(value, 3) for name, value in vars(self).items()}


def scores(
    model: NetworkVAE,
    networks: Networks,
    inputs: Tensor,
    meta: Tensor | None = None,
    *,
    told: Tensor | None = None,
    batch: int = 256,
) -> Scores:
    """Encode networks, decode them, and compare.

    Args:
        model: The autoencoder.
        networks: Networks that it has not seen.
        inputs: What both are run on, `[b, inputs, ...]`.
        meta: The meta-features of their data.
        told: Those that the decoder is told, if others.
        batch: Networks at once.

    Raises:
        ValueError: There are no networks.
    """
    if not len(networks):
        raise ValueError("there are no networks to compare")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            parts = [_compared(model, *part, inputs) for part in _parts(networks, meta, told, batch)]
    finally:
        model.train(training)
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    varies = found["variance"] > _CONSTANT * found["variance"].mean()
    errors = found["error"][varies]
    return Scores(
        edges=float(found["edges"].mean()),
        structure=float(found["structure"].mean()),
        weights=float(1 - found["residual"].sum() / found["total"].sum().clamp_min(1e-12)),
        cosine=float(found["cosine"].mean()),
        output_error=float(errors.mean()),
        median_error=float(errors.median()) if len(errors) else float("nan"),
        valid=float(found["valid"].mean()),
        constant=int((~varies).sum()),
    )


def refitted_error(
    model: NetworkVAE, networks: Networks, inputs: Tensor, meta: Tensor | None = None
) -> float:
    """The output error of decoded and repaired networks whose heads are refitted to the originals' outputs.

    Heads are refitted on one half of the inputs, and the error measured on the other; networks whose outputs
    hardly vary are left out, as in `scores`.

    Raises:
        ValueError: There are no networks, or fewer than two inputs.
    """
    half = len(inputs) // 2
    if not len(networks) or not half:
        raise ValueError("there are no networks to compare, or no two inputs")
    with torch.no_grad():
        decoded = model.decode(model.encode(networks, meta).mean, meta)
        expected = networks.run(inputs)
        found = refit(repair(model.frame, decoded.tokens()), inputs[:half], expected[:, :half])
        errors = relative_errors(found.run(inputs[half:]), expected[:, half:], 1e-9)
    variance = expected.var(1, unbiased=False).mean(1)
    return float(errors[variance > _CONSTANT * variance.mean()].mean())


def structure_exact(found: Networks, networks: Networks) -> Tensor:
    """A mask of where the whole structure of each network is that of another, `[n]` bool."""
    same = (found.operator == networks.operator).all(1)
    same &= ((found.presence > 0.5) == (networks.presence > 0.5)).flatten(1).all(1)
    same &= ((found.edges > 0.5) == (networks.edges > 0.5)).flatten(1).all(1)
    if found.skips is not None and networks.skips is not None:
        same &= ((found.skips > 0.5) == (networks.skips > 0.5)).all(1)
    return same


def _parts(
    networks: Networks, meta: Tensor | None, told: Tensor | None, batch: int
) -> Iterator[tuple[Networks, Tensor | None, Tensor | None]]:
    """Networks and meta-features, some at a time."""
    for start in range(0, len(networks), batch):
        rows = slice(start, start + batch)
        known = None if meta is None else meta[rows]
        yield networks[rows], known, known if told is None else told[rows]


def _compared(
    model: NetworkVAE, networks: Networks, meta: Tensor | None, told: Tensor | None, inputs: Tensor
) -> dict[str, Tensor]:
    """Comparisons of some networks, each `[n]`."""
    decoded = model.decode(model.encode(networks, meta).mean, told)
    found, tokens, frame = decoded.networks(), networks.tokens(), model.frame
    edges = frame.features["edges"]
    expected = networks.run(inputs)
    mask = number_mask(frame, tokens)
    target = model.scale.standard(tokens, frame)
    return {
        "edges": (found.tokens()[..., edges] == tokens[..., edges]).float().mean((1, 2)),
        "structure": structure_exact(found, networks).float(),
        "residual": ((decoded.numbers - target).square() * mask).sum((1, 2)),
        "total": target.square().sum((1, 2)),
        "cosine": F.cosine_similarity(model.embed(networks), model.embed(found)),
        "error": relative_errors(found.run(inputs), expected, 1e-9),
        "variance": expected.var(1, unbiased=False).mean(1),
        "valid": found.valid().float(),
    }
