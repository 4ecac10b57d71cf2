"""Criteria that hold pass their contract, and every test of it catches one that is wrong in its way."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.extend import (
    BoundLoss,
    Criterion,
    CriterionContract,
    OfWidths,
    Score,
    WeightScore,
    register_criterion,
    run_contract,
)
from naivegraph.extend.criterion_contract import _reordered
from naivegraph.extend.example_networks import example_networks
from naivegraph.utility.criteria import CRITERIA
from naivegraph.widths import Widths

# -- criteria that hold: all those that come along, and one of a user's --


class TestTaylor(CriterionContract):
    criterion = "taylor"


@pytest.mark.parametrize("name", ["l1", "l2", "magnitude", "bn_scale", "random"])
def test_criteria_that_come_along_hold(name: str) -> None:
    class Named(CriterionContract):
        criterion = name
        of_places = name == "random"

    skipped = {"test_same_in_another_process"} | (
        {"test_follows_the_order_of_neurons"} if Named.of_places else set()
    )
    assert set(run_contract(Named)) == set(CAUGHT) - skipped


@pytest.mark.parametrize(
    "name", ["taylor", "fisher", "activation", "variance", "fluctuation", "reconstruction"]
)
def test_criteria_that_learn_from_data_hold(name: str) -> None:
    class Named(CriterionContract):
        criterion = name
        tolerance = 1e-3

        def calibration(self, network: nn.Module, arguments: tuple[Any, ...]) -> Any:
            (x,) = arguments
            noise = torch.randn(12, *x.shape[1:], generator=torch.Generator().manual_seed(3))
            return noise.to(x.dtype)

    assert set(run_contract(Named)) == set(CAUGHT) - {"test_same_in_another_process"}


def largest(module: nn.Module, loss: BoundLoss | None) -> Score:
    """Only the largest weight of each output counts."""
    parameters = dict(module.named_parameters())

    def score(name: str) -> Tensor | None:
        weight = parameters[name].detach()
        if weight.dim() < 2:
            return None
        flat = weight.abs().flatten(1)
        return (flat * (flat == flat.amax(1, keepdim=True))).reshape(weight.shape)

    return score


class TestLargest(CriterionContract):
    criterion = WeightScore(largest)


# -- and criteria that do not --


def of_parameters(widths: Widths, value: Any) -> dict[str, Any]:
    """For each width what `value` says of the first parameter that lives on it, and the dimension."""
    parameters = dict(widths.graph.module.named_parameters())
    return {width.name: value(width, parameters[width.lives[0][0]], width.lives[0][1]) for width in widths}


def _sizes(width: Any, parameter: Tensor, dim: int) -> Any:
    return np.arange(width.size) + 1.0


class _TooMany(CriterionContract):
    criterion = OfWidths(lambda widths: {width: np.ones(width.size + 1) for width in widths})


class _NotFinite(CriterionContract):
    criterion = OfWidths(lambda widths: {width: np.full(width.size, np.nan) for width in widths})


class _NoWidth(CriterionContract):
    criterion = OfWidths(lambda widths: {"head": 1.0})

    def _values(self, network: Any, arguments: Any) -> Any:
        return {}


class _AllOne(CriterionContract):
    criterion = OfWidths(lambda widths: dict.fromkeys(widths, 1.0))


class _ByPlace(CriterionContract):
    criterion = OfWidths(lambda widths: of_parameters(widths, _sizes))


class _Unseeded(CriterionContract):
    criterion = OfWidths(lambda widths: {width: torch.rand(width.size) for width in widths})


class _Hashed(CriterionContract):
    criterion = OfWidths(
        lambda widths: {w: [hash(w.name) % 1000 + 1.0 * i for i in range(w.size)] for w in widths}
    )


class _Accumulating(CriterionContract):
    @staticmethod
    def score(module: nn.Module, loss: BoundLoss | None) -> Score:
        assert loss is not None
        loss().backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad for name, p in module.named_parameters()}
        return lambda name: gradients[name]

    criterion = WeightScore(score)


class _Switching(CriterionContract):
    @staticmethod
    def score(module: nn.Module, loss: BoundLoss | None) -> Score:
        parameters = dict(module.named_parameters())
        bent = 1 if torch.is_grad_enabled() else 3
        return lambda name: parameters[name].detach() ** bent

    criterion = WeightScore(score)


class _Resolution(CriterionContract):
    @staticmethod
    def score(module: nn.Module, loss: BoundLoss | None) -> Score:
        parameters = dict(module.named_parameters())
        return lambda name: parameters[name].detach().abs() + 1e6 * torch.finfo(parameters[name].dtype).eps

    criterion = WeightScore(score)


class _RowSums(CriterionContract):
    @staticmethod
    def score(module: nn.Module, loss: BoundLoss | None) -> Score:
        parameters = dict(module.named_parameters())
        return lambda name: parameters[name].detach().flatten(1).sum(1) if "weight" in name else None

    criterion = WeightScore(score)


class _Flat(CriterionContract):
    class Rows(WeightScore):
        def elements(self, module: nn.Module, loss: BoundLoss | None) -> Score:
            parameters = dict(module.named_parameters())
            return lambda name: parameters[name].detach().flatten()

    criterion: ClassVar[Criterion | str] = Rows(largest)


class _Refuses(CriterionContract):
    class Never(Criterion):
        def neurons(self, widths: Widths, loss: BoundLoss | None) -> Mapping[Any, Any]:
            raise ng.EditError("not this one")

    criterion = Never()


CAUGHT: dict[str, list[tuple[type[CriterionContract], str]]] = {
    "test_one_finite_number_per_neuron": [
        (_TooMany, r"convolutions, width 0: values of shape \(7,\), not \(6,\)"),
        (_NotFinite, "convolutions, width 0: values that are not finite"),
        (_NoWidth, "convolutions: there are values for 'head', which is no width"),
        (_Refuses, "it refuses every network: not this one"),
        (_RowSums, r"it refuses .*: the score of 0.weight has shape \(6,\), not .* \(6, 3, 3, 3\)"),
    ],
    "test_judges_something": [(_AllOne, "in every network all neurons are worth the same")],
    "test_follows_the_order_of_neurons": [(_ByPlace, "width 0 with its neurons in another order: ")],
    "test_depends_on_no_seed": [(_Unseeded, "convolutions, asked again with other seeds: width 0 is worth")],
    "test_same_in_another_process": [(_Hashed, "convolutions, width 0 in another process: ")],
    "test_leaves_the_network_alone": [(_Accumulating, "convolutions: the gradient of .* is not as before")],
    "test_gradient_modes_do_not_matter": [(_Switching, r"convolutions, under torch.no_grad\(\): width 0")],
    "test_precision_does_not_matter": [(_Resolution, "convolutions, width 0 in float64")],
    "test_elements_have_the_shape_of_their_parameter": [
        (_Flat, r"convolutions: the elements of 0.weight are not of shape \(6, 3, 3, 3\)")
    ],
}


def test_there_is_a_wrong_criterion_for_every_test() -> None:
    assert set(CAUGHT) == {name for name in vars(CriterionContract) if name.startswith("test_")}


@pytest.mark.parametrize(
    ("name", "contract", "says"),
    [(name, contract, says) for name, wrong in CAUGHT.items() for contract, says in wrong],
)
def test_a_wrong_criterion_is_caught(name: str, contract: type[CriterionContract], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        getattr(contract(), name)()


def test_networks_in_another_order_compute_the_same() -> None:
    for network, arguments in example_networks().values():
        other, orders, _ = _reordered(network, arguments)
        assert any((order != np.arange(len(order))).any() for order in orders.values())
        assert not torch.equal(next(network.parameters()), next(other.parameters()))
        torch.testing.assert_close(other(*arguments), network(*arguments))


def test_what_cannot_run_is_skipped_and_what_is_missing_named() -> None:
    class Local(CriterionContract):
        criterion = "l1"

    with pytest.raises(unittest.SkipTest, match="another process cannot import Local"):
        Local().test_same_in_another_process()
    assert set(CAUGHT) - set(run_contract(Local)) == {"test_same_in_another_process"}

    class Random(CriterionContract):
        criterion, of_places = "random", True

    with pytest.raises(unittest.SkipTest, match="its values are of places"):
        Random().test_follows_the_order_of_neurons()
    with pytest.raises(TypeError, match="CriterionContract needs an attribute criterion"):
        CriterionContract().test_judges_something()


# -- registering by name --


@pytest.mark.usefixtures("for_a_while")
def test_a_criterion_is_found_by_its_name_in_every_verb() -> None:
    last = OfWidths(lambda widths: {width: np.arange(width.size) for width in widths})
    register_criterion("last", last)
    register_criterion("last", last)  # the same again is no clash

    def network() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))

    x = torch.ones(1, 4)
    assert ng.prune(network(), x, ratio=0.5, utility="last").sizes["0"].kept == (range(3, 6),)
    assert ng.resize(ng.capture(network(), x), {"0": -2}, utility="last").sizes["0"].kept == (range(2, 6),)
    assert ng.resize(ng.capture(network(), x), {"0": -1}, utility={"0": "last"}).sizes["0"].kept == (
        range(1, 6),
    )
    with pytest.raises(
        ng.EditError, match=r"there is no utility 'lost' among .*, last; did you mean 'last'\?"
    ):
        ng.prune(network(), x, ratio=0.5, utility="lost")
    with pytest.raises(ng.EditError, match="there is a criterion 'last' already; replace=True takes this"):
        register_criterion("last", WeightScore(largest))
    register_criterion("last", WeightScore(largest), replace=True)


def test_what_is_no_criterion_is_not_registered() -> None:
    for wrong, says in ((largest, "not <function largest"), (WeightScore, r"\(the class; make one of it\)")):
        with pytest.raises(ng.EditError, match=f"register_criterion takes a Criterion, .*{says}"):
            register_criterion("largest", wrong)  # type: ignore[arg-type]
    with pytest.raises(ng.EditError, match="the name of a criterion is a string that is not empty, not None"):
        register_criterion(None, WeightScore(largest))  # type: ignore[arg-type]
    assert "largest" not in CRITERIA


def test_a_module_may_run_its_contract_when_imported(tmp_path: Path) -> None:
    """The other process imports it, too, and starts no third."""
    (tmp_path / "judged.py").write_text(
        "from naivegraph import extend\n"
        "class Norms(extend.CriterionContract):\n"
        "    criterion = 'magnitude'\n"
        "print('imported', flush=True)\n"
        "print(extend.run_contract(Norms))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", "import judged"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert ran.stdout.count("imported") == 1
    assert "test_same_in_another_process" in ran.stdout
