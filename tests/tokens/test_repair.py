"""Repair of networks that noise has broken, against all structures tried one by one."""

from __future__ import annotations

import itertools
import math
import time

import pytest
import torch
from torch import Tensor

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.repair import repair

FRAMES = [
    Frame("dense", inputs=4, outputs=2, depth=3, width=8),
    Frame("residual", inputs=4, outputs=2, depth=3, width=8),
    Frame("convolutional", inputs=2, outputs=3, depth=2, width=6, kernel=9, norm=True),
    Frame("dense", inputs=9, outputs=7, depth=2, width=5),
]
IDS = ["dense", "residual", "convolutional", "narrow"]


def noisy(networks: Networks, right: float, seed: int) -> Tensor:
    """Tokens as shares of .9 and .1, of which presence, edges and skips are wrong here and there."""
    random = torch.Generator().manual_seed(seed)
    tokens, features = networks.tokens().clone(), networks.frame.features
    for name in ("presence", "edges", "skip"):
        if name in features:
            part = tokens[..., features[name]]
            wrong = torch.rand(part.shape, generator=random) > right
            tokens[..., features[name]] = 0.1 + 0.8 * torch.where(wrong, 1 - part, part)
    operator = tokens[..., features["operator"]]
    tokens[..., features["operator"]] = 0.05 + 0.8 * operator
    return tokens


@pytest.mark.parametrize("frame", FRAMES, ids=IDS)
def test_what_is_valid_stays_as_it_is(frame: Frame) -> None:
    networks = random_structure(frame, 20, seed=1, density=1.0)
    again = repair(frame, networks.tokens())
    for name, tensor in networks.tensors().items():
        if name in ("operator", "presence", "edges", "skips"):
            assert torch.equal(tensor, again.tensors()[name]), name
    assert torch.equal(again.tokens(), networks.tokens())


@pytest.mark.parametrize("frame", FRAMES, ids=IDS)
def test_noise_is_mended(frame: Frame) -> None:
    networks = random_structure(frame, 40, seed=2, density=1.0)
    tokens = noisy(networks, 0.9, seed=3)
    assert Networks.from_tokens(frame, tokens).valid().float().mean() <= 0.1
    start = time.process_time()
    mended = repair(frame, tokens)
    seconds = (time.process_time() - start) / 40
    assert mended.valid().all()
    there = networks.operator[:, :-1] != 0
    widths = [each.presence[:, :-1].sum(-1)[there] for each in (networks, mended)]
    assert (widths[0] == widths[1]).float().mean() >= 0.9
    assert seconds < 0.5


def test_neurons_of_any_places_stay_if_they_may() -> None:
    frame = FRAMES[0]
    networks = random_structure(frame, 10, seed=4)
    order = torch.randperm(frame.width)
    tokens = networks.replaced(
        presence=networks.presence[:, :, order].contiguous(),
        edges=networks.edges[:, :, order][..., order],
    )
    tokens.presence[:, -1], tokens.edges[:, -1] = networks.presence[:, -1], networks.edges[:, -1][..., order]
    tokens.edges[:, 0] = networks.edges[:, 0][:, order]
    first = networks.operator[:, 1] == 0
    assert tokens.valid().all()
    loose = repair(frame, tokens.tokens(), packed=False)
    assert torch.equal(loose.presence, tokens.presence)
    assert torch.equal(loose.edges, tokens.edges)
    front = repair(frame, tokens.tokens()).presence[:, :-1].int()
    assert (front.diff(dim=-1) <= 0).all()
    assert first.any()


def test_nothing_and_everything_are_mended() -> None:
    for frame in FRAMES:
        for share in (0.0, 0.5, 1.0):
            tokens = torch.full((1, len(frame.places), frame.size), share)
            assert repair(frame, tokens).valid().all()


def value(frame: Frame, soft: Networks, presence: Tensor, layers: int, skips: tuple[bool, ...]) -> float:
    """The utility of a structure of a frame with one activation, written out by the definition."""

    def odds(share: Tensor) -> float:
        bounded = min(max(float(share), 1e-4), 1 - 1e-4)
        return math.log(bounded / (1 - bounded))

    total, before = 0.0, torch.ones(frame.inputs, dtype=torch.bool)
    for layer in range(layers):
        none, one = soft.shares()[0, layer, :2].tolist()
        total += math.log(max(one, 1e-4)) - math.log(max(none, 1e-4))
        total += odds(soft.skips[0, layer]) if soft.skips is not None and skips[layer] else 0.0
        for row in presence[layer].nonzero()[:, 0].tolist():
            total += odds(soft.presence[0, layer, row])
            total += sum(
                max(odds(soft.edges[0, layer, row, col]), 0.0) for col in before.nonzero()[:, 0].tolist()
            )
        before = presence[layer]
    for row, col in itertools.product(range(frame.outputs), before.nonzero()[:, 0].tolist()):
        total += max(odds(soft.edges[0, -1, row, col]), 0.0)
    return total


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["dense", "residual"])
def test_no_structure_is_better(kind: str, seed: int) -> None:
    frame = Frame(kind, inputs=2, outputs=1, depth=2, width=3, activations=("tanh",))  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(seed)
    tokens = torch.rand(1, len(frame.places), frame.size, generator=random)
    features = frame.features
    # Few edges, so that a missing one speaks against nothing.
    tokens[..., features["edges"]] *= 0.7
    soft = Networks.from_tokens(frame, tokens, soft=True)
    shares = soft.shares().clone()
    shares = shares / shares.sum(-1, keepdim=True)
    soft = soft.replaced(operator_share=shares)
    best = {True: -math.inf, False: -math.inf}
    rows = [torch.tensor(row) for row in itertools.product([False, True], repeat=3) if any(row)]
    for layers in range(3):
        for chosen in itertools.product(rows, repeat=layers):
            for skips in itertools.product([False, True], repeat=layers if frame.residual else 0):
                given = [torch.tensor([True, True, False]), *chosen]
                if any(s and not torch.equal(given[n], given[n + 1]) for n, s in enumerate(skips)):
                    continue
                presence = torch.stack(chosen) if chosen else torch.zeros(0, 3, dtype=torch.bool)
                worth = value(frame, soft, presence, layers, skips)
                best[False] = max(best[False], worth)
                if (presence.int().diff(dim=-1) <= 0).all():
                    best[True] = max(best[True], worth)
    for packed, most in best.items():
        found = repair(frame, tokens, packed=packed)
        assert found.valid().all()
        layers = int((found.operator[0, :-1] != 0).sum())
        skips = () if found.skips is None else tuple(found.skips[0, :layers].tolist())
        assert value(frame, soft, found.presence[0, :layers, :3], layers, skips) == pytest.approx(most)
