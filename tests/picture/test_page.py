"""The page of a graph, in a real browser: it renders, finds, zooms, opens and closes, and never complains."""

from __future__ import annotations

import dataclasses
import html.parser
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import naivegraph as ng
from naivegraph.picture import NetworkPicture
from tests.browser import chromium, complaints
from tests.picture.nets import NASTY, stages

# The rectangles of all boxes that are drawn, in pixels of the screen.
RECTANGLES = """
return [...document.querySelectorAll('#world g[data-key]')].map(g => {
  const area = r => r.width * r.height;
  const all = [...g.querySelectorAll(':scope > rect')].map(rect => rect.getBoundingClientRect());
  const {left, top, right, bottom} = all.sort((a, b) => area(b) - area(a))[0];
  return [g.dataset.key, left, top, right, bottom];
});
"""
WHEEL = """
const at = {deltaY: -200, clientX: 700, clientY: 400, cancelable: true};
document.getElementById('picture').dispatchEvent(new WheelEvent('wheel', at));
"""
# Whether the middle of the vertex that is chosen is in the middle of the stage.
CENTRED = """
const box = document.querySelector('.chosen').getBoundingClientRect();
const stage = document.getElementById('picture').getBoundingClientRect();
return Math.abs((box.left + box.right - stage.left - stage.right) / 2)
  + Math.abs((box.top + box.bottom - stage.top - stage.bottom) / 2) < 12;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(autouse=True)
def no_complaints(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where the page has written a warning or an error to the console."""
    yield
    if "browser" in request.fixturenames:
        assert complaints(request.getfixturevalue("browser")) == []


def show(browser: Any, picture: NetworkPicture, folder: Path, find: str = "", boxes: int = 48) -> None:
    """Open the page of a picture."""
    picture.page(folder / "net.html", boxes=boxes)
    end = f"#find={urllib.parse.quote(find)}" if find else ""
    browser.get("about:blank")
    browser.get((folder / "net.html").as_uri() + end)


def keys(browser: Any) -> list[str]:
    found: list[str] = browser.execute_script("return [...places.keys()]")
    return found


def press(browser: Any, id: str) -> None:
    browser.find_element("id", id).click()


def transform(browser: Any) -> tuple[float, ...]:
    text = browser.execute_script("return document.getElementById('world').getAttribute('transform')")
    return tuple(map(float, re.findall(r"-?[\d.]+(?:e-?\d+)?", text)))


def test_it_shows_vertices_with_sizes_and_costs(browser: Any, tmp_path: Path) -> None:
    show(browser, stages(1).picture(), tmp_path)
    assert browser.title == "Stages"
    text = browser.execute_script("return document.getElementById('world').textContent")
    assert "5×16" in text
    assert "params 40" in text
    assert "MACs 160" in text
    assert "13 layers" not in browser.find_element("id", "about").text
    assert len(browser.find_elements("css selector", "#world .vertex")) == len(stages(1)) + 1


def test_modules_open_and_close(browser: Any, tmp_path: Path) -> None:
    picture = stages().picture()
    show(browser, picture, tmp_path, boxes=1)
    closed = keys(browser)
    assert sorted(closed) == sorted(
        ["v0", "v1", "b1", "b4", f"v{len(picture.vertices) - 2}", f"v{len(picture.vertices) - 1}"]
    )
    browser.find_element("css selector", "[data-key=b1]").click()
    assert {"b2", "b3"} <= set(keys(browser))
    press(browser, "open")
    assert len([key for key in keys(browser) if key[0] == "v"]) == len(picture.vertices)
    press(browser, "close")
    assert keys(browser) == closed


def test_search_finds_a_vertex_in_a_closed_module(browser: Any, tmp_path: Path) -> None:
    show(browser, stages().picture(), tmp_path, boxes=1)
    field = browser.find_element("id", "search")
    field.send_keys("second norm")
    lines = browser.find_elements("css selector", "#found .link")
    assert [line.text.split()[0] for line in lines] == ["second.0.norm", "second.1.norm"]
    field.send_keys("\ue007")
    assert browser.find_element("css selector", "#chosen h2").text == "second.0.norm"
    assert browser.execute_script(CENTRED)
    field.send_keys("\ue007")
    assert browser.find_element("css selector", "#chosen h2").text == "second.1.norm"
    assert browser.current_url.endswith("#find=second.1.norm")
    field.clear()
    field.send_keys("nowhere")
    assert "No vertex" in browser.find_element("id", "found").text


def test_the_address_leads_to_a_vertex(browser: Any, tmp_path: Path) -> None:
    show(browser, stages().picture(), tmp_path, find="first.1.two", boxes=1)
    assert browser.find_element("css selector", "#chosen h2").text == "first.1.two"
    assert browser.execute_script(CENTRED)
    browser.execute_script("location.hash = '#find=head'")
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert browser.find_element("css selector", "#chosen h2").text == "head"


