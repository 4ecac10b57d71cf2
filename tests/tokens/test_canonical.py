"""Canonical order: the same function, one form for all orders, signs and scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naivegraph.errors import EditError
from naivegraph.tokens import Frame, Networks, canonical
from naivegraph.tokens.frame import ACTIVATIONS
from tests.tokens.random_networks import FRAMES, inputs_of, name_of, random_networks


@settings(max_examples=60, deadline=None)
@given(frame=st.sampled_from(FRAMES), seed=st.integers(0, 2**31))
def test_the_function_stays(frame: Frame, seed: int) -> None:
    networks = random_networks(frame, 4, seed)
    x = inputs_of(frame, 5, seed)
    found = canonical(networks)
    assert found.valid().all()
    torch.testing.assert_close(found.run(x), networks.run(x), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(canonical(found).tokens(), found.tokens(), atol=1e-9, rtol=1e-9)


def _disguised(networks: Networks, seed: int) -> Networks:
    """A network in another order, with other signs and scales; layers do not add anything."""
    rng = np.random.default_rng(seed)
    tensors = {name: value.clone() for name, value in networks.tensors().items()}
    frame = networks.frame
    for layer in range(frame.depth):
        number = int(networks.operator[0, layer])
        if number == 0:
            continue
        taker = layer + 1 if layer + 1 < frame.depth and networks.operator[0, layer + 1] else frame.depth
        kind = ACTIVATIONS[frame.operators[number]]
        factor = torch.ones(frame.width, dtype=torch.float64)
        if frame.norm:  # which takes the mean away
            there = tensors["presence"][0, layer, : frame.width].double()
            tensors["bias"][0, layer, : frame.width] += rng.normal() * there
            edges = tensors["edges"][0, layer, : frame.width].bool()
            common = torch.from_numpy(rng.normal(size=edges.shape[1])) * (edges | ~there.bool()[:, None]).all(
                0
            )
            if not frame.images:
                tensors["weights"][0, layer, : frame.width, :, 0] += there[:, None] * common
        if kind.homogeneous:
            factor *= torch.from_numpy(rng.uniform(0.5, 2, frame.width))
        if kind.odd:
            factor *= torch.from_numpy(rng.choice([-1.0, 1.0], frame.width))
        for name in ("scale", "shift") if frame.norm else ("bias",):
            tensors[name][0, layer, : frame.width] *= factor
        if not frame.norm:
            tensors["weights"][0, layer, : frame.width] *= factor[:, None, None]
        tensors["weights"][0, taker, :, : frame.width] /= factor[:, None]
        order = torch.from_numpy(rng.permutation(frame.width))
        for name in ("presence", "bias", "scale", "shift", "weights", "edges"):
            if name in tensors:
                tensors[name][0, layer, : frame.width] = tensors[name][0, layer, order]
        for name in ("weights", "edges"):
            tensors[name][0, taker, :, : frame.width] = tensors[name][0, taker][:, order]
    return networks.replaced(**tensors)


@pytest.mark.parametrize("frame", FRAMES[:4], ids=name_of)
def test_disguised_networks_become_one(frame: Frame) -> None:
    x = inputs_of(frame, 3, seed=0)
    for seed in range(8):
        network = random_networks(frame, 1, seed)
        other = _disguised(network, seed)
        torch.testing.assert_close(other.run(x), network.run(x))
        torch.testing.assert_close(
            canonical(other).tokens(), canonical(network).tokens(), atol=1e-9, rtol=1e-9
        )


def test_neurons_that_are_added_follow_each_other() -> None:
    frame = FRAMES[4]
    networks = random_networks(frame, 60, seed=3)
    assert networks.skips is not None
    assert networks.skips.any()
    found = canonical(networks)
    assert not torch.equal(found.presence, networks.presence)
    x = inputs_of(frame, 3, seed=1)
    torch.testing.assert_close(found.run(x), networks.run(x), atol=1e-9, rtol=1e-9)


def test_a_network_is_put_into_the_order_of_a_reference() -> None:
    for frame in FRAMES[:2]:
        reference = canonical(random_networks(frame, 1, seed=7))
        found = canonical(_disguised(reference, seed=2), reference)
        torch.testing.assert_close(found.tokens(), reference.tokens(), atol=1e-9, rtol=1e-9)


def test_what_is_no_network_is_told() -> None:
    networks = random_networks(FRAMES[0], 2, seed=0)
    networks.presence[1, -1, 0] = False
    with pytest.raises(EditError, match="network 1 is none: an output is missing"):
        canonical(networks)
    with pytest.raises(EditError, match="one network of the same frame"):
        canonical(networks[:1], networks)
