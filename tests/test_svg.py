"""Pictures: words stay where they can be read."""

from __future__ import annotations

import xml.etree.ElementTree as xml

import pytest

from naivegraph.svg import Drawing


@pytest.mark.parametrize("anchor", ["start", "middle", "end"])
@pytest.mark.parametrize("x", [-10.0, 3.0, 397.0, 410.0])
def test_words_that_would_leave_the_picture_move_into_it(anchor: str, x: float) -> None:
    drawing = Drawing(400, 50)
    drawing.text(x, 20, "deeper: 8 to 16", anchor, 11)
    width = 15 * 11 * 0.5  # letters of Helvetica are half as wide as high, on the whole
    start = float(_only_text(drawing).get("x", "")) - {"start": 0, "middle": 0.5, "end": 1}[anchor] * width
    assert start >= -1
    assert start + width <= 401


def test_words_in_the_middle_and_turned_ones_stay_where_they_are_put() -> None:
    drawing, turned = Drawing(400, 50), Drawing(400, 50)
    drawing.text(200, 20, "deeper: 8 to 16", "middle")
    turned.text(8, 20, "deeper: 8 to 16", "middle", turned=True)
    assert _only_text(drawing).get("x") == "200.0"
    assert _only_text(turned).get("x") == "8.0"


def _only_text(drawing: Drawing) -> xml.Element:
    (found,) = xml.fromstring(str(drawing)).iter("{http://www.w3.org/2000/svg}text")
    return found
