"""A picture of a network, and the files that it is written to."""

from __future__ import annotations

import dataclasses
import html
import os
from pathlib import Path

from naivegraph.picture.dot_svg import dot_svg
from naivegraph.picture.html_page import html_page
from naivegraph.picture.picture_data import PictureData

__all__ = ["NetworkPicture", "Pictured"]

_BOXES = 48  # shown at first; modules that would be more stay closed


@dataclasses.dataclass(frozen=True, repr=False)
class NetworkPicture(PictureData):
    """A picture of a network: plain data (see `PictureData`), to be pickled, shown, or written as a file.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> picture = ng.capture(net, torch.ones(1, 4)).picture()
        >>> picture
        NetworkPicture(Sequential: 5 vertices, 4 edges)
        >>> picture.html()[:15]
        '<!DOCTYPE html>'
    """

    def __repr__(self) -> str:
        return f"NetworkPicture({self.title}: {len(self.vertices)} vertices, {len(self.edges)} edges)"

    def html(self, *, boxes: int = _BOXES) -> str:
        """The picture as a page of HTML, in one file that loads nothing else.

        Args:
            boxes: The number of boxes up to which modules are open at first.
        """
        return html_page(self, boxes)

    def page(self, path: str | os.PathLike[str], *, boxes: int = _BOXES) -> None:
        """Write the picture as a page, to be opened in a browser: zoom, search, open modules, click vertices.

        `net.html#find=layer1.0.conv1` opens it at a vertex.

        Args:
            path: The file to write.
            boxes: The number of boxes up to which modules are open at first.
        """
        Path(path).write_text(self.html(boxes=boxes), encoding="utf-8")

    def svg(self, path: str | os.PathLike[str] | None = None, *, boxes: int = _BOXES) -> str:
        """The picture as SVG, drawn by graphviz.

        Args:
            path: The file to write; none if it is None.
            boxes: The number of boxes up to which modules are drawn with what is in them.

        Raises:
            NaivegraphError: The program `dot` of graphviz is not installed, or failed.
        """
        drawn = dot_svg(self, boxes)
        if path is not None:
            Path(path).write_text(drawn, encoding="utf-8")
        return drawn

    def _repr_html_(self) -> str:
        """Show the page in a notebook."""
        inside = html.escape(self.html(), quote=True)
        return f'<iframe srcdoc="{inside}" style="width:100%;height:640px;border:1px solid #ddd"></iframe>'


class Pictured:
    """Something that a picture can be made of."""

    __slots__ = ()

    def picture(self) -> NetworkPicture:
        """The picture as plain data."""
        raise NotImplementedError

    def page(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as a page of HTML: one file, which loads nothing else, to zoom, search and click.

        `net.html#find=layer1.0.conv1` opens it at a vertex; see `docs/pictures.md`.
        """
        self.picture().page(path)

    def svg(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as SVG, drawn by graphviz.

        Raises:
            NaivegraphError: The program `dot` of graphviz is not installed, or failed.
        """
        self.picture().svg(path)
