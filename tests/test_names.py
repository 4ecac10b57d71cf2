"""One name for one thing, and docstrings that say what a thing is or does; read from the source."""

from __future__ import annotations

import ast
import collections
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# `naivegraph/solvers` is a link to `solvers`, whose files would otherwise be read twice.
FILES = sorted(
    path
    for folder in ("naivegraph", "solvers")
    for path in (ROOT / folder).rglob("*.py")
    if path.relative_to(ROOT).parts[:2] != ("naivegraph", "solvers")
)
QUESTIONS = {"how", "what", "when", "where", "whether", "which", "who", "whom", "whose", "why"}

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """The syntax tree of every file of the package, by its path in the repository."""
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in FILES}


def repeated(places: dict[str, list[str]]) -> dict[str, list[str]]:
    """The names that stand in more than one place."""
    return {name: where for name, where in places.items() if len(where) > 1}


def documented(tree: ast.Module) -> Iterator[tuple[Documented, str]]:
    """Every module, class and function of a file, functions within functions among them, with its name."""
    yield tree, "module"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, node.name


def test_every_public_class_has_a_name_of_its_own(trees: dict[str, ast.Module]) -> None:
    places: dict[str, list[str]] = collections.defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path}:{node.lineno}")
    assert len(places) > 50
    assert not repeated(places)


def test_every_module_has_a_name_of_its_own(trees: dict[str, ast.Module]) -> None:
    places: dict[str, list[str]] = collections.defaultdict(list)
    for name in trees:
        path = pathlib.PurePath(name)
        if path.name == "__init__.py":
            places[path.parent.name].append(str(path.parent))
        elif path.stem not in (path.parent.name, "__main__"):  # save/save.py is the main file of save/
            places[path.stem].append(name)
    assert len(places) > 50
    assert not repeated(places)


def test_docstrings_open_with_a_noun_or_a_verb(trees: dict[str, ast.Module]) -> None:
    questions = [
        f"{path}:{getattr(node, 'lineno', 1)} {name}: {text.splitlines()[0]}"
        for path, tree in trees.items()
        for node, name in documented(tree)
        if (text := ast.get_docstring(node)) and text.split()[0].lower().strip("`,.:") in QUESTIONS
    ]
    assert not questions, "\n".join(["reword these docstrings:", *questions])


def test_everything_public_has_a_docstring(trees: dict[str, ast.Module]) -> None:
    missing = [
        f"{path}:{getattr(node, 'lineno', 1)} {name}"
        for path, tree in trees.items()
        for node, name in documented(tree)
        if not name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not missing, "\n".join(["write docstrings for these:", *missing])
