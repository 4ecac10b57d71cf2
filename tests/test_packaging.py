"""What gets installed, and from where it is imported."""

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import naivegraph as ng

ROOT = Path(__file__).parent.parent
SOURCES = ("naivegraph", "solvers", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info")


def run_python(code: str, folder: Path) -> str:
    """Run code in a new process in a folder, which comes first on its path, and return what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, with the symbolic link as a link."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=IGNORED)
        else:
            shutil.copy(source, folder / name)
    return folder


def build(kind: str, source: Path, into: Path) -> Path:
    """Build an sdist or a wheel with the installed setuptools, and return its path."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(into)!r}))"
    return into / run_python(code, source).splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", checkout, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the unpacked sdist, as pip does it, so that the sdist has to be complete."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


def python_files(folder: Path) -> set[str]:
    """Names of the Python files of a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py")}


def test_packages_equal_the_tree() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    found = {"naivegraph.solvers"}
    for path in (ROOT / "naivegraph").rglob("__init__.py"):
        found.add(".".join(path.parent.relative_to(ROOT).parts))
    for path in (ROOT / "solvers").rglob("__init__.py"):
        found.add(".".join(("naivegraph", *path.parent.relative_to(ROOT).parts)))
    assert sorted(listed) == sorted(found)
    assert not [
        path for path in (ROOT / "naivegraph").rglob("*.py") if not (path.parent / "__init__.py").exists()
    ]


def test_solvers_are_a_relative_link() -> None:
    link = ROOT / "naivegraph" / "solvers"
    assert link.is_symlink()
    assert os.readlink(link) == os.path.join("..", "solvers")


def test_wheel_has_every_module_and_no_top_level_solvers(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"naivegraph/{name}" for name in python_files(ROOT / "naivegraph") if not name.startswith("solvers")
    }
    expected |= {f"naivegraph/solvers/{name}" for name in python_files(ROOT / "solvers")}
    assert {name for name in names if name.endswith(".py")} == expected
    assert "naivegraph/py.typed" in names
    pages = {f"naivegraph/picture/{path.name}" for path in (ROOT / "naivegraph/picture").iterdir()}
    assert {name for name in pages if name.endswith((".css", ".html", ".js"))} <= names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"naivegraph", f"naivegraph-{ng.__version__}.dist-info"}
    assert any(name.endswith("/LICENSE") for name in names)


def test_sdist_has_solvers_and_types(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert {f"solvers/{name}" for name in python_files(ROOT / "solvers")} <= names
    assert {"naivegraph/py.typed", "LICENSE", "README.md"} <= names


def test_metadata_stays_loose_and_names_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"naivegraph-{ng.__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert metadata["Version"] == ng.__version__
    required = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert any(re.match(r"torch>=", text) for text in required)
    assert not [text for text in required if "==" in text]
    assert "naivegraph = naivegraph.cli:main" in scripts


def test_wheel_imports_from_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert run_python("import naivegraph.solvers as s; print(s.__file__)", site) == str(
        site / "naivegraph" / "solvers" / "__init__.py"
    )


def test_checkout_that_is_not_installed_imports_its_own_files(checkout: Path) -> None:
    printed = run_python(
        "import naivegraph.solvers as s, naivegraph as n; print(s.__file__, n.__file__)", checkout
    )
    assert printed.split() == [
        str(checkout / "naivegraph" / "solvers" / "__init__.py"),
        str(checkout / "naivegraph" / "__init__.py"),
    ]


def test_solvers_by_themselves_are_refused(checkout: Path) -> None:
    with pytest.raises(RuntimeError, match=r"import this package as 'naivegraph\.solvers'"):
        run_python("import solvers", checkout)


def test_version_is_written_once() -> None:
    files = [ROOT / name for name in ("setup.cfg", "pyproject.toml", "README.md", "Makefile")]
    files += [path for name in ("naivegraph", "solvers") for path in (ROOT / name).rglob("*.py")]
    holders = {path.resolve() for path in files if f'"{ng.__version__}"' in path.read_text()}
    holders |= {path for path in files if re.search(r"(?m)^version\s*=\s*[\d\"']", path.read_text())}
    assert holders == {(ROOT / "naivegraph" / "__init__.py").resolve()}


def test_constraints_pin_everything_that_is_asked_for() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    asked = config["options"]["install_requires"].split("\n")
    for extra in config["options.extras_require"].values():
        asked += extra.split("\n")
    names = {re.split(r"[\[<>=]", text)[0] for text in asked if text}
    assert names <= set(pins)


def test_lowest_versions_are_those_that_are_asked_for() -> None:
    lines = (ROOT / "constraints-floor.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    asked = config["options"]["install_requires"].split()
    lowest = dict(re.findall(r"(?m)^([a-z]+)(?:\[\w+\])?>=([\d.]+)", "\n".join(asked)))
    assert pins.keys() == lowest.keys()
    assert {name: pin for name, pin in pins.items() if not f"{pin}.".startswith(f"{lowest[name]}.")} == {}


def test_readme_names_only_what_there_is() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
    named = re.findall(r"(?:^|`|/cpu )make ([a-z]+)", readme, flags=re.MULTILINE)
    assert {"demo", "test"} <= set(named) <= set(targets)
    folders = re.findall(r"(?m)^\| (`[^|]*`) \|", readme)
    paths = [path for cell in folders for path in re.findall(r"`([^`]+)`", cell)]
    assert "solvers/" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
