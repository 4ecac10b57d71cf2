"""Zero-cost proxies: against formulas written out for small networks, which they leave as they were."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from naivegraph import search
from naivegraph.errors import StudyError


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_synflow_of_linear_layers_is_a_product_of_absolute_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    one, two = (p.detach().double().abs() for p in model.parameters())
    flow = 2 * float((two @ one).sum())  # each layer counts the whole flow once
    assert search.synflow(torch.zeros(1, 3))(model) == pytest.approx(math.log(flow))


def test_the_gradient_norm_is_that_of_autograd() -> None:
    model, x, y = net(), torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    value = search.gradient_norm(x, y, nn.functional.cross_entropy)(model)
    nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert value == pytest.approx(float(norm), rel=1e-5)


def test_naswot_counts_equal_signs() -> None:
    model, x = net(), torch.randn(6, 3)
    active = (model[0](x) > 0).double()
    kernel = (active[:, None] == active[None]).double().sum(-1)
    expected = torch.linalg.slogdet(kernel + 1e-6 * torch.eye(6, dtype=torch.double)).logabsdet
    assert search.naswot(x)(model) == pytest.approx(float(expected))


def test_the_jacobian_covariance_is_lower_where_inputs_are_treated_alike() -> None:
    x = torch.randn(8, 3)
    linear = nn.Linear(3, 2)  # the same gradient for every input
    assert search.jacobian_covariance(x)(linear) < search.jacobian_covariance(x)(net())


def test_networks_are_left_as_they_were() -> None:
    model, x = net().train(), torch.randn(8, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for proxy in (search.synflow(x), search.naswot(x), search.jacobian_covariance(x)):
        assert math.isfinite(proxy(model))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_examples_that_are_none_and_networks_without_relus_are_told() -> None:
    for made in (search.naswot, search.jacobian_covariance):
        with pytest.raises(StudyError, match="at least 2 examples"):
            made(torch.ones(1, 4))
        with pytest.raises(StudyError, match="not finite"):
            made(torch.full((3, 4), torch.nan))
    with pytest.raises(StudyError, match="naswot counts active ReLUs and their kind"):
        search.naswot(torch.randn(8, 4))(nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
