"""Networks of a frame: runs against plain modules, tokens and back, what is no network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naivegraph.errors import EditError
from naivegraph.tokens import Frame, Networks
from tests.tokens.random_networks import FRAMES, inputs_of, name_of, random_networks


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_a_run_gives_what_the_plain_modules_give(frame: Frame) -> None:
    networks = random_networks(frame, 24, seed=0)
    assert networks.valid().all()
    assert len({int((each != 0).sum()) for each in networks.operator}) == frame.depth + 1
    x = inputs_of(frame, 7, seed=1)
    out = networks.run(x)
    for i in range(len(networks)):
        torch.testing.assert_close(out[i], networks.module(i)(x), atol=1e-10, rtol=0)


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_each_network_may_have_inputs_of_its_own(frame: Frame) -> None:
    networks = random_networks(frame, 3, seed=2)
    x = torch.stack([inputs_of(frame, 4, seed=seed) for seed in range(3)])
    out = networks.run(x)
    for i in range(3):
        torch.testing.assert_close(out[i], networks[i].run(x[i])[0])


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_shares_that_are_sure_run_as_the_network_does(frame: Frame) -> None:
    networks = random_networks(frame, 5, seed=3)
    tokens = networks.tokens().requires_grad_()
    soft = Networks.from_tokens(frame, tokens, soft=True)
    x = inputs_of(frame, 4, seed=4)
    torch.testing.assert_close(soft.run(x), networks.run(x))
    soft.run(x).square().sum().backward()  # type: ignore[no-untyped-call]
    assert tokens.grad is not None
    for name in ("operator", "presence", "edges", "weights", "bias"):
        assert tokens.grad[..., frame.features[name]].abs().sum() > 0


@settings(max_examples=60, deadline=None)
@given(frame=st.sampled_from(FRAMES), seed=st.integers(0, 2**31), count=st.integers(0, 3))
def test_tokens_are_the_network_again(frame: Frame, seed: int, count: int) -> None:
    networks = random_networks(frame, count, seed, dtype=torch.float32)
    tokens = networks.tokens()
    assert tokens.shape == (count, len(frame.places), frame.size)
    again = Networks.from_tokens(frame, tokens)
    assert torch.equal(again.tokens(), tokens)
    for name in ("operator", "presence", "edges", "skips"):
        found, value = getattr(again, name), getattr(networks, name)
        assert (found is None and value is None) or torch.equal(found, value)
    x = inputs_of(frame, 3, seed)
    assert torch.equal(again.run(x), networks.run(x))
    assert again.valid().all()


def test_weights_are_derived_as_in_plain_modules() -> None:
    frame = FRAMES[0]
    networks = random_networks(frame, 3, seed=5, density=1.0)
    weights = networks.weights.clone().requires_grad_()
    x = inputs_of(frame, 6, seed=6)
    networks.replaced(weights=weights).run(x).square().sum().backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None
    for i in range(3):
        module = networks.module(i)
        module(x).square().sum().backward()
        layer = module.get_submodule("head")
        assert isinstance(layer, torch.nn.Linear)
        head = layer.weight.grad
        assert head is not None
        given = weights.grad[i, -1, : frame.outputs, :, 0]
        torch.testing.assert_close(given[given != 0], head[head != 0])


def _broken(what: str) -> Networks:
    networks = random_networks(Frame("residual", 3, 2, depth=3, width=4), 1, seed=0)
    networks = Networks.empty(networks.frame, 1)
    if networks.skips is None:
        raise TypeError("residual networks have skips")
    networks.operator[0, :2] = 1
    networks.presence[0, :2, :3] = True
    if what == "an output":
        networks.presence[0, -1, 0] = False
    elif what == "after a place":
        networks.operator[0, 0] = 0
    elif what == "without a layer has":
        networks.operator[0, 1] = 0
    elif what == "has no neurons":
        networks.presence[0, 1] = False
    elif what == "no neuron at an end":
        networks.edges[0, 1, 0, 3] = True
    elif what == "adds":
        networks.skips[0, 1] = True
        networks.presence[0, 1, 2] = False
    elif what == "head has":
        networks.operator[0, -1] = 1
    elif what == "beyond":
        networks.presence[0, -1, 3] = True
    return networks


@pytest.mark.parametrize(
    "what",
    [
        "an output",
        "after a place",
        "without a layer has",
        "has no neurons",
        "no neuron at an end",
        "adds",
        "head has",
        "beyond",
    ],
)
def test_what_is_no_network_is_told(what: str) -> None:
    networks = _broken(what)
    assert _broken("").valid().all()
    assert not networks.valid().any()
    assert what in "; ".join(networks.faults(0))
    with pytest.raises(EditError, match=f"{what}.*ng.tokens.repair"):
        networks.module(0)


def test_bad_arguments_are_told() -> None:
    frame = FRAMES[0]
    networks = random_networks(frame, 2, seed=0)
    with pytest.raises(ValueError, match=r"inputs are \(4, 2\), and are to be \[b, 3\]"):
        networks.run(torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"tokens are \(2, 3\), and are to be \[n, 17, 17\]"):
        Networks.from_tokens(frame, torch.ones(2, 3))
    tokens = networks.tokens()
    tokens[1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="network 1 hold numbers that are not finite"):
        Networks.from_tokens(frame, tokens)
    with pytest.raises(ValueError, match="bias is"):
        networks.replaced(bias=networks.bias[:, :1])
    with pytest.raises(ValueError, match="skips is nothing that the frame has"):
        networks.replaced(skips=networks.bias)
    with pytest.raises(ValueError, match="operator has 9, and there are 5"):
        networks.replaced(operator=torch.full_like(networks.operator, 9))
    with pytest.raises(IndexError, match="no network 2 among 2"):
        networks[2]
    wrongs: list[dict[str, Any]] = [
        {"kind": "recurrent"},
        {"depth": 0},
        {"activations": ("relu", "step")},
        {"kernel": 4},
        {"kernel": 9},
        {"kind": "convolutional"},
    ]
    right: dict[str, Any] = {"kind": "dense", "inputs": 1, "outputs": 1, "depth": 1, "width": 1}
    for wrong in wrongs:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Frame(**(right | wrong))
