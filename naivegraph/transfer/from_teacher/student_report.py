"""The report on a student: the blocks and neurons it is made of, and what each step brought."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from naivegraph.svg import BLUE, GREY, INK, LIGHT, Drawing
from naivegraph.tables import Block, Column, TextTable, as_html, as_text
from naivegraph.transfer.from_teacher.depth_fit import SegmentReport
from naivegraph.undo import UndoLog

__all__ = ["AgreementStep", "KeptNeurons", "StudentReport"]

_SHOWN = 16
_ROW, _HIGH = 26.0, 14.0


@dataclasses.dataclass(frozen=True)
class KeptNeurons:
    """Neurons of one width that the student kept.

    Attributes:
        name: The width of the teacher.
        kept: Their numbers.
        of: The number of neurons that the teacher has there.
    """

    name: str
    kept: tuple[int, ...]
    of: int


@dataclasses.dataclass(frozen=True)
class AgreementStep:
    """The agreement with the teacher after a step, on inputs that no step had seen.

    Attributes:
        name: The step.
        agreement: The correlation of the outputs of both networks: 1 is equal, but for the scale.
        kept: Whether the step was kept.
    """

    name: str
    agreement: float
    kept: bool = True


@dataclasses.dataclass
class StudentReport:
    """A student that was written from its teacher, and the way back.

    Attributes:
        blocks: The student's blocks (and layers refitted outside of these), and what they are made of.
        widths: The neurons kept of each width that is smaller in the student.
        steps: The agreement with the teacher after each step; empty without calibration inputs.
        blocks_used: The share of the teacher's blocks that the student is made of.
        neurons_used: The share of the teacher's neurons, over all widths of its layers, that went into the
            student.
        gap: How far the utility of the neurons kept may be from the most possible; None if none were chosen.
        samples: The number of calibration samples used, and of those held out.
        learning_rate: A rate to begin fine-tuning with.
        learning_rate_reason: The reason for it.
        notes: Sentences for the reader.
    """

    blocks: tuple[SegmentReport, ...]
    widths: tuple[KeptNeurons, ...]
    steps: tuple[AgreementStep, ...]
    blocks_used: float
    neurons_used: float
    gap: float | None
    samples: tuple[int, int]
    learning_rate: float
    learning_rate_reason: str
    notes: tuple[str, ...]
    _log: UndoLog = dataclasses.field(default_factory=UndoLog, repr=False)

    def undo(self) -> None:
        """Give the student the weights it had before, bit for bit."""
        self._log.undo()

    @property
    def agreement(self) -> float | None:
        """The agreement with the teacher at the end, on inputs held out; None without calibration."""
        kept = [step.agreement for step in self.steps if step.kept]
        return kept[-1] if kept else None

    def _blocks(self) -> Iterator[Block]:
        yield (
            f"The student uses {self.blocks_used:.0%} of the teacher's blocks and {self.neurons_used:.0%} of "
            "its neurons."
        )
        if self.blocks:
            yield TextTable(
                (
                    Column("block", fold=True), Column("of the teacher's", fold=True), Column("how"),
                    Column("missed before", right=True), Column("after", right=True),
                    Column("neurons from each", fold=True),
                ),
                [_row(each) for each in self.blocks],
            )  # fmt: skip
        if self.widths:
            rows = [(w.name, f"{len(w.kept)} of {w.of}", _ranges(w.kept)) for w in self.widths[:_SHOWN]]
            more = len(self.widths) - _SHOWN
            columns = (Column("width", fold=True), Column("kept", right=True), Column("neurons", fold=True))
            yield TextTable(columns, rows, None, f"and {more} more (report.widths)" if more > 0 else None)
        for step in self.steps:
            left = "" if step.kept else " (not kept)"
            yield f"Agreement on {self.samples[1]} held-out inputs, {step.name}: {step.agreement:.4f}{left}"
        if self.gap is not None:
            yield f"Neurons chosen to within {self.gap:.2%} of the most utility possible."
        yield f"Suggested learning rate: {self.learning_rate:g}, {self.learning_rate_reason}."
        yield from self.notes

    def __str__(self) -> str:
        """Return the report as plain text."""
        return as_text(self._blocks())

    def _repr_html_(self) -> str:
        return as_html(self._blocks())

    def svg(self) -> Drawing:
        """Draw the teacher's blocks above the student's, lines from each to where it went."""
        return _picture(self.blocks)


def _row(block: SegmentReport) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        """Return an error as a percentage."""
        return "-" if value is None else f"{value:.1%}"

    counts = [
        "+".join(str(chosen.blocks.count(number)) for number in range(len(block.blocks)))
        for chosen in block.chosen
    ]
    return (
        block.name, ", ".join(block.blocks), block.way, share(block.before), share(block.after),
        ", ".join(counts),
    )  # fmt: skip


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in words, runs of them as first-last.

    Example:
        >>> _ranges([0, 1, 2, 5])
        '0-2, 5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{a}-{b}" if b > a else str(a) for a, b in runs[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else "")


def _picture(blocks: Sequence[SegmentReport]) -> Drawing:
    teacher = list(dict.fromkeys(name for block in blocks for name in (*block.upto, *block.blocks)))
    height = 70 + _ROW * max(len(teacher), len(blocks), 1)
    out = Drawing(640, height)
    out.text(20, 26, "the teacher's blocks", size=14)
    out.text(420, 26, "the student's", size=14)
    places = {name: 46 + _ROW * number for number, name in enumerate(teacher)}
    used = {name for block in blocks for name in block.blocks}
    for name, top in places.items():
        out.bar(20, top, 180, _HIGH, BLUE if name in used else LIGHT, name)
        out.text(26, top + 11, name, "start", 11, INK)
    step = _ROW * max(len(teacher), 1) / max(len(blocks), 1)
    for number, block in enumerate(blocks):
        top = 46 + step * number + (step - _ROW) / 2
        out.bar(420, top, 180, _HIGH, BLUE, f"{block.name}: {block.way}")
        out.text(426, top + 11, f"{block.name} ({block.way})", "start", 11, INK)
        for name in block.blocks:
            width = 1.5
            if block.chosen:
                chosen = block.chosen[0].blocks
                share = chosen.count(block.blocks.index(name)) / max(len(chosen), 1)
                width = 0.5 + 6 * share
            out.line([(200, places[name] + 7), (420, top + 7)], GREY, width)
    return out
