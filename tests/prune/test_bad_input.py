"""What cannot be done is refused with the reason and the way out, and nothing has changed then."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from tests.networks.between import Body
from tests.networks.plain import by_name
from tests.oracle import snapshot, unchanged


def refused(
    error: type[ng.NaivegraphError],
    message: str,
    *,
    model: nn.Module | None = None,
    inputs: Any = None,
    **asked: Any,
) -> None:
    """`ng.prune` gives this error, and the network, its flags and the random numbers are as they were."""
    built, example = by_name("Residual").make()
    model = built if model is None else model
    model.train()
    before, seed = snapshot(model), torch.get_rng_state()
    with pytest.raises(error, match=message):
        ng.prune(model, example if inputs is None else inputs, **asked)
    assert unchanged(model, before)
    assert torch.equal(torch.get_rng_state(), seed)
    assert all(module.training for module in model.modules())


def test_no_budget() -> None:
    refused(ng.EditError, "say how much to keep: macs=0.5, params=0.5, latency=0.5 or ratio=0.5")


@pytest.mark.parametrize("name", ["macs", "params"])
@pytest.mark.parametrize(
    "budget",
    [
        0,
        0.0,
        -1,
        -0.5,
        1.5,
        2e4 + 0.5,
        True,
        False,
        math.nan,
        math.inf,
        "0.5",
        [0.5],
        np.float32("nan"),
        1 + 0j,
    ],
)
def test_senseless_budgets(name: str, budget: Any) -> None:
    refused(
        ng.EditError,
        f"{name}=.* is no budget: give a fraction above 0 and at most 1.0, or a whole",
        **{name: budget},
    )


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01, True, math.nan, "half"])
def test_senseless_ratios(ratio: Any) -> None:
    refused(ng.EditError, "ratio must be a fraction above 0 and at most 1, not", ratio=ratio)


def test_a_ratio_and_a_budget() -> None:
    refused(
        ng.EditError, "ratio= sets every size by itself and cannot be met together with", ratio=0.5, macs=0.5
    )


@pytest.mark.parametrize("round_to", [0, -8, 1.5, True])
def test_senseless_rounding(round_to: Any) -> None:
    refused(ng.EditError, "round_to must be a whole number from 1 up, not", macs=0.5, round_to=round_to)


def test_an_impossible_budget_says_what_is_possible() -> None:
    refused(
        ng.InfeasibleError,
        r"at least [\d,]+ macs remain \(\d+\.\d+% of [\d,]+\); raise the budget",
        macs=1e-6,
    )
    refused(
        ng.InfeasibleError,
        r"at least [\d,]+ macs remain.* and at least [\d,]+ params remain",
        macs=1,
        params=1,
    )


def test_of_several_budgets_the_impossible_one_is_named() -> None:
    refused(
        ng.InfeasibleError,
        r"removed, at least [\d,]+ params remain .*; raise the budget .* \(the budget of macs could be met\)",
        macs=0.5,
        params=1,
    )


def test_everything_kept_and_a_budget() -> None:
    refused(ng.InfeasibleError, r"at least [\d,]+ macs remain \(100.00%", macs=0.5, keep="*")


def test_no_example() -> None:
    refused(
        ng.CaptureError,
        r"forward\(x.*\).* missing a required argument: 'x'.* It got no input at all; give an example",
        inputs=(),
        macs=0.5,
    )


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        (torch.randn(2, 4, 8, 8), r"It got float32\[2, 4, 8, 8\]"),
        (torch.randn(8), r"It got float32\[8\]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), r"It got int64\[2, 3, 8, 8\]"),
        ("image.png", "str"),
    ],
)
def test_an_example_that_does_not_fit(inputs: Any, got: str) -> None:
    refused(ng.CaptureError, got, inputs=inputs, macs=0.5)


def test_no_network() -> None:
    with pytest.raises(
        ng.NaivegraphError, match=r"takes a graph, .*, or a network and its example, .*, not a function"
    ):
        ng.prune(lambda x: x, torch.ones(1), macs=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (
            "steam.0",
            "keep names 'steam.0', and no module of the network has that path; did you mean 'stem.0'",
        ),
        (["first", "zzzzzz"], "keep names 'zzzzzz', and no module of the network has that path$"),
        ("layer*", r"keep names 'layer\*', and no module"),
        (nn.Linear(2, 2), "keep holds a Linear which is no part of the network"),
        ([3], "keep takes module paths, glob patterns and modules, not int"),
    ],
)
def test_unknown_names_in_keep(keep: Any, message: str) -> None:
    refused(ng.EditError, message, macs=0.5, keep=keep)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    model, inputs = by_name("Residual").make()
    with torch.no_grad():
        model.get_submodule("second").weight[3, 2, 1, 1] = value  # type: ignore[operator]
    refused(
        ng.EditError, "second.weight holds values that are not finite", model=model, inputs=inputs, macs=0.5
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update({"stem.0": np.full(12, math.nan)}), "the utility of stem.0 is not finite"),
        (lambda v: v.update({"stem.0": np.ones(11)}), r"stem.0 has shape \(11,\), not \(12,\)"),
        (lambda v: v.update({"stem.0": {}}), "utility of stem.0 cannot be a dict: give a list, an array"),
        (
            lambda v: v.update(sten=np.ones(3)),
            "'sten', which is no width of .*did you mean 'stem.0'",
        ),
    ],
)
def test_senseless_utilities(change: Any, message: str) -> None:
    def utility(widths: Any) -> dict[str, Any]:
        values = {width.name: np.ones(width.size) for width in widths.widths}
        change(values)
        return values

    refused(ng.EditError, message, macs=0.5, utility=ng.OfWidths(utility))


def test_unknown_utility() -> None:
    refused(
        ng.EditError,
        "there is no utility 'l3' among l2, l1, .*; did you mean 'l2' or 'l1'",
        macs=0.5,
        utility="l3",
    )
    model, inputs = by_name("mlp").make()
    refused(
        ng.EditError,
        "needs batch norms with a scale",
        model=model,
        inputs=inputs,
        macs=0.5,
        utility="bn_scale",
    )


def test_taylor_without_a_usable_loss() -> None:
    refused(
        ng.EditError, "needs loss=, which takes the network and returns its loss", macs=0.5, utility="taylor"
    )
    _, inputs = by_name("Residual").make()
    refused(
        ng.EditError, "loss= must return one number as a tensor",
        macs=0.5, utility="taylor", loss=lambda net: net(*inputs),
    )  # fmt: skip


def test_a_utility_function_that_raises() -> None:
    model, inputs = by_name("Residual").make()
    before = snapshot(model)
    with pytest.raises(ZeroDivisionError):
        ng.prune(model, inputs, macs=0.5, utility=lambda vertex: 1 / 0)
    assert unchanged(model, before)


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(6, 6), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        raise OSError("the disk is full")


def test_a_forward_that_raises() -> None:
    refused(
        ng.CaptureError, "Failing does not run on the example input.*OSError: the disk is full",
        model=Failing(), inputs=torch.ones(2, 6), macs=0.5,
    )  # fmt: skip


def test_a_literal_size_is_kept_and_named_with_its_line() -> None:
    model = Body(lambda x: x.view(-1, 12)).eval()
    inputs = torch.randn(3, 6)
    edit = ng.prune(model, inputs, params=0.8)
    assert model.first.out_features == 12
    assert model.second.out_features < 9
    line = test_a_literal_size_is_kept_and_named_with_its_line.__code__.co_firstlineno + 1
    assert any("written as 12 at" in note and f"test_bad_input.py:{line}" in note for note in edit.notes)
    assert "written as 12" in str(edit).replace("\n", " ")


TOO_FEW = frozenset(range(12))


class Sized(nn.Module):
    """Refuses another size in a way that no recording can see."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if x.shape[-1] in TOO_FEW:
            raise RuntimeError("twelve or nothing")
        return self.second(F.relu(x))  # type: ignore[no-any-return]


