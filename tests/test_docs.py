"""The pages for developers hold: links lead somewhere, imports work, recipes end in passing tests."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_packaging import IGNORED, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def blocks(page: Path) -> list[str]:
    """The Python code of a page, without the margin of a list that it stands in."""
    found = re.findall(r"(?ms)^( *)```python\n(.*?)^ *```$", page.read_text(encoding="utf-8"))
    return [re.sub(rf"(?m)^{margin}", "", code) for margin, code in found]


def block_after(path: str) -> str:
    """The first code of docs/architecture.md below the place that names a file to write."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    below = text[re.search(rf"(?m)^\d\. `{re.escape(path)}`", text).start() :]  # type: ignore[union-attr]
    margin, code = re.findall(r"(?ms)^( *)```python\n(.*?)^ *```$", below)[0]
    return re.sub(rf"(?m)^{margin}", "", code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", prose)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = set(re.findall(r"(?m)^\d\. `([\w/]+\.py)`", text))
    named = set(re.findall(r"`((?:naivegraph|solvers|tests|docs|benchmarks|tutorials)/[\w/.]*)`", text))
    assert [name for name in sorted(named - made) if not (ROOT / name).exists()] == []


def test_files_whose_examples_are_to_be_run_have_some() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"-m pytest (naivegraph/[\w/]+\.py)", text)
    assert named
    assert [name for name in named if ">>>" not in (ROOT / name).read_text(encoding="utf-8")] == []


def test_imports_of_the_recipes_work() -> None:
    code = [block for block in blocks(ARCHITECTURE) if "import" in block]
    lines = re.findall(r"(?m)^(?:from naivegraph|import naivegraph).*$", "\n".join(code))
    assert len(lines) > 20
    for line in lines:
        exec(line, {})


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources in which a recipe can be followed."""
    folder = tmp_path_factory.mktemp("scratch")
    for name in ("naivegraph", "solvers", "tests"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=IGNORED)
    for name in ("setup.cfg", "README.md", "Makefile"):
        shutil.copy(ROOT / name, folder)
    return folder


def insert(file: Path, before: str, line: str) -> None:
    """Write a line before another one."""
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, f"{line}{before}", 1), encoding="utf-8")


def passes(folder: Path, *words: str) -> bool:
    """Whether tests of a folder pass in a new process."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0


@pytest.mark.slow
class TestRecipes:
    def test_an_operator(self, scratch: Path) -> None:
        words = ("tests/operators", "-k", "nanmedian")
        insert(
            scratch / "tests/operators/vectors.py",
            '    "median": ',
            block_after("tests/operators/vectors.py"),
        )
        assert not passes(scratch, *words)
        family = scratch / "naivegraph/operators/reduce.py"
        family.write_text(family.read_text(encoding="utf-8").replace(" median ", " median nanmedian "))
        samples = scratch / "tests/operators/samples/layers.py"
        text, row = samples.read_text(encoding="utf-8"), block_after("tests/operators/samples/layers.py")
        samples.write_text(text.replace(row.replace(" nanmedian", ""), row), encoding="utf-8")
        assert passes(scratch, *words)

    def test_a_cost(self, scratch: Path) -> None:
        for file in ("naivegraph/costs/activations.py", "tests/costs/test_activations.py"):
            (scratch / file).write_text(block_after(file), encoding="utf-8")
        assert passes(scratch, "tests/costs")

    def test_a_mutation(self, scratch: Path) -> None:
        for file in ("naivegraph/edits/substitute.py", "tests/edits/test_substitute.py"):
            (scratch / file).write_text(block_after(file), encoding="utf-8")
        api = scratch / "naivegraph/api.py"
        insert(api, "\n__all__ = [\n", "from naivegraph.edits.substitute import substitute\n")
        insert(api, "]\n", '    "substitute",\n')
        assert passes(scratch, "tests/edits/test_substitute.py", "naivegraph/edits/substitute.py")

    def test_a_solver(self, scratch: Path) -> None:
        for file in ("solvers/backend/scipy.py", "tests/solvers/backend/test_scipy.py"):
            (scratch / file).write_text(block_after(file), encoding="utf-8")
        package = scratch / "solvers/__init__.py"
        insert(package, "\n__all__ = [\n", "from naivegraph.solvers.backend.scipy import ScipyBackend\n")
        insert(package, "]\n", '    "ScipyBackend",\n')
        assert passes(scratch, "tests/solvers/backend/test_scipy.py")
