"""A study as its folder has it, to be looked at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.search.study.candidate import Candidate, Lineage
from naivegraph.search.study.family_tree import family_tree
from naivegraph.search.study.manifest import MANIFEST, read_manifest
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking
from naivegraph.search.study.result_table import ResultTable
from naivegraph.search.study.store import Store, recipe_digest
from naivegraph.search.study.study_charts import study_charts
from naivegraph.search.study.study_report import study_html, study_markdown

__all__ = ["StudyView", "check_output"]


class StudyView:
    """A study that can be looked at while another process runs it, or where its space is not at hand.

    Args:
        folder: The folder of a study.

    Raises:
        StudyError: It is not one.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        manifest = read_manifest(Path(folder))
        if manifest is None:
            raise StudyError(f"{folder} is not the folder of a study: it has no {MANIFEST}")
        self._open(Path(folder), manifest, None)

    def _open(self, folder: Path, manifest: Mapping[str, Any], space: Any) -> None:
        """Read what is there."""
        self.folder = folder
        self.settings: Mapping[str, Any] = manifest["settings"]
        self.id: str = manifest["id"]
        digest = recipe_digest(self.settings["data"], self.settings["recipe"], self.settings["seed"])
        self.store = Store(folder, digest)
        self.ranking = Ranking(dict(self.settings["objectives"]), self.settings["limits"])
        self.space = space
        self._results: dict[tuple[str, int], Result] = {}
        self._lineages: dict[int, Lineage] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what is in the folder now, such as what other processes have added."""
        found = self.store.results(self._results)
        self._results.clear()
        self._results.update(found)
        while (data := self.store.proposal(len(self._lineages))) is not None:
            self._lineages[len(self._lineages)] = Lineage.from_json(data)

    def _candidate(self, lineage: Lineage, result: Result) -> Candidate:
        return Candidate(lineage, result, self.store, self.space, tuple(self.settings["rungs"]))

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Networks with a result, each with that of its highest rung, in the order of the proposals."""
        highest: dict[str, Result] = {}
        for (name, rung), result in self._results.items():
            if name not in highest or highest[name].rung < rung:
                highest[name] = result
        first: dict[str, Lineage] = {}
        for lineage in self._lineages.values():
            first.setdefault(lineage.name, lineage)
        return [self._candidate(lineage, highest[name]) for name, lineage in first.items() if name in highest]

    @property
    def best(self) -> Candidate | None:
        """The best network by the first objective, within all limits; of equals the smallest."""
        found = self.candidates
        best = self.ranking.best(candidate.result for candidate in found)
        return next((candidate for candidate in found if candidate.result is best), None)

    @property
    def front(self) -> Sequence[Candidate]:
        """Networks within all limits that no other dominates, the best by the first objective first."""
        found = {candidate.name: candidate for candidate in self.candidates}
        results = self.ranking.front(candidate.result for candidate in found.values())
        return [found[result.name] for result in results]

    @property
    def results(self) -> ResultTable:
        """All results, one per network and rung, as a table."""
        lineages = {lineage.name: lineage for lineage in reversed(self._lineages.values())}
        return ResultTable(self.ranking, lineages, self._results.values())

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the front, and the best found over time, as SVG.

        Args:
            path: The file to write, which ends in `.svg`.

        Returns:
            The file.

        Raises:
            StudyError: There is nothing to draw yet, the name ends otherwise, or it cannot be written.
        """
        charts = study_charts(self.ranking, self.candidates, self.front, [*self._results.values()])
        return self._write(path, charts, ".svg")

    def genealogy(self, path: str | os.PathLike[str]) -> Path:
        """Draw whose child each network is, and by which mutation, as SVG.

        Args:
            path: The file to write, which ends in `.svg`.

        Raises:
            StudyError: There is nothing to draw yet, the name ends otherwise, or it cannot be written.
        """
        return self._write(path, family_tree(self.ranking, self.candidates, self.front), ".svg")

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write what was found: as Markdown, or with the pictures as HTML.

        Args:
            path: The file to write, which ends in `.md` or `.html`.

        Raises:
            StudyError: The name ends otherwise, or it cannot be written.
        """
        check_output(path, ".md", ".html")
        found, front, results = self.candidates, self.front, [*self._results.values()]
        text = study_markdown(self.ranking, self.settings, found, front, results)
        if Path(path).suffix != ".html":
            return self._write(path, text, ".md")
        pictures = []
        if any(candidate.result.status == "done" for candidate in found):
            pictures = [
                study_charts(self.ranking, found, front, results),
                family_tree(self.ranking, found, front),
            ]
        return self._write(path, study_html(str(self.folder), text, pictures), ".html")

    def _write(self, path: str | os.PathLike[str], text: str, suffix: str) -> Path:
        """Write a text."""
        check_output(path, suffix)
        path = Path(path)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{path} could not be written: {error.strerror or error}") from error
        return path

    def __repr__(self) -> str:
        """Say how far it is."""
        best = self.best
        first = next(iter(self.ranking.objectives))
        told = "" if best is None else f", best {first} {best.values[first]:.6g}"
        return f"<{type(self).__name__} {str(self.folder)!r}: {len(self.candidates)} networks{told}>"


def check_output(path: str | os.PathLike[str], *suffixes: str) -> None:
    """Check that a picture or report can have a name, before a study runs for it.

    Raises:
        StudyError: It ends in something else, or its folder is not there.
    """
    if Path(path).suffix not in suffixes:
        raise StudyError(f"{path} is to end in {' or '.join(suffixes)}")
    if not Path(path).parent.is_dir():
        raise StudyError(f"{path} could not be written: there is no folder {Path(path).parent}")
