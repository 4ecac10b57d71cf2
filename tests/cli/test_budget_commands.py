"""The commands `profile` and `tradeoff`, and latency in `prune`."""

import json
from pathlib import Path

import pytest
from torch import nn

import naivegraph as ng
from naivegraph.cli import main
from naivegraph.latency import runtimes
from naivegraph.latency.runtimes import Runtime
from tests.latency.simulated import simulated

DIGITS = ("naivegraph.demo:DigitsNet", "--arguments", '{"width": 8}', "--shape", "1,1,8,8")


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty current folder."""
    monkeypatch.chdir(tmp_path)


def test_profile_prints_the_slowest_calls_and_saves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("profile", *DIGITS, "--output", "digits.json")) == 0
    out = capsys.readouterr().out
    assert "The slowest calls" in out
    assert "--profile digits.json" in out
    assert ng.Profile.load("digits.json").runtime == "eager"


def test_prune_to_a_latency(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(model: nn.Module) -> float:
        return 1e-3 + 1e-7 * sum(parameter.numel() for parameter in model.parameters())

    device = simulated(monkeypatch, seconds)
    board = Runtime("board", lambda model, args, kwargs: device(model, args[0]))
    monkeypatch.setattr(runtimes, "RUNTIMES", {"board": board})
    assert main(("prune", *DIGITS, "--latency", "0.9", "--runtime", "board", "--json")) == 0
    found = json.loads(capsys.readouterr().out)["latency"]
    assert found["measured"] <= 0.9 * 1.005 * found["before"]
    assert found["step"] == 1
    assert main(("prune", *DIGITS, "--latency", "1.5ms", "--runtime", "board", "--json")) == 0
    found = json.loads(capsys.readouterr().out)["latency"]
    assert found["asked"] == pytest.approx(0.0015)


def test_tradeoff_prints_and_draws(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("tradeoff", *DIGITS, "--cost", "params", "--points", "3", "--plot", "front.svg")) == 0
    assert "Utility against parameters" in capsys.readouterr().out
    assert Path("front.svg").read_text().startswith("<svg")
    assert main(("tradeoff", *DIGITS, "--cost", "params", "--points", "3", "--json")) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert [point["share"] for point in points][-1] == 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("prune", *DIGITS, "--latency", "soon"),
            "a latency is a share (0.6) or a time (12ms, 800us), not 'soon'",
        ),
        (("prune", *DIGITS, "--latency", "3"), "latency=3.0 is no budget"),
        (("prune", *DIGITS, "--latency", "0.5", "--runtime", "tensorrt"), "there is no runtime 'tensorrt'"),
        (("profile", *DIGITS, "--output", "digits.txt"), "a file that ends with .json is written"),
        (("tradeoff", *DIGITS, "--plot", "nowhere/front.svg"), "there is no folder"),
    ],
)
def test_bad_requests(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
