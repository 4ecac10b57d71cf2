"""Prints the folders of the package and their files, each with the first line of its docstring.

Run it as `python -m tests.tree`, or `make tree`, which adds the import contracts.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def first_line(file: Path) -> str:
    """The first line of the docstring of a file."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def lines(folder: Path, depth: int = 0) -> Iterator[str]:
    """The lines for a folder: its own, then those of its files and folders."""
    yield f"{'  ' * depth}{folder.name + '/':<{34 - 2 * depth}} {first_line(folder / '__init__.py')}"
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            yield f"{'  ' * depth}  {file.name:<{32 - 2 * depth}} {first_line(file)}"
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        if not inner.is_symlink():
            yield from lines(inner, depth + 1)


if __name__ == "__main__":
    for name in ("naivegraph", "solvers"):
        print("\n".join(lines(ROOT / name)))
