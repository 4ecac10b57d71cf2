"""Pictures on the command line: `--html` and `--svg` of inspect, explain and prune."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from naivegraph.cli import main

DIGITS = ("naivegraph.demo:DigitsNet", "--arguments", '{"width": 8}', "--shape", "1,1,8,8")
WORDS = {"inspect": (), "explain": ("--layer", "stem.0"), "prune": ("--macs", "0.5")}


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", WORDS)
def test_a_page_is_written(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main((command, *DIGITS, *WORDS[command], "--html", "net.html")) == 0
    assert "Drawn in net.html." in capsys.readouterr().out
    page = Path("net.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert {"inspect": '"may change"', "explain": '"asked about"', "prune": '"shrank"'}[command] in page


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_svg_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("inspect", *DIGITS, "--html", "net.html", "--svg", "net.svg")) == 0
    assert "Drawn in net.html and net.svg." in capsys.readouterr().out
    assert "<svg" in Path("net.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--html", "net.svg"), "--html net.svg: a file that ends with .html is written"),
        (("--html", "nowhere/net.html"), "nowhere/net.html cannot be written: there is no folder"),
        (("--svg", "net.html"), "--svg net.html: a file that ends with .svg is written"),
    ],
)
def test_a_wrong_file_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    for command, more in WORDS.items():
        assert main((command, "nowhere:make", "--shape", "1", *more, *words)) == 2
        assert re.search(re.escape(message), capsys.readouterr().err)


def test_svg_without_graphviz_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(("inspect", "nowhere:make", "--shape", "1", "--svg", "net.svg")) == 2
    assert "--svg needs `dot` of graphviz" in capsys.readouterr().err


def test_explain_tells_the_size_of_a_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("explain", *DIGITS, "--layer", "stem.0")) == 0
    assert "stem.0 has 8 neurons." in capsys.readouterr().out
    assert main(("explain", *DIGITS)) == 2
    assert "say which layer: --layer NAME" in capsys.readouterr().err
    assert main(("explain", *DIGITS, "--layer", "stam")) == 2
    assert "no vertex or parameter 'stam'" in capsys.readouterr().err
