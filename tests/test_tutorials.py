"""Every tutorial runs from top to bottom, and its checks hold."""

import runpy
from pathlib import Path

import pytest

from naivegraph.extend import temporary_registrations

FOLDER = Path(__file__).parent.parent / "tutorials"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def test_there_are_tutorials() -> None:
    assert "first_steps.py" in [path.name for path in SCRIPTS]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with temporary_registrations():
        runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_is_percent_format_and_opens_with_words(path: Path) -> None:
    cells = path.read_text(encoding="utf-8").split("# %%")
    assert cells[0] == ""
    assert cells[1].startswith(" [markdown]\n# # ")
    assert any(not cell.startswith(" [markdown]") for cell in cells[1:])