def test_zoom_and_pan(browser: Any, tmp_path: Path) -> None:
    show(browser, stages(1).picture(), tmp_path)
    x, y, scale = transform(browser)
    press(browser, "in")
    assert transform(browser)[2] == pytest.approx(1.3 * scale)
    press(browser, "out")
    assert transform(browser) == pytest.approx((x, y, scale))
    actions = pytest.importorskip("selenium.webdriver").ActionChains(browser)
    stage = browser.find_element("id", "picture")
    actions.move_to_element_with_offset(stage, -300, 200).click_and_hold().move_by_offset(
        40, -30
    ).release().perform()
    assert transform(browser) == pytest.approx((x + 40, y - 30, scale))
    browser.execute_script(WHEEL)
    assert transform(browser)[2] > scale
    browser.find_element("tag name", "body").send_keys("0")
    assert transform(browser) == pytest.approx((x, y, scale))


def test_a_vertex_tells_its_sizes_when_clicked(browser: Any, tmp_path: Path) -> None:
    graph = stages(1)
    show(browser, ng.resize(graph, {"first.0.one": -4}).picture(), tmp_path)
    key = f"v{[vertex.name for vertex in graph].index('first.0.one')}"
    browser.find_element("css selector", f"[data-key={key}]").click()
    told = browser.find_element("id", "chosen").text
    assert "5×[16→12]" in told
    assert "[16→12]×8" in told
    assert "144 → 108" in told
    assert "16 -> 12 neurons: asked: exactly -4." in told
    links = [link.text for link in browser.find_elements("css selector", "#chosen .link")]
    assert links == ["stem", "first.0.norm"]


def test_an_edit_lists_what_changed(browser: Any, tmp_path: Path) -> None:
    graph = stages()
    before = graph.picture()
    ng.resize(graph, {"first.0.one": -4, "second.0.one": +4})
    ng.remove(graph, "second.1")
    ng.insert(graph, nn.LayerNorm, after="stem", name="between")
    show(browser, graph.picture(before=before), tmp_path)
    rows = [row.text for row in browser.find_elements("css selector", "#changes tr")]
    assert "first.0.one 16 → 12 144 → 108" in rows
    assert "second.0.one 16 → 20 144 → 180" in rows
    assert "between came 0 → 16" in rows
    assert "second.1.one went 144 → 0" in rows
    legend = browser.find_element("id", "legend").text
    assert all(word in legend for word in ("shrank", "grew", "came", "went"))


@pytest.mark.parametrize("depth", [1, 5])
def test_boxes_do_not_overlap(browser: Any, tmp_path: Path, depth: int) -> None:
    picture = stages(depth).picture()
    show(browser, picture, tmp_path, boxes=1000)
    found = [(key, *sides) for key, *sides in browser.execute_script(RECTANGLES)]
    vertices = [each for each in found if each[0][0] == "v"]
    assert len(vertices) == len(picture.vertices)
    for place, (key, left, top, right, bottom) in enumerate(vertices):
        for other, l2, t2, r2, b2 in vertices[place + 1 :]:
            assert right <= l2 or r2 <= left or bottom <= t2 or b2 <= top, (key, other)


def test_names_may_hold_anything(browser: Any, tmp_path: Path) -> None:
    picture = stages(1).picture()
    first, *rest = picture.vertices
    edges = tuple(
        dataclasses.replace(e, source=NASTY) if e.source == first.name else e for e in picture.edges
    )
    vertex = dataclasses.replace(first, name=NASTY, what=NASTY, notes=(NASTY,), source=NASTY, path="")
    picture = dataclasses.replace(
        picture, vertices=(vertex, *rest), edges=edges, title=NASTY, about=(NASTY,), classes={"": NASTY}
    )
    show(browser, picture, tmp_path, find=NASTY)
    assert browser.title == NASTY
    assert browser.find_element("css selector", "#chosen h2").text == NASTY
    assert browser.execute_script("return document.images.length") == 0


def test_it_loads_nothing(tmp_path: Path) -> None:
    stages(1).page(tmp_path / "net.html")
    text = (tmp_path / "net.html").read_text(encoding="utf-8")
    links: list[str] = []

    class Links(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value or "" for name, value in attrs if name in ("src", "href"))

    Links().feed(text)
    assert links == ["data:,"]
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[\w./]+", text)) == {"http://www.w3.org/2000/svg"}


def test_a_large_graph_is_drawn(browser: Any, tmp_path: Path) -> None:
    picture = stages(50).picture()
    show(browser, picture, tmp_path)
    assert len(keys(browser)) <= 60
    press(browser, "open")
    assert len([key for key in keys(browser) if key[0] == "v"]) == len(picture.vertices)


def test_what_is_shown_can_be_saved_as_svg(browser: Any, tmp_path: Path) -> None:
    show(browser, stages(1).picture(), tmp_path)
    script = """
    const done = arguments[0];
    URL.createObjectURL = blob => { blob.text().then(done); return "#"; };
    HTMLAnchorElement.prototype.click = () => {};
    saveSvg();
    """
    text = browser.execute_async_script(script)
    assert text.startswith("<svg")
    assert "5×16" in text
