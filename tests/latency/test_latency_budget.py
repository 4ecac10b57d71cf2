"""Budgets of latency on simulated devices, whose times are known."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import naivegraph as ng
from tests.latency.simulated import Device, linear_macs, perceptron, simulated

X = torch.randn(1, 16)


def affine(model: nn.Module) -> float:
    """A millisecond, and a microsecond for each multiply-accumulate."""
    return 1e-3 + 1e-6 * linear_macs(model)


def in_sixteens(model: nn.Module) -> float:
    """Sizes cost as much as the next multiple of 16, and each layer its overhead."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return sum(2e-4 + 1e-6 * math.ceil(m.out_features / 16) * 16 * m.in_features for m in layers)


@pytest.mark.parametrize("share", [0.75, 0.6, 0.4])
def test_a_device_that_is_as_predicted(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, affine)
    net = perceptron()
    before = affine(net)
    edit = ng.prune(net, X, latency=share, runtime=device, round_to=1)
    report = edit.latency
    assert report is not None
    assert report.rounds == 1
    assert affine(net) == pytest.approx(report.measured)
    assert affine(net) <= share * before * 1.005
    assert affine(net) >= share * before * 0.985
    assert report.before == pytest.approx(before)
    assert report.predicted == pytest.approx(report.measured, rel=1e-6)


@pytest.mark.parametrize("share", [0.8, 0.6, 0.45])
def test_a_device_that_is_not_as_predicted_is_corrected_for(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = simulated(monkeypatch, in_sixteens)
    net = perceptron(96)
    before = in_sixteens(net)
    edit = ng.prune(net, X, latency=share, runtime=device, round_to=1)
    assert in_sixteens(net) <= share * before * 1.005
    assert edit.latency is not None
    assert in_sixteens(net) == pytest.approx(edit.latency.measured)


def test_the_most_utility_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that is as predicted, the answer is that of the multiply-accumulates it stands for."""
    device = simulated(monkeypatch, affine)
    first, second = perceptron(), perceptron()
    goal = int((0.6 * affine(first) - 1e-3) / 1e-6)
    ng.prune(first, X, latency=0.6, runtime=device, round_to=1, gap=0, at_least=0)
    ng.prune(second, X, macs=goal, gap=0, at_least=0)
    kept = [
        sum(float(m.weight.detach().norm()) for m in net if isinstance(m, nn.Linear))
        for net in (first, second)
    ]
    assert kept[0] == pytest.approx(kept[1], rel=0.01)


def test_sizes_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, affine)
    net = perceptron()
    edit = ng.prune(net, X, latency=ng.seconds(0.004), runtime=device, round_to=1)
    assert 0.0039 < affine(net) <= 0.00402
    assert edit.latency is not None
    assert edit.latency.asked == pytest.approx(0.004)


def test_rounding_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, in_sixteens)
    net = perceptron(96)
    edit = ng.prune(net, X, latency=0.6, runtime=device, round_to=16)
    assert all(m.out_features % 16 == 0 for m in [*net][:4] if isinstance(m, nn.Linear))
    assert edit.latency is not None
    assert edit.latency.step == 16
    other = edit.latency.unrounded
    assert other is not None
    assert other.utility > edit.latency.utility
    assert f"{other.measured * 1e6:,.0f} us" in str(edit)
    assert "Sizes are multiples of 16. Others would keep" in str(edit)


def test_with_other_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, affine)
    net = perceptron()
    edit = ng.prune(net, X, latency=0.9, params=0.5, runtime=device, round_to=1)
    assert edit.after.params <= 0.5 * edit.before.params
    assert affine(net) < 0.9 * 6.632e-3
    assert edit.asked["latency"] == 0.9
    assert edit.asked["params"] == 0.5


def test_undo(monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, affine)
    net = perceptron()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    edit = ng.prune(net, X, latency=0.5, runtime=device)
    edit.undo()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_nothing_is_quick_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, affine)
    net = perceptron()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(
        ng.InfeasibleError, match=r"the budget cannot be met: whatever is removed, at least .* us"
    ):
        ng.prune(net, X, latency=0.1, runtime=device)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_device_that_does_not_care(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is removed makes it quicker."""
    device = simulated(monkeypatch, lambda model: 1e-3)
    net = perceptron()
    with pytest.raises(ng.InfeasibleError):
        ng.prune(net, X, latency=0.5, runtime=device)
    assert net[0].out_features == 64


def test_profiles_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, affine)
    net, file = perceptron(), tmp_path / "profile.json"
    profile = ng.profile(net, X, runtime=device)
    profile.save(file)
    assert ng.Profile.load(file) == profile
    made = len(device.made)
    edit = ng.prune(net, X, latency=0.6, runtime=device, profile=file, round_to=1)
    assert len(device.made) - made <= 2  # the network as it was, and the one that was chosen
    assert edit.latency is not None
    assert edit.latency.measured <= 0.6 * edit.latency.before * 1.005


