"""`naivegraph search`: runs what a file describes, goes on, shows it, and tells mistakes in a sentence."""

import re
from pathlib import Path

import pytest

from naivegraph.cli import main
from naivegraph.cli.help_examples import SEARCH_EXAMPLES
from naivegraph.search import StudyView

CONFIG = """\
folder: runs/numbers
space: tests.search.study.numbers_space:Numbers
space_arguments: {bound: 5000}
evaluate: tests.search.study.numbers_space:loss
objectives: {loss: min, digit: min}
limits: {digit: 7}
rungs: [1, 3]
engine: serial
networks: 6
"""


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a current folder that holds a description."""
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(CONFIG)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that has to succeed, and return what it prints."""
    assert main(["search", *words]) == 0
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that has to fail, and return its one sentence."""
    assert main(["search", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_study_runs_goes_on_and_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    first = said(capsys, "--config", "study.yaml")
    assert re.match(r"runs/numbers: 6 networks, \d+ evaluations, 0 failed", first)
    more = said(capsys, "--config", "study.yaml", "--networks", "9")
    assert "9 networks" in more
    pictures = ["--plot", "a.svg", "--genealogy", "b.svg", "--report", "c.html"]
    shown = said(capsys, "show", "runs/numbers", *pictures)
    assert shown.startswith(more)
    assert [line for line in shown.splitlines() if "Wrote" in line] == [
        "Wrote a.svg.",
        "Wrote b.svg.",
        "Wrote c.html.",
    ]
    study = StudyView("runs/numbers")
    assert study.ranking.limits == {"digit": 7}
    assert all(found.name in shown for found in study.front)
    assert all(found.structure["number"] < 5000 for found in study.candidates)


def test_what_is_wrong_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a study needs folder, space, evaluate, objectives: give --config" in fails(capsys)
    assert "runs/none is not the folder of a study" in fails(capsys, "show", "runs/none")
    assert "not `naivegraph search shew a`" in fails(capsys, "shew", "a")
    wrong = {
        ("--space", "nowhere:space"): "there is no module 'nowhere'",
        ("--space", "math:pi"): "'math:pi' is a float, which proposes nothing",
        ("--space", "numbers"): "'numbers' names nothing: write package.module:name",
        ("--space-arguments", '{"low": 3}'): "could not be made with {'low': 3}",
        ("--evaluate", "math:pi"): "'math:pi' is a float; name a function",
        ("--engine", "process"): "did you mean 'processes'",
        ("--objectives", '{"loss": "low"}'): "is to be 'max' or 'min'",
        ("--workers", "0"): "at least one is needed",
    }
    for words, sentence in wrong.items():
        assert sentence in fails(capsys, "--config", "study.yaml", *words)


def test_a_space_without_end_needs_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    Path("study.yaml").write_text(CONFIG.replace("networks: 6\n", ""))
    assert "say when to stop" in fails(capsys, "--config", "study.yaml")


def test_the_example_of_the_help_is_a_description(capsys: pytest.CaptureFixture[str]) -> None:
    names = set(re.findall(r"(?m)^  (\w+):", SEARCH_EXAMPLES.split("current folder:")[1]))
    assert names <= set(re.findall(r"(?m)^(\w+):", CONFIG))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--plot", "a.png"), "a.png is to end in .svg"),
        (("--report", "a.txt"), "a.txt is to end in .md or .html"),
        (("--genealogy", "no/such/a.svg"), "there is no folder no/such"),
    ],
)
def test_files_that_cannot_be_written_are_told_before_the_study_runs(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, "--config", "study.yaml", *words)
    assert len(StudyView("runs/numbers").results) == 0
