"""Pictures as SVG, drawn by graphviz where it is installed."""

import dataclasses
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

import naivegraph as ng
from tests.picture.nets import NASTY, stages

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("}text")]


@needs_dot
def test_vertices_are_drawn_with_their_sizes(tmp_path: Path) -> None:
    graph = stages(1)
    graph.svg(tmp_path / "net.svg")
    found = texts((tmp_path / "net.svg").read_text(encoding="utf-8"))
    assert any("Linear" in text and "stem" in text for text in found)
    assert "5×8" in found
    assert any("parameters 40" in text for text in found)


@needs_dot
def test_an_edit_is_drawn_with_sizes_before_and_after(tmp_path: Path) -> None:
    graph = stages(1)
    ng.resize(graph, {"first.0.one": -4}).svg(tmp_path / "edit.svg")
    found = texts((tmp_path / "edit.svg").read_text(encoding="utf-8"))
    assert "5×[16→12]" in found
    assert any("▼ shrank" in text for text in found)


@needs_dot
def test_names_may_hold_anything() -> None:
    picture = stages(1).picture()
    first, *rest = picture.vertices
    edges = tuple(e for e in picture.edges if e.source != first.name)
    vertices = (dataclasses.replace(first, name=NASTY, what=NASTY), *rest)
    svg = dataclasses.replace(picture, vertices=vertices, edges=edges, title=NASTY).svg()
    assert any(NASTY in text for text in texts(svg))
    assert "<img" not in svg


@needs_dot
def test_modules_without_room_are_one_box() -> None:
    found = texts(stages(8).picture().svg(boxes=6))
    assert any(text.startswith("first") for text in found)
    assert not any("norm" in text for text in found)


def test_without_graphviz_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ng.NaivegraphError, match=r"apt install graphviz.*a page needs nothing: .page\('net.html'\)"
    ):
        stages(1).svg(tmp_path / "net.svg")
