"""A study in words, tables and pictures: as Markdown, or as one HTML file."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from naivegraph.search.study.candidate import Candidate
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking
from naivegraph.search.study.result_table import cell

__all__ = ["study_html", "study_markdown"]

_MOST = 30  # rows of a table


def study_markdown(
    ranking: Ranking,
    settings: Mapping[str, Any],
    candidates: Sequence[Candidate],
    front: Sequence[Candidate],
    results: Sequence[Result],
) -> str:
    """Write what was asked, what was found, and what failed, as Markdown."""
    parts = ["# Study", _summary(ranking, settings, candidates, results)]
    parts += [f"## Front ({len(front)})", _table(*_front_rows(ranking, front))]
    mutations = _mutation_rows(candidates, front)
    if len(mutations) > 1:
        parts += ["## Mutations", _table(["mutation", "networks", "on the front"], mutations)]
    failures = _failure_rows(results)
    if failures:
        parts += ["## Failures", _table(["what", "networks", "the first"], failures)]
    return "\n\n".join(parts) + "\n"


def study_html(title: str, markdown: str, pictures: Sequence[str]) -> str:
    """Lay a report and pictures (SVG) out as one HTML file that needs no other.

    Args:
        title: The title.
        markdown: What `study_markdown` gives: headings, paragraphs, lists and tables.
        pictures: Pictures, below the summary.
    """
    body: list[str] = []
    for block in markdown.strip().split("\n\n"):
        if block.startswith("#"):
            level = len(block) - len(block.lstrip("#"))
            body.append(f"<h{level}>{html.escape(block.lstrip('# '))}</h{level}>")
        elif block.startswith("|"):
            body.append(_html_table(block))
        else:
            lines = "".join(f"<li>{html.escape(line.removeprefix('- '))}</li>" for line in block.splitlines())
            body.append(f"<ul>{lines}</ul>")
    drawn = "".join(f"<figure>{picture}</figure>" for picture in pictures)
    style = (
        "body{font-family:Helvetica,Arial,sans-serif;max-width:1100px;margin:2em auto;color:#222}"
        "table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}"
        "figure{margin:1em 0;overflow-x:auto}"
    )
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{style}</style></head>\n<body>\n{body[0]}\n{body[1]}\n{drawn}\n"
        + "\n".join(body[2:])
        + "\n</body></html>\n"
    )


def _summary(
    ranking: Ranking, settings: Mapping[str, Any], candidates: Sequence[Candidate], results: Sequence[Result]
) -> str:
    """The question and the progress, as a list."""
    asked = ", ".join(f"{name} ({way})" for name, way in ranking.objectives.items())
    limits = ", ".join(f"{name} <= {cell(float(limit))}" for name, limit in ranking.limits.items())
    rungs = ", ".join(map(str, settings["rungs"]))
    seconds = sum(result.seconds for result in results)
    lines = [f"- objectives: {asked}" + (f"; limits: {limits}" if limits else "")]
    lines.append(f"- space: {settings['space']}; rungs: {rungs}; seed: {settings['seed']}")
    lines.append(
        f"- {len(candidates):,} networks, {len(results):,} evaluations, {seconds:,.0f} s of training"
    )
    best = ranking.best(candidate.result for candidate in candidates)
    if best is not None:
        told = ", ".join(f"{name} {cell(best.values[name])}" for name in ranking.objectives)
        lines.append(f"- best: {best.name}, {told}")
    return "\n".join(lines)


def _front_rows(ranking: Ranking, front: Sequence[Candidate]) -> tuple[list[str], list[list[str]]]:
    measured = [*ranking.objectives, *(name for name in ranking.limits if name not in ranking.objectives)]
    if "params" not in measured and any("params" in found.values for found in front):
        measured.append("params")
    rows = [
        [
            found.name,
            *(cell(found.values.get(name)) for name in measured),
            str(found.result.rung),
            found.lineage.mutation,
        ]
        for found in front[:_MOST]
    ]
    return ["network", *measured, "rung", "mutation"], rows


def _mutation_rows(candidates: Sequence[Candidate], front: Sequence[Candidate]) -> list[list[str]]:
    """The number of networks by mutation, in all and on the front."""
    tried = Counter(found.lineage.mutation or "start" for found in candidates)
    there = Counter(found.lineage.mutation or "start" for found in front)
    return [[name, str(count), str(there[name])] for name, count in tried.most_common(_MOST)]


def _failure_rows(results: Sequence[Result]) -> list[list[str]]:
    """Failures by their reason, with a count and the first network."""
    failed = [result for result in results if result.status == "failed"]
    counted = Counter(result.reason for result in failed)
    firsts = {result.reason: result.name for result in reversed(failed)}
    return [[reason, str(count), firsts[reason]] for reason, count in counted.most_common(_MOST)]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as Markdown."""

    def line(cells: Sequence[str]) -> str:
        """Write a row."""
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(headings), line(["---"] * len(headings)), *map(line, rows)])


def _html_table(block: str) -> str:
    """Turn a table of Markdown into one of HTML."""
    marked = [line.strip("| ").replace("\\|", "\0").split(" | ") for line in block.splitlines()]
    marked = [[cell.replace("\0", "|").strip() for cell in row] for row in marked]
    head, _, *rows = marked
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"