def test_a_profile_of_another_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    device = simulated(monkeypatch, affine)
    net = perceptron()
    profile = ng.profile(net, X, runtime=device)
    device.slowness = 1.2
    with pytest.raises(ng.EditError, match=r"takes 7,958 us now and took 6,632 us when .* \(\+20%\)"):
        ng.prune(net, X, latency=0.6, runtime=device, profile=profile)
    device.slowness = 1.05
    assert ng.prune(net, X, latency=0.6, runtime=device, profile=profile)


def test_a_profile_of_something_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = simulated(monkeypatch, affine)
    net = perceptron()
    profile = ng.profile(net, X, runtime=device)
    data = json.loads(profile.to_json())
    moved = ng.Profile.from_json(json.dumps(data | {"machine": {**data["machine"], "device": "a toaster"}}))
    with pytest.raises(ng.EditError, match=r"of another machine \(device 'a toaster', now"):
        ng.prune(net, X, latency=0.6, runtime=device, profile=moved)
    with pytest.raises(ng.EditError, match="the profile is of 'Device', and runtime='eager'"):
        ng.prune(net, X, latency=0.6, profile=profile)
    named = nn.Sequential()
    for name, layer in zip("abcde", perceptron(), strict=True):
        named.add_module(name, layer)
    with pytest.raises(ng.EditError, match="knows nothing of the vertex 'a'"):
        ng.prune(named, X, latency=0.6, runtime=device, profile=profile)
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ng.LoadError, match=r"no profile of ng\.profile"):
        ng.prune(net, X, latency=0.6, profile=tmp_path / "other.json")
    assert net[0].out_features == 64


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"latency": 1.5}, r"latency=1.5 is no budget: give a share .* or ng.seconds"),
        ({"latency": True}, "latency=True is no budget"),
        ({"latency": float("nan")}, "latency=nan is no budget"),
        ({"latency": 0.5, "ratio": 0.5}, r"cannot be met together with a budget \(latency\)"),
        ({"latency": 0.5, "runtime": "egaer"}, "no runtime 'egaer'.*eager"),
        ({"latency": 0.5, "runtime": 3}, r"runtime= takes 'eager', .*, not 3"),
        ({"latency": 0.5, "runtime": lambda model, example: None}, "returned NoneType for a network"),
        ({"macs": 0.5, "profile": "x.json"}, "profile= is for a budget of latency"),
        ({"latency": 0.5, "profile": 3}, "profile= takes a profile"),
        ({"latency": 0.5, "round_to": "always"}, "round_to takes a whole number or \"auto\", not 'always'"),
    ],
)
def test_bad_input(asked: dict[str, object], message: str) -> None:
    net = perceptron()
    with pytest.raises(ng.EditError, match=message):
        ng.prune(net, X, **asked)  # type: ignore[arg-type]
    assert net[0].out_features == 64


def test_seconds_are_above_zero() -> None:
    with pytest.raises(ng.EditError, match="above 0, not -1"):
        ng.seconds(-1)


def test_a_network_that_does_not_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: nn.Module, example: object) -> object:
        raise RuntimeError("no such device")

    net = perceptron()
    with pytest.raises(ng.EditError, match=r"does not run in '.*broken': no such device"):
        ng.prune(net, X, latency=0.5, runtime=broken)  # type: ignore[arg-type]


def test_auto_rounds_by_the_runtime() -> None:
    net = perceptron(100)
    edit = ng.prune(net, X, macs=0.5, round_to="auto")
    assert [m.out_features % 8 for m in net if isinstance(m, nn.Linear)] == [0, 0, 0]
    assert edit.asked["round_to"] == 8
    assert any(re.match(r"Sizes are multiples of 8, .* others would keep \d", note) for note in edit.notes)


def test_the_clock_in_a_busy_moment() -> None:
    """What slows both networks alike changes nothing."""
    device = Device(affine)
    from naivegraph.latency.stopwatch import compare

    clock = device.clock(torch.device("cpu"), on_thread=True)
    rng = torch.Generator().manual_seed(0)

    def slowly(seconds: float) -> None:
        device.now += seconds * device.slowness
        if float(torch.rand((), generator=rng)) < 0.2:
            device.slowness = 1 + 3 * float(torch.rand((), generator=rng))

    found = compare(lambda: slowly(0.006), lambda: slowly(0.010), clock)
    assert found.low <= 0.6 <= found.high
    assert found.value == pytest.approx(0.6, rel=0.02)
