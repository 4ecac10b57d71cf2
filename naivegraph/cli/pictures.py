"""The options for pictures, which several commands have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

from naivegraph.cli.usage_errors import UsageError

__all__ = ["Drawable", "check_pictures", "write_pictures"]


class Drawable(Protocol):
    """Something that pictures can be made of."""

    def page(self, path: str) -> None:
        """Write a page of HTML."""

    def svg(self, path: str) -> Any:
        """Write SVG."""


def check_pictures(html: str | None, svg: str | None) -> None:
    """Check that pictures can be written, before anything takes time.

    Raises:
        UsageError: A file has another ending or no folder, or graphviz is missing.
    """
    for option, path, ending in (("--html", html, ".html"), ("--svg", svg, ".svg")):
        if path is None:
            continue
        if Path(path).suffix != ending:
            raise UsageError(f"{option} {path}: a file that ends with {ending} is written")
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise UsageError(f"{path} cannot be written: there is no folder {folder}")
    if svg is not None and shutil.which("dot") is None:
        raise UsageError("--svg needs `dot` of graphviz, which is not installed here; --html needs nothing")


def write_pictures(what: Drawable, html: str | None, svg: str | None) -> str | None:
    """Write the pictures asked for, and return a sentence on them."""
    if html is not None:
        what.page(html)
    if svg is not None:
        what.svg(svg)
    files = " and ".join(path for path in (html, svg) if path is not None)
    return f"Drawn in {files}." if files else None
