"""Importing the package: at once, and still with every public name."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import naivegraph as ng
from naivegraph import api
from tests.test_packaging import ROOT, run_python


def modules_after(code: str) -> set[str]:
    """Names of the top-level modules that a new process has imported once it has run code."""
    shown = "import json, sys; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    return set(json.loads(run_python(f"{code}\n{shown}", ROOT).splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"], ["prune", "--help"], ["--version"]])
def test_help_comes_without_torch(words: list[str]) -> None:
    code = f"import naivegraph.cli\ntry: naivegraph.cli.main({words})\nexcept SystemExit: pass"
    imported = modules_after(code)
    assert "naivegraph" in imported
    assert not imported & {"torch", "numpy", "networkx", "rich", "highspy", "pulp"}


def test_a_wrong_option_is_refused_without_torch() -> None:
    assert "torch" not in modules_after(
        "import naivegraph.cli; naivegraph.cli.main(['prune', '--mxcs', '1'])"
    )


def test_what_only_some_need_is_imported_by_them() -> None:
    imported = modules_after("import naivegraph; naivegraph.prune")
    assert "torch" in imported
    # torch itself imports networkx and sympy where it needs them.
    assert not imported & {"rich", "jsonargparse", "highspy", "pulp", "sklearn", "scipy"}


def test_every_public_name_is_there() -> None:
    names: dict[str, object] = {}
    exec("from naivegraph import *", names)
    del names["__builtins__"]
    assert sorted(names) == sorted(api.__all__) == sorted(ng.__all__)
    assert set(api.__all__) <= set(dir(ng))
    for name, value in names.items():
        assert value is getattr(api, name) is getattr(ng, name)


def test_the_tier_for_extenders_is_there_once_asked_for() -> None:
    code = "import sys, naivegraph as ng; print('torch' in sys.modules, ng.extend.run_contract.__module__)"
    assert run_python(code, ROOT) == "False naivegraph.extend.run_contract"


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="module 'naivegraph' has no attribute 'prun'"):
        # That this needs an ignore also shows that mypy knows the names.
        ng.prun  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'prun'"):
        exec("from naivegraph import prun")


def test_a_subpackage_does_not_replace_a_function() -> None:
    """`import naivegraph.prune` binds the name in its parent, whichever of the two was asked for first."""
    folders = {path.name for path in Path(ng.__file__).parent.iterdir() if (path / "__init__.py").is_file()}
    files = {path.stem for path in Path(ng.__file__).parent.glob("*.py")}
    shared = {name for name in api.__all__ if callable(getattr(api, name))} & (folders | files)
    assert shared == {"prune", "reconstruct"}
    first = "import naivegraph.prune; from naivegraph.prune.report import Report; import naivegraph as ng"
    code = f"{first}\nassert ng.Report is Report\nprint(ng.prune.__module__, ng.prune.__name__)"
    assert run_python(code, ROOT) == "naivegraph.prune.prune prune"
    code = "import naivegraph.reconstruct, naivegraph as ng; print(ng.reconstruct.__module__)"
    assert run_python(code, ROOT) == "naivegraph.reconstruct.reconstruct"


def test_a_checkout_without_symbolic_links_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "naivegraph").mkdir()
    shutil.copy(ROOT / "naivegraph" / "__init__.py", tmp_path / "naivegraph")
    (tmp_path / "naivegraph" / "solvers").write_text("../solvers", encoding="utf-8")
    # -S: an installed naivegraph would lend its solvers.
    words = [sys.executable, "-S", "-c", "import naivegraph.solvers"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(
        "ImportError: naivegraph/solvers is to be .* `git config core.symlinks true`", done.stderr
    )
    assert "pip install ." in done.stderr


def test_the_collector_is_left_as_it_was() -> None:
    code = "import gc; gc.disable(); import naivegraph; naivegraph.prune; print(gc.isenabled())"
    assert run_python(code, ROOT) == "False"


def test_what_was_pickled_is_read_where_nothing_is_imported_yet() -> None:
    pickled = pickle.dumps(ng.size(3))
    code = f"import gc, pickle; print(repr(str(pickle.loads({pickled!r}))), gc.isenabled())"
    assert run_python(code, ROOT) == f"{str(ng.size(3))!r} True"


def test_functions_that_name_the_package_are_sent_to_other_processes_by_value() -> None:
    code = (
        "import pickle, cloudpickle, naivegraph as ng\n"
        "def version(): return ng.__version__\n"
        "sent = pickle.loads(cloudpickle.dumps(version))\n"
        "print(sent() == ng.__version__, pickle.loads(pickle.dumps(ng)) is ng)"
    )
    assert run_python(code, ROOT) == "True True"
