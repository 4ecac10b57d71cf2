"""The layer that changes its own weights: against the equations in numpy, and what it learns."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from naivegraph.weights import SelfReferential

Floats = npt.NDArray[np.float64]


def _f(keys: str, x: Floats) -> Floats:
    """The paper's softmax, or a vector of norm 1."""
    if keys == "unit":
        return np.asarray(x / np.linalg.norm(x))
    powers = np.exp(x - x.max())
    return np.asarray(powers / powers.sum())


def _by_hand(layer: SelfReferential, x: Floats) -> Floats:
    """The outputs for one sequence by the equations, one head after another, all four rates apart."""
    n, m = layer.in_features // layer.heads, layer.out_features // layer.heads
    outputs = np.zeros((len(x), layer.out_features))
    offsets = layer.rates.detach().numpy()
    for head in range(layer.heads):
        w = layer.weight[head].detach().numpy().copy()
        for t, now in enumerate(x):
            out = w @ _f(layer.keys, now[head * n : (head + 1) * n])
            y, k, q, b = out[:m], out[m : m + n], out[m + n : m + 2 * n], out[m + 2 * n :]
            outputs[t, head * m : (head + 1) * m] = y
            if layer.modify:
                k, q = _f(layer.keys, k), _f(layer.keys, q)
                rates = 1 / (1 + np.exp(-(b + offsets)))
                rows = np.concatenate([np.full(c, r) for c, r in zip((m, n, n, 4), rates, strict=True)])
                w = w + np.outer(rows * (w @ q - w @ k), k)
    return outputs


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["unit", "softmax"]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_it_follows_the_equations(
    heads: int, inputs: int, outputs: int, keys: str, modify: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = SelfReferential(heads * inputs, heads * outputs, heads=heads, keys=keys, modify=modify).double()
    nn.init.normal_(layer.rates)
    x = torch.randn(2, 5, heads * inputs, dtype=torch.float64)
    y = layer(x).detach().numpy()
    for each, expected in zip(y, (_by_hand(layer, one) for one in x.numpy()), strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-9, atol=1e-12)


def test_gradients_go_through_all_changes() -> None:
    torch.manual_seed(0)
    layer = SelfReferential(3, 2).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda weight, rates, x: torch.func.functional_call(layer, {"weight": weight, "rates": rates}, x),
        (layer.weight, layer.rates, x),
    )


def test_changes_last_for_a_sequence() -> None:
    torch.manual_seed(0)
    layer, x = SelfReferential(4, 4), torch.randn(2, 6, 4)
    before, first = layer.weight.detach().clone(), layer(x)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.weight, before)
    state = layer.start(2)
    for now in x.unbind(1):
        y, state = layer.step(now, state)
    torch.testing.assert_close(y, first[:, -1])
    assert not torch.allclose(state[0], state[1])


def _episodes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three random vectors, each with another label, then one of them again, without: which label?"""
    made = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, 3, 8, generator=made)
    labels = torch.stack([torch.randperm(3, generator=made) for _ in range(count)])
    asked = torch.randint(3, (count,), generator=made)
    rows = torch.arange(count)
    shown = torch.cat([vectors, F.one_hot(labels, 3).float()], -1)
    query = torch.cat([vectors[rows, asked], torch.zeros(count, 3)], -1)
    return torch.cat([shown, query[:, None]], 1), labels[rows, asked]


@pytest.mark.parametrize(("modify", "low", "high"), [(True, 0.9, 1.0), (False, 0.25, 0.42)])
def test_labels_are_learnt_in_context_by_changes_alone(modify: bool, low: float, high: float) -> None:
    torch.manual_seed(0)
    layer, head = SelfReferential(24, 24, modify=modify), nn.Linear(24, 3)
    net = nn.Sequential(nn.Linear(11, 24), layer, nn.LayerNorm(24), head)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(200):
        x, label = _episodes(64, step)
        loss = F.cross_entropy(net(x)[:, -1], label)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    x, label = _episodes(1000, 10_000)
    with torch.no_grad():
        accuracy = (net(x)[:, -1].argmax(1) == label).float().mean().item()
    assert low <= accuracy <= high


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="2 heads do not divide 3 features of inputs and 4 of outputs"):
        SelfReferential(3, 4, heads=2)
    with pytest.raises(ValueError, match="keys= is one of 'unit', 'softmax', not 'cosine'"):
        SelfReferential(4, 4, keys="cosine")
    with pytest.raises(ValueError, match=r"sequences are \[batch, time, 4\], and these are \[2, 4\]"):
        SelfReferential(4, 4)(torch.zeros(2, 4))
    assert SelfReferential(4, 2)(torch.zeros(3, 0, 4)).shape == (3, 0, 2)
    with pytest.raises(ValueError, match="in_features=0 is to be a whole number of at least 1"):
        SelfReferential(0, 4)
    with pytest.raises(ValueError, match=r"inputs are \[batch, 4\], and these are \[2, 3\]"):
        SelfReferential(4, 4).step(torch.zeros(2, 3), SelfReferential(4, 4).start(2))
