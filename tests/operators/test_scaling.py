"""Facts by which a width grows with the function kept hold for the operators themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from naivegraph.operators.registry import RECORDS
from naivegraph.operators.relation import arguments_of
from naivegraph.operators.scaling import Reduction

ATEN = {packet.__name__: (packet, record) for packet, record in RECORDS.items()}
_X = (torch.arange(24.0, dtype=torch.float64).reshape(2, 3, 4) * 0.37).sin() + 1.5
CALLS: dict[str, list[tuple[Any, ...]]] = {
    "mul": [(_X, _X.flip(0))],
    "div": [(_X, _X.flip(0))],
    "pow": [(_X, 2), (_X, -0.5)],
}
SCALED = ["mul", "div", "pow", "sqrt", "square", "rsqrt", "reciprocal"]


def overload(name: str, args: tuple[Any, ...]) -> Any:
    packet = ATEN[name][0]
    if name == "pow":
        return packet.Tensor_Scalar
    return packet.Tensor if len(args) > 1 else packet.default


@pytest.mark.parametrize("name", SCALED)
def test_degrees(name: str) -> None:
    degrees = ATEN[name][1].degrees
    assert degrees is not None
    for args in CALLS.get(name, [(_X,)]):
        func = overload(name, args)
        named = arguments_of(func, args, {})
        for argument, degree in degrees(named).items():
            scaled = {key: value * 1.7 if key == argument else value for key, value in named.items()}
            names = [each.name for each in func._schema.arguments][: len(args)]
            found = func(*(scaled[each] for each in names))
            assert torch.allclose(found, func(*args) * 1.7**degree, rtol=1e-12)


@pytest.mark.parametrize("name", ["mean", "sum", "var", "std", "linalg_vector_norm"])
def test_reductions_of_more_entries(name: str) -> None:
    reduction = ATEN[name][1].reduction
    assert isinstance(reduction, Reduction)
    options: list[dict[str, Any]] = [{"dim": [-1]}]
    if name in ("var", "std"):
        options = [{"dim": [-1], "correction": c} for c in (0, 1, 2)]
    if name == "linalg_vector_norm":
        options = [{"dim": [-1], "ord": p} for p in (1, 2, 3)]
    run: Any = getattr(torch, name, torch.linalg.vector_norm)
    if name == "linalg_vector_norm":
        run = torch.linalg.vector_norm
    zeros = torch.cat([_X, torch.zeros(2, 3, 5, dtype=torch.float64)], -1)
    means = torch.cat([_X, _X.mean(-1, keepdim=True).expand(2, 3, 5)], -1)
    for option in options:
        before: Tensor = run(_X, **option)
        for more, factor in ((zeros, reduction.of_zeros), (means, reduction.of_means)):
            known = factor(option, 4, 9)
            if known is not None:
                assert torch.allclose(run(more, **option), before * known, rtol=1e-12)
        assert torch.allclose(run(3.0 * _X, **option), before * 3.0**reduction.degree, rtol=1e-12)


ADDITIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "neg": torch.neg,
    "mean": lambda x: x.mean((0, 1)),
    "sum": lambda x: x.sum(0),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.movedim(-1, 1), 2).movedim(1, -1),
    "avg_pool2d": lambda x: F.avg_pool2d(x[..., None].movedim(2, 1), 2, 1, 1).movedim(1, -1),
}


@pytest.mark.parametrize("name", sorted(ADDITIVE))
def test_the_mean_of_neurons_becomes_the_mean_of_theirs(name: str) -> None:
    assert ATEN[name][1].additive
    mean = ADDITIVE[name](_X.mean(-1, keepdim=True).expand_as(_X))
    assert torch.allclose(mean, ADDITIVE[name](_X).mean(-1, keepdim=True).expand_as(mean), rtol=1e-12)


@pytest.mark.parametrize("name", ["relu", "abs", "gelu", "max_pool2d", "amax", "prod", "var"])
def test_curved_operators_do_not_claim_it(name: str) -> None:
    assert not ATEN[name][1].additive
