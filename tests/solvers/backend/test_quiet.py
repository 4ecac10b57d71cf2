"""Nothing that a solver says by itself reaches standard output."""

import os
import subprocess
import sys
from pathlib import Path

import highspy
import pytest

import naivegraph
from naivegraph.solvers import backends
from naivegraph.solvers.backend import quiet
from naivegraph.solvers.backend.quiet import first_highs

CODE = """
from naivegraph.solvers import Program, solve
program = Program()
program.column("x", 0, 3.5, integer=True, objective=2.0)
print(solve(program, backend={!r}).objective)
"""


class Talking:
    """A solver that prints as compiled code does, past `sys.stdout`."""

    made = 0

    def __init__(self) -> None:
        Talking.made += 1
        os.write(1, b"Running HiGHS 1.16.0\n")


@pytest.fixture
def talking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(highspy, "Highs", Talking)
    monkeypatch.setattr(quiet, "_made", False)
    monkeypatch.setattr(Talking, "made", 0)


@pytest.mark.usefixtures("talking")
def test_the_first_highs_is_made_once_and_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    first_highs()
    first_highs()
    print("after", flush=True)
    assert capfd.readouterr() == ("after\n", "")
    assert Talking.made == 1


@pytest.mark.usefixtures("talking")
def test_output_comes_back_after_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(highspy, "Highs", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        first_highs()
    print("after", flush=True)
    assert capfd.readouterr().out == "after\n"


@pytest.mark.parametrize("backend", [name for name in ("highs", "pulp:HiGHS") if name in backends()])
def test_a_process_prints_what_it_was_told_to(backend: str) -> None:
    root = Path(naivegraph.__file__).parent.parent
    words = [sys.executable, "-c", CODE.format(backend)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("6.0\n", "")