def test_a_forward_that_does_not_run_afterwards_is_undone() -> None:
    refused(
        ng.EditError, "own forward does not run .*twelve or nothing.*; nothing was changed",
        model=Sized(), inputs=torch.ones(2, 6), macs=0.5,
    )  # fmt: skip


class Growing(Sized):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = self.second(x)
        return torch.cat([y, y], -1) if x.shape[-1] in TOO_FEW else y


def test_a_forward_that_gives_another_shape_afterwards_is_undone() -> None:
    refused(
        ng.EditError,
        r"output has shape \(2, 8\), not \(2, 4\)",
        model=Growing(),
        inputs=torch.ones(2, 6),
        macs=0.5,
    )


def test_networks_in_which_nothing_may_change() -> None:
    inputs = torch.ones(2, 6)
    refused(ng.InfeasibleError, "at least 28 params remain", model=nn.Linear(6, 4), inputs=inputs, params=0.5)
    assert not ng.prune(nn.ReLU(), inputs, ratio=0.5)
    assert not ng.prune(nn.Linear(6, 4), inputs, ratio=0.5)


def test_the_meta_device() -> None:
    model, inputs = by_name("Residual").make()
    model, inputs = model.to("meta"), tuple(x.to("meta") for x in inputs)
    with pytest.raises(ng.EditError, match=r"stem.0.weight is on the meta device.*load the weights first"):
        ng.prune(model, inputs, macs=0.5)
    assert model.get_submodule("first.0").weight.shape == (10, 12, 3, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_another_device() -> None:
    model, inputs = by_name("Residual").make()
    model, inputs = model.cuda(), tuple(x.cuda() for x in inputs)
    before = snapshot(model)
    edit = ng.prune(model, inputs, macs=0.5)
    assert model(*inputs).is_cuda
    edit.undo()
    assert unchanged(model, before)


def test_inputs_on_another_device() -> None:
    _, inputs = by_name("Residual").make()
    refused(
        ng.CaptureError, "does not run on the example", inputs=tuple(x.to("meta") for x in inputs), macs=0.5
    )
