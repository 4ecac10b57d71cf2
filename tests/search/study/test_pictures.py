"""Pictures and reports of a study: what is in the folder is in them, as valid XML."""

from __future__ import annotations

import random
import xml.etree.ElementTree as xml
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from naivegraph.errors import StudyError
from naivegraph.search import Rung, Study
from naivegraph.search.study.family_tree import generations
from naivegraph.svg import ticks
from tests.search.study.numbers_space import loss
from tests.search.study.test_study import study_in

SVG = "{http://www.w3.org/2000/svg}"


def mostly(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
    """Measure a number; some fail with words that Markdown and HTML have a meaning for."""
    if structure["number"] % 5 == 0:
        raise ValueError("<b>a|b</b>")
    return loss(structure, rung, seed)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with children and failures."""
    made = study_in(tmp_path_factory.mktemp("study") / "a", evaluate=mostly, ahead=2, rungs=(1, 3))
    made.run(networks=25, engine="serial")
    return made


def tips(picture: Path) -> list[str]:
    """The words of the points of a picture."""
    return [title.text or "" for title in xml.parse(picture).iter(f"{SVG}title")]


def test_the_plot_has_a_point_per_network_and_the_front_in_colour(study: Study, tmp_path: Path) -> None:
    picture = study.plot(tmp_path / "plot.svg")
    done = [found for found in study.candidates if found.result.status == "done"]
    assert sorted(tip.split(":")[0] for tip in tips(picture)) == sorted(found.name for found in done)
    dots = [dot for dot in xml.parse(picture).iter(f"{SVG}circle") if len(dot)]
    blue = {(dot[0].text or "").split(":")[0] for dot in dots if dot.get("fill") == "#2563a8"}
    assert blue == {found.name for found in study.front}


def test_the_genealogy_has_a_line_from_each_parent(study: Study, tmp_path: Path) -> None:
    picture = study.genealogy(tmp_path / "tree.svg")
    names = {found.name for found in study.candidates}
    assert {tip.split(":")[0] for tip in tips(picture)} == names
    born = sum(parent in names for found in study.candidates for parent in found.lineage.parents)
    assert born > 3
    assert len(list(xml.parse(picture).iter(f"{SVG}polyline"))) == born
    words = " ".join(text.text or "" for text in xml.parse(picture).iter(f"{SVG}text"))
    assert "near" in words


def test_a_child_is_one_generation_after_its_latest_parent(study: Study) -> None:
    order = generations(study.candidates)
    for found in study.candidates:
        above = [order[parent] for parent in found.lineage.parents]
        assert order[found.name] == (1 + max(above) if above else 0)


def test_the_report_tells_best_front_mutations_and_failures(study: Study, tmp_path: Path) -> None:
    text = study.report(tmp_path / "report.md").read_text()
    assert study.best is not None
    assert f"best: {study.best.name}" in text
    assert all(f"| {found.name} |" in text for found in study.front)
    assert "| near |" in text
    assert "ValueError: <b>a\\|b</b>" in text
    page = study.report(tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "ValueError: &lt;b&gt;a|b&lt;/b&gt;" in page
    xml.fromstring(page.split("\n", 1)[1].replace("<meta charset='utf-8'>", ""))


def test_one_objective_is_drawn_over_time_alone(tmp_path: Path) -> None:
    study = study_in(tmp_path / "a", objectives={"loss": "min"})
    study.run(networks=4, engine="serial")
    words = [text.text for text in xml.parse(study.plot(tmp_path / "a.svg")).iter(f"{SVG}text")]
    assert "best loss so far" in words
    assert not any("front" in (word or "") for word in words)


def test_where_there_is_nothing_to_draw_or_to_write_it_is_told(study: Study, tmp_path: Path) -> None:
    empty = study_in(tmp_path / "empty")
    with pytest.raises(StudyError, match="nothing to draw yet: no network has been evaluated with success"):
        empty.plot(tmp_path / "a.svg")
    with pytest.raises(StudyError, match="nothing to draw yet"):
        empty.genealogy(tmp_path / "a.svg")
    assert "0 networks" in empty.report(tmp_path / "a.md").read_text()
    assert "<svg" not in empty.report(tmp_path / "a.html").read_text()
    with pytest.raises(StudyError, match=r"a\.png is to end in \.svg"):
        study.plot(tmp_path / "a.png")
    with pytest.raises(StudyError, match="could not be written: there is no folder"):
        study.plot(tmp_path / "nowhere" / "a.svg")


@pytest.mark.parametrize("seed", range(20))
def test_ticks_are_few_round_and_inside(seed: int) -> None:
    numbers = random.Random(seed)
    low = numbers.uniform(-1, 1) * 10 ** numbers.randrange(-5, 8)
    high = low + numbers.random() * 10 ** numbers.randrange(-3, 8) + 1e-4 * abs(low) + 1e-9
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 <= value <= high + 1e-9 or abs(value - low) < 1e-6 * abs(low) for value in found)
